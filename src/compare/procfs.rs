//! What Linux says about a process from outside: processor time in nanoseconds, memory, time spent waiting for a core.
//! All of it for whole trees, because two I/O models and most other servers are more than one process.

use std::fs;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process and its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let mut pids = vec![root];
    let mut next = 0;
    while let Some(&pid) = pids.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            // Needs CONFIG_PROC_CHILDREN, which all distributions set; without it a tree is its root.
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    pids
}

/// Processor time of a whole tree so far, seconds: the process clocks (nanoseconds, all threads, the ended ones too)
/// of those that live. A child that ends during a phase takes its time with it: phases keep their connections open, so
/// that none does.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let clock = |pid: &u32| {
        let id = clock_getcpuclockid(Pid::from_raw(i32::try_from(*pid).ok()?)).ok()?;
        let time = clock_gettime(id).ok()?;
        Some(time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
    };
    pids.iter().filter_map(clock).sum()
}

/// Seconds that a thread was runnable but had to wait for a core: the second field of `/proc/WHO/schedstat`, where a
/// process number stands for its first thread and `thread-self` for the caller.
pub fn waited_seconds(who: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{who}/schedstat")).ok()?;
    Some(text.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? as f64 * 1e-9)
}

/// Memory in KiB: the resident set of one process; of a tree the sum of proportional sets, so that pages shared by
/// parent and children count once.
pub fn memory_kib(pids: &[u32]) -> Option<u64> {
    match pids {
        [pid] => field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:"),
        _ => Some(
            pids.iter()
                .filter_map(|pid| {
                    field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
                })
                .sum(),
        ),
    }
}

/// Times a tree was put to sleep by its own wish and against it (`voluntary_ctxt_switches` and its opposite), first
/// threads only.
pub fn switches(pids: &[u32]) -> (u64, u64) {
    pids.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok()).fold(
        (0, 0),
        |sum, status| {
            let get = |name| field(&status, name).unwrap_or(0);
            (sum.0 + get("voluntary_ctxt_switches:"), sum.1 + get("nonvoluntary_ctxt_switches:"))
        },
    )
}

/// The number behind a name in a `Name: number unit` file.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_number_is_found_by_its_whole_name() {
        let text = "VmRSS:\t    1234 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(text, "VmRSS:"), Some(1234));
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(text, "nonvoluntary_ctxt_switches:"), Some(9));
        assert_eq!(field(text, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let me = std::process::id();
        assert!(cpu_seconds(&[me]) > 0.0);
        assert!(memory_kib(&[me]).is_some_and(|kib| kib > 100));
        assert!(waited_seconds("thread-self").is_some());
    }

    #[test]
    fn a_tree_has_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pids = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(pids.contains(&std::process::id()));
        assert!(pids.contains(&child.id()));
    }
}
