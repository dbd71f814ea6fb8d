//! What is on the disk now is what is sent, and what did not change is not read again.

use std::fs;

use super::{Folder, settle};

#[test]
fn an_unchanged_file_comes_out_of_memory() {
    let mut folder = Folder::new();
    folder.write("small", "x");
    folder.write("large", vec![b'x'; 100_000]);
    folder.write("index.html", "index");
    settle();
    for target in ["/small", "/large", "/", "/sm%61ll"] {
        let (first, second) = (folder.get(target), folder.get(target));
        assert!(first.shares_memory_with(&second), "{target}");
    }
    // Different spellings are one entry.
    assert!(folder.get("/small").shares_memory_with(&folder.get("/%73mall")));
}

#[test]
fn every_change_is_seen_by_the_next_request() {
    let mut folder = Folder::new();
    for size in [10, 100_000] {
        let fill = |octet: u8| vec![octet; size];
        folder.write_settled("f", fill(b'a'));
        assert_eq!(folder.get("/f").body(), fill(b'a'));
        let tag = folder.get("/f").field("etag");
        // Written in place, same size.
        folder.write("f", fill(b'b'));
        assert_eq!(folder.get("/f").body(), fill(b'b'));
        assert_ne!(folder.get("/f").field("etag"), tag);
        settle();
        // Replaced by rename.
        folder.write("g", fill(b'c'));
        fs::rename(folder.at("g"), folder.at("f")).unwrap();
        assert_eq!(folder.get("/f").body(), fill(b'c'));
        settle();
        // Longer, shorter.
        folder.write("f", b"d");
        assert_eq!(folder.get("/f").body(), b"d");
        settle();
        // The time set back does not hide it.
        let times = fs::metadata(folder.at("f")).unwrap().modified().unwrap();
        folder.write("f", b"e");
        fs::File::options().append(true).open(folder.at("f")).unwrap().set_modified(times).unwrap();
        assert_eq!(folder.get("/f").body(), b"e");
        settle();
        // Removed, a directory in its place, back again.
        fs::remove_file(folder.at("f")).unwrap();
        assert_eq!(folder.get("/f").status(), 404);
        fs::create_dir(folder.at("f")).unwrap();
        assert_eq!(folder.get("/f").status(), 301);
        fs::remove_dir(folder.at("f")).unwrap();
        folder.write("f", fill(b'g'));
        assert_eq!(folder.get("/f").body(), fill(b'g'));
    }
}

#[test]
fn changes_within_one_tick_of_the_clock_are_seen_too() {
    let mut folder = Folder::new();
    for number in 0..200_u32 {
        let content = format!("{number:06}");
        fs::write(folder.at("f"), &content).unwrap();
        let first = folder.get("/f");
        assert_eq!(first.text(), content);
        // Again, without truncating, at once: same size, and on a coarse clock the same times.
        let changed = format!("{:06}", 500_000 + number);
        let file = fs::File::options().write(true).open(folder.at("f")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, changed.as_bytes(), 0).unwrap();
        let second = folder.get("/f");
        assert_eq!(second.text(), changed);
        assert_ne!(first.field("etag"), second.field("etag"));
    }
}

/// Many kernels give both versions of the test above different times anyway; on the others this is what helps.
#[test]
fn a_file_that_has_just_changed_is_not_yet_trusted() {
    let mut folder = Folder::new();
    for size in [10, 100_000] {
        // On a machine held up for 20 ms the file has settled meanwhile; not a hundred times in a row.
        let read_again = (0..100).any(|_| {
            folder.write("f", vec![b'x'; size]);
            let (first, second) = (folder.get("/f"), folder.get("/f"));
            !first.shares_memory_with(&second)
        });
        assert!(read_again);
        settle();
        let (first, second) = (folder.get("/f"), folder.get("/f"));
        assert!(first.shares_memory_with(&second) || folder.get("/f").shares_memory_with(&second));
    }
}

