//! The folder itself: built anew, or a link that is switched.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::{Folder, settle};

/// A folder whose files are in memory, watched where the system can.
fn in_use(path: impl FnOnce(&Folder) -> std::path::PathBuf) -> Folder {
    let mut folder = Folder::new();
    folder.write("index.html", "old");
    folder.write_settled("gone", "old");
    let path = path(&folder);
    folder.reopen(|options| options.root = path);
    for _ in 0..3 {
        for target in ["/", "/index.html", "/gone"] {
            assert_eq!(folder.get(target).text(), "old");
        }
        folder.later(Duration::from_secs(1));
    }
    folder.get("/");
    folder
}

#[test]
fn a_folder_that_is_built_anew_is_served_within_a_second() {
    let mut folder = in_use(|folder| folder.at(""));
    fs::rename(folder.at(""), folder.outside("old")).unwrap();
    folder.write_settled("index.html", "new");
    folder.later(Duration::from_secs(1));
    assert_eq!(folder.get("/").text(), "new");
    assert_eq!(folder.get("/index.html").text(), "new");
    assert_eq!(folder.get("/gone").status(), 404);
    // What is served now is watched as what was served before.
    for round in 0..3 {
        folder.write_settled("index.html", format!("{round}"));
        assert_eq!(folder.get("/").text(), format!("{round}"));
        folder.later(Duration::from_secs(1));
    }
}

#[test]
fn a_link_to_the_folder_that_is_switched_is_followed_within_a_second() {
    let mut folder = in_use(|folder| {
        symlink("root", folder.outside("current")).unwrap();
        folder.outside("current")
    });
    fs::create_dir(folder.outside("next")).unwrap();
    fs::write(folder.outside("next/index.html"), "new").unwrap();
    symlink("index.html", folder.outside("next/relative")).unwrap();
    symlink(folder.outside("next/index.html"), folder.outside("next/absolute")).unwrap();
    symlink("next", folder.outside("new link")).unwrap();
    settle();
    fs::rename(folder.outside("new link"), folder.outside("current")).unwrap();
    folder.later(Duration::from_secs(1));
    for target in ["/", "/index.html", "/relative", "/absolute"] {
        assert_eq!(folder.get(target).text(), "new", "{target}");
    }
    assert_eq!(folder.get("/gone").status(), 404);
    // And back.
    symlink("root", folder.outside("new link")).unwrap();
    fs::rename(folder.outside("new link"), folder.outside("current")).unwrap();
    folder.later(Duration::from_secs(1));
    assert_eq!(folder.get("/").text(), "old");
}

#[test]
fn a_folder_that_is_moved_away_is_served_until_there_is_another() {
    let mut folder = in_use(|folder| folder.at(""));
    fs::rename(folder.at(""), folder.outside("old")).unwrap();
    for _ in 0..3 {
        folder.later(Duration::from_secs(1));
        assert_eq!(folder.get("/").text(), "old");
    }
    fs::write(folder.outside("root"), "a file").unwrap();
    folder.later(Duration::from_secs(1));
    assert_eq!(folder.get("/").text(), "old");
    fs::remove_file(folder.outside("root")).unwrap();
    folder.write_settled("index.html", "new");
    folder.later(Duration::from_secs(1));
    assert_eq!(folder.get("/").text(), "new");
}
