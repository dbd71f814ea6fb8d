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
        1 => Just(Step::Settle),
        1 => Just(Step::Later),
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
