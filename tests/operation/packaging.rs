//! What a packager gets: the units and the container's recipe say what the program understands.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BINARY, Started, folder, installed, text};

fn packaging(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/packaging").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The units, with the binary under test in place of the installed one.
fn units() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (service, socket) = (place.path().join("wouldblock.service"), place.path().join("wouldblock.socket"));
    let text = packaging("wouldblock.service").replace("/usr/local/bin/wouldblock", BINARY);
    std::fs::write(&service, text.replace("Documentation=man:wouldblock(1)\n", "")).unwrap();
    std::fs::write(&socket, packaging("wouldblock.socket")).unwrap();
    (place, service, socket)
}

#[test]
fn systemd_understands_the_units() {
    if !installed("systemd-analyze") {
        return;
    }
    let (_place, service, socket) = units();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=one"])
        .args([&service, &socket])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success() && !said.contains("wouldblock"), "{said}");
}

#[test]
fn the_service_may_do_little() {
    if !installed("systemd-analyze") {
        return;
    }
    let (_place, service, _) = units();
    // From 0 (no exposure) to 10 (all of it); the flag counts in tenths.
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=20", "--no-pager"])
        .arg(&service)
        .output()
        .unwrap();
    let said = text(&output.stdout);
    let verdict = said.lines().last().unwrap_or_default().to_owned();
    assert!(output.status.success(), "{verdict} {}", text(&output.stderr));
}

#[test]
fn the_commands_of_the_unit_and_the_image_are_understood() {
    let folder = folder();
    let unit = packaging("wouldblock.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let in_unit: Vec<_> = line.split_whitespace().skip(2).map(str::to_owned).collect();
    let recipe = packaging("Dockerfile");
    let line = recipe.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let in_image: Vec<String> = serde_json::from_str(line).unwrap();
    for (flags, own_port) in [(in_unit, false), (in_image[1..].to_vec(), true)] {
        let mut flags: Vec<_> = flags.iter().map(String::as_str).collect();
        if own_port {
            // Any port will do for the test.
            let at = flags.iter().position(|flag| *flag == "--port").unwrap() + 1;
            flags[at] = "0";
        } else {
            flags.extend(["-p", "0"]);
        }
        let server = Started::new(folder.path(), &flags);
        assert_eq!(server.get("/", "").status, 200, "{flags:?}");
        assert_eq!(server.stop().0, Some(0));
    }
}
