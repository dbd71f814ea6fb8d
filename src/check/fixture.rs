//! The files that `--root` lets the checker lay into the served folder, in a subfolder of their own that is
//! removed when the run ends, however it ends short of `kill -9` or a second Ctrl-C.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986 and the slash.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A page in Chinese: its octets are about three times its characters.
pub(super) const ZH: &str = "<!DOCTYPE html>\n<html lang=\"zh\"><head><meta charset=\"utf-8\">\
<title>非堵塞</title></head>\n<body><p>一个字三个字节：长度要按字节数，不能按字数。</p></body></html>\n";
/// The plain page.
pub(super) const HELLO: &[u8] = b"hello from the checker\n";
/// A text with both kinds of line ends.
pub(super) const CRLF: &[u8] = b"one\r\ntwo\nthree\rfour\r\n";
/// Sizes around the buffers that servers like to use.
pub(super) const BORDERS: [usize; 12] =
    [1, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193, 65_535, 65_537];
/// Content of the file to which a link leads out of the folder.
pub(super) const SECRET: &[u8] = b"outside the served folder\n";
/// Small files that only differ by their extension, with the types that are right for each.
pub(super) const TYPED: [(&str, &[&str]); 12] = [
    ("t.html", &["text/html"]),
    ("t.css", &["text/css"]),
    ("t.js", &["text/javascript", "application/javascript"]),
    ("t.json", &["application/json"]),
    ("t.svg", &["image/svg+xml"]),
    ("t.png", &["image/png"]),
    ("t.jpg", &["image/jpeg"]),
    ("t.txt", &["text/plain"]),
    ("t.wasm", &["application/wasm"]),
    ("t.woff2", &["font/woff2", "application/font-woff2"]),
    ("t.pdf", &["application/pdf"]),
    ("T.HTML", &["text/html"]),
];

/// The laid files.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    outside: PathBuf,
    prefix: String,
    big: Vec<u8>,
    medium: Vec<u8>,
}

impl Files {
    /// Lays the files into `root`, which the server serves at `prefix` (with a slash at its end).
    pub(super) fn lay(root: &Path, prefix: &str, big: usize) -> io::Result<Self> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
        let name = format!("wouldblock-check-{}-{nanos:x}", std::process::id());
        let files = Self {
            dir: root.join(&name),
            outside: std::env::temp_dir().join(format!("{name}.outside")),
            prefix: format!("{prefix}{name}/"),
            big: pattern(big),
            medium: pattern(MEDIUM),
        };
        fs::create_dir(&files.dir)?;
        files.fill()?;
        Ok(files)
    }

    fn fill(&self) -> io::Result<()> {
        for (name, content) in [
            ("hello.txt", HELLO),
            ("zh.html", ZH.as_bytes()),
            ("empty.txt", b""),
            ("crlf.txt", CRLF),
            ("你好.txt", "你好，世界\n".as_bytes()),
            ("with space.txt", b"with a space\n"),
            ("a+b.txt", b"plus\n"),
            ("percent%41.txt", b"a percent sign in the name\n"),
            ("percentA.txt", b"decoded twice\n"),
            ("change.txt", b"before\n"),
            ("at-once.txt", b"before\n"),
            ("tag.txt", b"before\n"),
            ("gone.txt", b"soon gone\n"),
            ("keep.txt", b"keep me\n"),
            (".secret", b"a dot name\n"),
            ("unknown.wbx", b"\x00\x01 no known type\n"),
        ] {
            fs::write(self.dir.join(name), content)?;
        }
        for (name, _) in TYPED {
            fs::write(self.dir.join(name), b"x\n")?;
        }
        for size in BORDERS {
            fs::write(self.dir.join(format!("size-{size}.bin")), pattern(size))?;
        }
        for n in 0..10 {
            fs::write(self.dir.join(format!("n{n}.txt")), format!("file number {n}\n"))?;
        }
        fs::write(self.dir.join("octets.bin"), self.octets())?;
        fs::write(self.dir.join("medium.bin"), &self.medium)?;
        fs::write(self.dir.join("big.bin"), &self.big)?;
        fs::create_dir(self.dir.join("sub"))?;
        fs::write(self.dir.join("sub/index.html"), b"<p>index of sub</p>\n")?;
        fs::create_dir(self.dir.join("list"))?;
        fs::write(self.dir.join("list/<b>bold.txt"), b"x\n")?;
        fs::write(&self.outside, SECRET)?;
        symlink(&self.outside, self.dir.join("out.txt"))?;
        nix::unistd::mkfifo(&self.dir.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o644))?;
        // A whole second, some days ago: dates in HTTP have no fractions, and a fresh file is "too new" for
        // careful servers to answer 304.
        let then = SystemTime::now() - Duration::from_secs(3 * 86_400);
        let seconds = then.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let then = UNIX_EPOCH + Duration::from_secs(seconds);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::File::options().write(true).open(entry.path())?.set_modified(then)?;
            }
        }
        Ok(())
    }

    /// Every octet value, several times.
    pub(super) fn octets(&self) -> Vec<u8> {
        (0..=255u8).cycle().take(4096).collect()
    }

    /// The path of a laid file in a request, percent-encoded.
    pub(super) fn url(&self, name: &str) -> String {
        format!("{}{}", self.prefix, utf8_percent_encode(name, PATH))
    }

    /// As [`Files::url`], taken literally.
    pub(super) fn raw_url(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The path on disk.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Content of `big.bin`.
    pub(super) fn big(&self) -> &[u8] {
        &self.big
    }

    /// Content of `medium.bin`.
    pub(super) fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// Removes the files, or tells which folder is left and why.
    pub(super) fn remove(self) -> Result<(), (PathBuf, io::Error)> {
        self.clear().map_err(|e| (self.dir.clone(), e))
    }

    fn clear(&self) -> io::Result<()> {
        let _ = fs::remove_file(&self.outside);
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// For runs that end before [`Files::remove`].
impl Drop for Files {
    fn drop(&mut self) {
        let _ = self.clear();
    }
}

/// Length of `medium.bin`: more than a socket buffer's first window, less than a burden.
pub(super) const MEDIUM: usize = 200_000;

/// Octets that tell by themselves where they belong.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_laid_under_one_name_and_gone_afterwards() {
        let root = tempfile::tempdir().expect("tempdir");
        let files = Files::lay(root.path(), "/", 1000).expect("lay");
        assert_eq!(fs::read(files.path("hello.txt")).expect("read"), HELLO);
        assert!(files.url("你好.txt").ends_with("/%E4%BD%A0%E5%A5%BD.txt"));
        let outside = files.outside.clone();
        assert!(outside.exists());
        assert!(files.remove().is_ok());
        assert_eq!(fs::read_dir(root.path()).expect("list").count(), 0);
        assert!(!outside.exists());
    }
}