#[test]
fn requests_of_one_batch_share_one_look_at_the_disk() {
    let mut folder = Folder::new();
    folder.write_settled("f", "old");
    assert_eq!(folder.get("/f").text(), "old");
    folder.write("f", "new");
    // Had they come before the change, this answer would be right; the next batch must see it.
    assert_eq!(folder.ask_again("GET", "/f", &[]).text(), "old");
    assert_eq!(folder.get("/f").text(), "new");
}

#[test]
fn renamed_directories_and_swapped_links_are_seen() {
    let mut folder = Folder::new();
    folder.write("v1/f", "one");
    folder.write("v2/f", "two");
    std::os::unix::fs::symlink("v1", folder.at("current")).unwrap();
    settle();
    assert_eq!(folder.get("/current/f").text(), "one");
    // As deployments do it: a new link renamed over the old one.
    std::os::unix::fs::symlink("v2", folder.at("next")).unwrap();
    fs::rename(folder.at("next"), folder.at("current")).unwrap();
    assert_eq!(folder.get("/current/f").text(), "two");
    fs::rename(folder.at("v2"), folder.at("v3")).unwrap();
    assert_eq!(folder.get("/current/f").status(), 404);
}

/// Whether the kernel tells this process what happens to a file; `None` where it cannot be relied on to tell.
#[cfg(target_os = "linux")]
fn is_watched(path: &std::path::Path) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    const LOCAL: [i64; 5] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994];
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between systems")]
    let kind = rustix::fs::statfs(path).unwrap().f_type as i64;
    let inode = format!(" ino:{:x} ", fs::metadata(path).unwrap().ino());
    let watched = fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .any(|text| text.lines().any(|line| line.starts_with("inotify ") && line.contains(&inode)));
    LOCAL.contains(&kind).then_some(watched)
}

