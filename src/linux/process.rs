//! Reads what the kernel knows about this process: CPU, memory, descriptors, threads.

use std::collections::BTreeMap;
use std::fs;

/// `/proc` counts CPU in hundredths of a second to user space, on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Numbers at one moment; what cannot be read is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
    /// Time on a CPU by thread name: how busy each core's thread is.
    pub thread_seconds: BTreeMap<String, f64>,
}

impl Process {
    /// Reads `/proc/self`.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: field(&status, "VmRSS:").map(|it| it * 1024),
            virtual_bytes: field(&status, "VmSize:").map(|it| it * 1024),
            threads: field(&status, "Threads:"),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|it| it.count() as u64),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            thread_seconds: thread_seconds(),
        }
    }
}

/// A number of `/proc/self/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of `/proc/self/stat` (proc(5): fields 14 and 15; the name before may hold anything).
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn thread_seconds() -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).ok();
        // A thread may end while it is looked at.
        let (Some(name), Some(spent)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        let spent = spent.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
        *sums.entry(name.trim_end().to_owned()).or_insert(0.0) += spent as f64 / 1e9;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        let now = Process::now();
        assert!(now.cpu_seconds.is_some());
        assert!(now.resident_bytes.unwrap() > 100_000);
        assert!(now.virtual_bytes >= now.resident_bytes);
        assert!(now.threads.unwrap() >= 1);
        assert!(now.open_fds.unwrap() >= 3);
        assert!(now.max_fds.is_none_or(|it| it >= 3));
        assert!(!now.thread_seconds.is_empty());
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_skipped() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(cpu_seconds("7 (a) S 1"), None);
    }

    #[test]
    fn a_missing_field_is_absent() {
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field("VmRSS:\t kB\n", "VmRSS:"), None);
        assert_eq!(field("", "VmRSS:"), None);
    }
}
