//! Any target and any conditional fields against a real folder with links that lead out of it: nothing from outside
//! ever comes out, a partial answer is the part it says it is, and nothing panics.
//!
//! The input is lines: the target, then header fields.

use std::cell::RefCell;
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::sync::Arc;
use std::time::Instant;

use wouldblock::http::{Connection, HeaderStorage, HttpDate, Limits, Spare};
use wouldblock::service::{Content, Context, Peer, Service};
use wouldblock::site::{Options, Site};
use wouldblock::stats::Stats;

const SECRET: &[u8] = b"this is outside of the root";

struct World {
    _folder: tempfile::TempDir,
    site: Site,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("sub/.hidden")).unwrap();
    std::fs::create_dir_all(root.join(".well-known")).unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    for hidden in ["sub/.hidden/file", ".env", "sub/.file"] {
        std::fs::write(root.join(hidden), SECRET).unwrap();
    }
    for open in ["index.html", "a.txt", "sub/b", ".well-known/c", "sub/中 文.txt"] {
        std::fs::write(root.join(open), b"0123456789 inside").unwrap();
    }
    let mut large = std::fs::File::create(root.join("large")).unwrap();
    large.write_all(&vec![b'x'; 2_000_000]).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink("/", root.join("sub/slash")).unwrap();
    symlink(folder.path(), root.join("up")).unwrap();
    symlink("sub/b", root.join("in")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let site = Site::open(Options::new(&root)).unwrap();
    World { _folder: folder, site }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(world());
}

fn octets(content: &Content, into: &mut Vec<u8>) {
    match content {
        Content::Empty => {}
        Content::Bytes(bytes, range) => into.extend_from_slice(&bytes[range.clone()]),
        Content::File(file, range) => {
            let mut piece = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut piece, range.start).unwrap();
            into.extend(piece);
        }
        Content::Parts(parts) => parts.iter().for_each(|part| octets(part, into)),
    }
}

pub(crate) fn hold(input: &[u8]) {
    let mut lines = input.split(|&octet| octet == b'\n');
    let mut request = b"GET ".to_vec();
    request.extend_from_slice(lines.next().unwrap_or_default());
    request.extend_from_slice(b" HTTP/1.1\r\nHost: x\r\n");
    for line in lines {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");

    let now = Instant::now();
    let mut spare = Spare::default();
    let mut conn = Connection::new(Arc::new(Limits::default()), now);
    let space = conn.recv_space(&mut spare);
    if request.len() > space.len() {
        return;
    }
    space[..request.len()].copy_from_slice(&request);
    conn.received(request.len(), now);
    let mut storage = HeaderStorage::new();
    let Some(Ok(request)) = conn.next_request(&mut storage, &mut spare, now) else { return };
    let context = Context {
        now,
        unix_time: HttpDate::from_unix(784_111_777).seconds(),
        stats: &Stats::default(),
        peer: &Peer::Unix,
        batch: 0,
    };
    WORLD.with_borrow_mut(|world| {
        // A compressed answer may be ready only later.
        let Some(response) = world.site.respond(&request, &context) else { return };
        let mut body = Vec::new();
        octets(&response.content, &mut body);
        assert_eq!(body.len() as u64, response.content.len());
        assert!(!body.windows(SECRET.len()).any(|part| part == SECRET), "{}", request.raw_target);
        let fields = std::str::from_utf8(&response.fields).expect("fields are ASCII");
        assert!(fields.is_empty() || fields.ends_with("\r\n"));
        assert!(
            !fields.contains("\r\n\r\n") && !fields.replace("\r\n", "").contains(['\r', '\n']),
            "{fields:?}"
        );
        if let Some(range) = fields.lines().find_map(|line| line.strip_prefix("Content-Range: bytes "))
            && response.status.0 == 206
        {
            let (range, whole) = range.split_once('/').unwrap();
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(first <= last && last < whole.parse().unwrap());
            assert_eq!(last - first + 1, response.content.len());
        }
    });
}