#[cfg(target_os = "linux")]
impl Folder {
    /// Asks for a file now and a second later: from then on the kernel tells what happens to it.
    fn get_until_watched(&mut self, target: &str) {
        self.get(target);
        self.later(std::time::Duration::from_secs(1));
        self.get(target);
        assert_ne!(is_watched(&self.at(target.trim_start_matches('/'))), Some(false), "{target}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_asked_for_longer_than_a_second_is_watched_and_nothing_else_is() {
    let mut folder = Folder::with(|options| options.cache.entries = 1);
    folder.write("deep/er/hot", "x");
    folder.write_settled("deep/er/cold", "x");
    std::os::unix::fs::symlink("hot", folder.at("deep/er/link")).unwrap();
    folder.get_until_watched("/deep/er/hot");
    for name in ["", "deep", "deep/er"] {
        assert_ne!(is_watched(&folder.at(name)), Some(false), "{name}");
    }
    assert_ne!(is_watched(&folder.at("deep/er/cold")), Some(true));
    // What leaves the cache is no longer watched, nor what only led to it.
    folder.get("/deep/er/cold");
    assert_ne!(is_watched(&folder.at("deep/er/hot")), Some(true));
    assert_ne!(is_watched(&folder.at("deep/er")), Some(true));
    // A link may be turned round where nobody tells.
    folder.get("/deep/er/link");
    folder.later(std::time::Duration::from_secs(1));
    folder.get("/deep/er/link");
    assert_ne!(is_watched(&folder.at("deep/er/hot")), Some(true));
}

#[cfg(target_os = "linux")]
#[test]
fn every_change_of_what_is_watched_is_seen_by_the_next_request() {
    let mut folder = Folder::with(|options| options.index.push("index.htm".into()));
    folder.write("a/b/f", "1");
    folder.write_settled("a/b/index.htm", "1");
    let kept_open = fs::File::options().append(true).open(folder.at("a/b/f")).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(&Folder));
    let changes: [Change<'_>; 15] = [
        ("written and kept open", &|_| std::io::Write::write_all(&mut &kept_open, b"2").unwrap()),
        ("written", &|folder| folder.write("a/b/f", "2")),
        ("appended", &|folder| {
            use std::io::Write;
            fs::File::options().append(true).open(folder.at("a/b/f")).unwrap().write_all(b"3").unwrap();
        }),
        ("cut", &|folder| {
            fs::File::options().write(true).open(folder.at("a/b/f")).unwrap().set_len(1).unwrap();
        }),
        ("touched", &|folder| {
            let file = fs::File::options().append(true).open(folder.at("a/b/f")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
        ("not readable any more", &|folder| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(folder.at("a/b/f"), fs::Permissions::from_mode(0o200)).unwrap();
        }),
        ("replaced", &|folder| {
            folder.write("a/new", "4");
            fs::rename(folder.at("a/new"), folder.at("a/b/f")).unwrap();
        }),
        ("written by another name", &|folder| {
            fs::hard_link(folder.at("a/b/f"), folder.at("other")).unwrap();
            folder.write("other", "5");
        }),
        ("removed", &|folder| fs::remove_file(folder.at("a/b/f")).unwrap()),
        ("made again", &|folder| folder.write("a/b/f", "6")),
        ("its folder replaced", &|folder| {
            folder.write("c/f", "7");
            fs::rename(folder.at("a/b"), folder.at("old")).unwrap();
            fs::rename(folder.at("c"), folder.at("a/b")).unwrap();
        }),
        ("the folder above replaced by a link", &|folder| {
            folder.write("d/b/f", "8");
            fs::rename(folder.at("a"), folder.at("older")).unwrap();
            std::os::unix::fs::symlink("d", folder.at("a")).unwrap();
        }),
        ("the link turned round", &|folder| {
            folder.write("e/b/f", "9");
            fs::remove_file(folder.at("a")).unwrap();
            std::os::unix::fs::symlink("e", folder.at("a")).unwrap();
        }),
        ("a folder again", &|folder| {
            fs::remove_file(folder.at("a")).unwrap();
            fs::rename(folder.at("e"), folder.at("a")).unwrap();
        }),
        ("an earlier index beside it", &|folder| folder.write("a/b/index.html", "10")),
    ];
    for (what, change) in changes {
        for _ in 0..2 {
            folder.later(std::time::Duration::from_secs(1));
            folder.get("/a/b/f");
            folder.get("/a/b/");
        }
        change(&folder);
        // Asked before the test itself opens the file: that must not be what is told.
        let answer = folder.get("/a/b/f");
        let f = fs::read(folder.at("a/b/f")).ok();
        assert_eq!((answer.status() == 200).then(|| answer.body()), f, "{what}");
        let answer = folder.get("/a/b/");
        let index =
            ["a/b/index.html", "a/b/index.htm"].iter().find_map(|name| fs::read(folder.at(name)).ok());
        if index.is_some() {
            assert_eq!(Some(answer.body()), index, "{what}");
        }
        settle();
    }
}

/// It comes to life far from the folder that is watched.
#[cfg(target_os = "linux")]
#[test]
fn an_earlier_index_that_is_a_link_to_nowhere_is_not_relied_on() {
    let mut folder = Folder::with(|options| options.index.push("index.htm".into()));
    fs::create_dir(folder.at("dir")).unwrap();
    std::os::unix::fs::symlink(folder.at("dir/later"), folder.at("index.html")).unwrap();
    folder.write_settled("index.htm", "second");
    for _ in 0..3 {
        assert_eq!(folder.get("/").text(), "second");
        folder.later(std::time::Duration::from_secs(1));
    }
    assert_eq!(folder.get("/").text(), "second");
    folder.write("dir/later", "first");
    assert_eq!(folder.get("/").text(), "first");
}

#[cfg(target_os = "linux")]
#[test]
fn a_neighbour_that_appears_changes_or_vanishes_is_seen_though_it_is_watched() {
    let mut folder = Folder::new();
    folder.write_settled("f.txt", "plain");
    let gzip = [("Accept-Encoding", "br, gzip")];
    let coding = |folder: &mut Folder| {
        for _ in 0..3 {
            folder.ask("GET", "/f.txt", &gzip);
            folder.later(std::time::Duration::from_secs(1));
        }
        // What was found in this second is relied on from here.
        folder.ask("GET", "/f.txt", &gzip);
    };
    coding(&mut folder);
    folder.write("f.txt.gz", "made up");
    assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "made up");
    settle();
    coding(&mut folder);
    assert_ne!(is_watched(&folder.at("f.txt.gz")), Some(false));
    folder.write("f.txt.gz", "made UP");
    assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "made UP");
    settle();
    coding(&mut folder);
    folder.write("f.txt.br", "better");
    assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "better");
    settle();
    coding(&mut folder);
    fs::remove_file(folder.at("f.txt.br")).unwrap();
    assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "made UP");
    fs::remove_file(folder.at("f.txt.gz")).unwrap();
    assert_eq!(folder.ask("GET", "/f.txt", &gzip).text(), "plain");
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_in_which_too_much_happens_is_no_longer_watched_and_never_stale() {
    let mut folder = Folder::new();
    folder.write_settled("quiet", "x");
    folder.get_until_watched("/quiet");
    // Within one second of the wall clock, or in two, of which one has more than half of this.
    for number in 0..300_u32 {
        folder.write(&format!("new-{number}"), "");
        assert_eq!(folder.get("/quiet").text(), "x");
    }
    assert_ne!(is_watched(&folder.at("quiet")), Some(true));
    folder.write("quiet", "y");
    assert_eq!(folder.get("/quiet").text(), "y");
}

