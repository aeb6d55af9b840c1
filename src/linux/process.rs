//! What the kernel knows about this process and does for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// `/proc` counts CPU in hundredths of a second to user space, on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Lets the kernel send SIGTERM when the parent is gone, however it went.
///
/// # Errors
/// The operating system's error.
pub fn end_with_parent() -> std::io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// This process's own program, also when its file has been replaced or removed since.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// What a process may take; see [`bind_self`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// CPU time of all its threads together.
    pub cpu_seconds: u64,
    /// Address space.
    pub address_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Bounds this process for good and behind others: no core dumps either, and a lower priority. Limits that are stricter
/// already stay.
///
/// # Errors
/// The operating system's error.
pub fn bind_self(bounds: &Bounds) -> std::io::Result<()> {
    for (resource, most) in [
        (Resource::Cpu, bounds.cpu_seconds),
        (Resource::As, bounds.address_bytes),
        (Resource::Nofile, bounds.descriptors),
        (Resource::Core, 0),
    ] {
        let most = Some(getrlimit(resource).maximum.map_or(most, |it| it.min(most)));
        setrlimit(resource, Rlimit { current: most, maximum: most })?;
    }
    rustix::process::nice(BEHIND)?;
    Ok(())
}

/// Nice value of work that can wait.
const BEHIND: i32 = 10;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Code(i32),
    /// Its limit of CPU time was reached.
    CpuTime,
    /// It gave up itself: what Rust does when memory is refused.
    Aborted,
    /// Killed from outside, often by the kernel for want of memory.
    Killed,
    /// By another signal.
    Signal(i32),
}

/// Reads an exit status.
pub fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal().and_then(Signal::from_named_raw)) {
        (Some(code), _) => Ending::Code(code),
        (None, Some(Signal::XCPU)) => Ending::CpuTime,
        (None, Some(Signal::ABORT)) => Ending::Aborted,
        (None, Some(Signal::KILL)) => Ending::Killed,
        (None, _) => Ending::Signal(status.signal().unwrap_or_default()),
    }
}

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
            max_fds: getrlimit(Resource::Nofile).current,
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
