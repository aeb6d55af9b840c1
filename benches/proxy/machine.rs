//! The kernel's view: clock, cores, limits, CPU time and memory of a process tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time in nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Builds the gate as it is shipped. The binary that cargo builds for a benchmark has the features that tests ask of its
/// dependencies (a clock that can be stopped, for one).
///
/// # Errors
/// When it does not build.
pub(crate) fn build_gate() -> anyhow::Result<PathBuf> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--profile", "dist", "--bin", "headgate"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(built.success(), "the gate does not build");
    let profiles = Path::new(env!("CARGO_BIN_EXE_headgate")).parent().and_then(Path::parent);
    Ok(profiles.context("no target directory")?.join("dist").join("headgate"))
}

/// Who runs where (the proxy alone on its core, generator and upstream together on another), and how much fits.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The gate's binary.
    pub(crate) gate: PathBuf,
    /// Client connections that every proxy can hold within the limit of open files.
    pub(crate) connections_max: usize,
    pub(crate) proxy: Vec<usize>,
    pub(crate) load: usize,
}

impl Machine {
    /// The last allowed core for the load, the one before it for the proxy.
    ///
    /// # Errors
    /// When the process may use fewer than two cores: proxy and load would share one.
    pub(crate) fn choose(gate: PathBuf) -> anyhow::Result<Self> {
        // A proxy reckons with two descriptors for each connection, and some of its own.
        let connections_max = usize::try_from(raise_open_files().saturating_sub(1000) / 2)?;
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let mut list: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|it| allowed.is_set(*it)).collect();
        let load = list.pop().context("no core is allowed")?;
        let proxy = list.pop().context("the benchmark needs two cores, one is allowed")?;
        Ok(Self { gate, connections_max, proxy: vec![proxy], load })
    }

    /// All of them, for scenes in which the proxy has several cores.
    pub(crate) fn all(&self) -> Vec<usize> {
        self.proxy.iter().copied().chain([self.load]).collect()
    }
}

/// Pins the calling thread (and what it starts from now on) to `cores`.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|it| set.set(*it));
    rustix::thread::sched_setaffinity(None, &set).context("pinning to a core")
}

/// Runs this process, its children and its session's group before others, for as long as it is held (root only).
#[derive(Debug)]
pub(crate) struct First(());

const GROUP: &str = "/proc/self/autogroup";

impl First {
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn come() -> anyhow::Result<Self> {
        rustix::process::setpriority_process(None, -19).context("raising the priority")?;
        // With autogroups a priority counts only within the session; without them there is no such file.
        let _ = fs::write(GROUP, "-19");
        Ok(Self(()))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        let _ = fs::write(GROUP, "0");
    }
}

/// Raises the limit of open files as far as it goes; gives the limit.
fn raise_open_files() -> u64 {
    let wanted = 65_536;
    let both = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    if rustix::process::setrlimit(Resource::Nofile, both).is_ok() {
        return wanted;
    }
    let have = rustix::process::getrlimit(Resource::Nofile);
    let soft = Rlimit { current: have.maximum, maximum: have.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, soft);
    have.maximum.unwrap_or(wanted)
}

/// Processes of a process group, dead ones left out.
pub(crate) fn members(group: Pid) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| is_live_member(*pid, group)).collect()
}

/// `/proc/PID/stat` after the name: state, parent, group.
fn is_live_member(pid: u32, group: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next();
    let of_group = fields.nth(1).and_then(|it| it.parse::<i32>().ok());
    of_group == Some(group.as_raw_nonzero().get()) && state != Some("Z")
}

/// CPU nanoseconds of every thread of the group: (process, thread, ns).
pub(crate) fn cpu_by_thread(group: Pid) -> Vec<(u32, u32, u64)> {
    let mut all = Vec::new();
    for pid in members(group) {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let tid = task.file_name().to_str().and_then(|it| it.parse().ok());
            let ns = tid.and_then(|_| run_ns(&task.path().join("schedstat")));
            all.extend(tid.zip(ns).map(|(tid, ns)| (pid, tid, ns)));
        }
    }
    all
}

/// CPU nanoseconds of the whole group.
pub(crate) fn cpu_ns(group: Pid) -> u64 {
    cpu_by_thread(group).iter().map(|it| it.2).sum()
}

fn run_ns(schedstat: &Path) -> Option<u64> {
    fs::read_to_string(schedstat).ok()?.split_whitespace().next()?.parse().ok()
}

/// Proportional set size of the whole group in bytes (pages shared with others counted in part).
pub(crate) fn pss_bytes(group: Pid) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find(|it| it.starts_with("Pss:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    members(group).iter().filter_map(of).sum::<u64>() * 1024
}