#[cfg(target_os = "linux")]
#[test]
fn a_site_that_is_not_to_watch_does_not() {
    let mut folder = Folder::with(|options| options.watch = false);
    folder.write_settled("f", "x");
    for _ in 0..3 {
        assert_eq!(folder.get("/f").text(), "x");
        folder.later(std::time::Duration::from_secs(1));
    }
    assert_ne!(is_watched(&folder.at("f")), Some(true));
    folder.write("f", "y");
    assert_eq!(folder.get("/f").text(), "y");
}

#[test]
fn many_files_do_not_use_up_descriptors_or_memory() {
    let mut folder = Folder::with(|options| {
        options.cache.entries = 20;
        options.cache.handles = 4;
        options.cache.file_bytes = 100;
    });
    for number in 0..300_usize {
        folder.write(&format!("{number}"), number.to_string().repeat(100));
    }
    settle();
    for round in 0..2 {
        for number in 0..300_usize {
            let answer = folder.get(&format!("/{number}"));
            assert_eq!(answer.body(), number.to_string().repeat(100).into_bytes(), "{round}");
        }
    }
    // Only descriptors of this folder: other tests run beside this one in the same process.
    if cfg!(target_os = "linux") {
        let open = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .filter(|path| path.starts_with(folder.at("")))
            .count();
        assert!((1..=5).contains(&open), "{open} descriptors of the folder are open");
    }
}

#[test]
fn a_cache_of_nothing_serves_the_same() {
    let mut folder = Folder::with(|options| options.cache.memory_bytes = 0);
    folder.write_settled("f", "x");
    let (first, second) = (folder.get("/f"), folder.get("/f"));
    assert_eq!((first.text(), second.text()), ("x".into(), "x".into()));
    assert!(!first.shares_memory_with(&second));
}

/// What may happen on the disk between two requests.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, u8, usize),
    Remove(usize),
    Rename(usize, usize),
    Link(usize, usize),
    RenameFolder,
    Settle,
    Later,
    Get(usize),
    GetGzip(usize),
}

/// Names that shadow each other: a file, its neighbour, an index, a name and a folder's.
const NAMES: [&str; 6] = ["a.txt", "a.txt.gz", "index.html", "index.htm", "dir/index.html", "dir/b.txt"];

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    let name = || 0..NAMES.len();
    prop_oneof![
        4 => (name(), any::<u8>(), prop_oneof![Just(3_usize), Just(3_000), Just(300)])
            .prop_map(|(name, octet, size)| Step::Write(name, b'a' + octet % 26, size)),
        1 => name().prop_map(Step::Remove),
        1 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (name(), name()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => Just(Step::RenameFolder),
        2 => Just(Step::Settle),
        2 => Just(Step::Later),
        6 => name().prop_map(Step::Get),
        4 => name().prop_map(Step::GetGzip),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    /// Whatever happened before, the answer is the file as it is now.
    #[test]
    fn the_cache_never_differs_from_the_disk(steps in proptest::collection::vec(step(), 1..40)) {
        let mut folder = Folder::with(|options| {
            options.index.push("index.htm".into());
            options.cache.file_bytes = 1_000;
            options.cache.entries = 3;
            options.listing = false;
        });
        fs::create_dir(folder.at("dir")).unwrap();
        for step in steps {
            match step {
                Step::Write(name, octet, size) => {
                    // Through a link this writes what it leads to, as an editor would; a dangling one is made whole.
                    let _ = fs::write(folder.at(NAMES[name]), vec![octet; size]);
                }
                Step::Remove(name) => {
                    let _ = fs::remove_file(folder.at(NAMES[name]));
                }
                Step::Rename(from, to) => {
                    let _ = fs::rename(folder.at(NAMES[from]), folder.at(NAMES[to]));
                }
                Step::Link(from, to) => {
                    let _ = std::os::unix::fs::symlink(folder.at(NAMES[from]), folder.at(NAMES[to]));
                }
                Step::RenameFolder => {
                    // There and back: other files stand at the same names.
                    let _ = fs::create_dir(folder.at("other"));
                    fs::rename(folder.at("dir"), folder.at("moved")).unwrap();
                    fs::rename(folder.at("other"), folder.at("dir")).unwrap();
                    fs::rename(folder.at("moved"), folder.at("other")).unwrap();
                }
                Step::Settle => settle(),
                Step::Later => folder.later(std::time::Duration::from_secs(1)),
                Step::Get(name) => check(&mut folder, NAMES[name], &[]),
                Step::GetGzip(name) => {
                    // Links may change where they lead without their directory changing: seen within a second.
                    folder.later(std::time::Duration::from_secs(1));
                    check(&mut folder, NAMES[name], &[("Accept-Encoding", "gzip")]);
                }
            }
        }
    }
}

/// Asks for a name, and for its directory, and compares with what the disk says.
fn check(folder: &mut Folder, name: &str, fields: &[(&str, &str)]) {
    let on_disk = |folder: &Folder, name: &str| fs::read(folder.at(name)).ok();
    let same = |folder: &mut Folder, target: &str, found: Option<String>| {
        let answer = folder.ask("GET", target, fields);
        let Some(found) = found else {
            assert_eq!(answer.status(), 404, "{target}");
            return;
        };
        assert_eq!(answer.status(), 200, "{target}");
        let plain = on_disk(folder, &found).unwrap();
        if answer.field("content-encoding").is_none() {
            assert_eq!(answer.body(), plain, "{target}");
            return;
        }
        let neighbour = on_disk(folder, &format!("{found}.gz"));
        let is_neighbour = neighbour.as_ref() == Some(&answer.body());
        assert!(is_neighbour || super::parts::gunzip(&answer.body()) == plain, "{target}");
    };
    let exists = on_disk(folder, name).map(|_| name.to_owned());
    same(folder, &format!("/{name}"), exists);
    for directory in ["", "dir/"] {
        let index = ["index.html", "index.htm"].map(|index| format!("{directory}{index}"));
        let index = index.into_iter().find(|index| on_disk(folder, index).is_some());
        same(folder, &format!("/{directory}"), index);
    }
}
