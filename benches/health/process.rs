//! A gate, or HAProxy beside it, as a process on a core of its own: config in a folder, started, asked, ended.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::machine::{self, Machine, now_ns};

/// Longest that a start may take: components may have to be compiled.
const STARTS_WITHIN_NS: u64 = 120_000_000_000;
const PACE: Duration = Duration::from_millis(20);

/// A folder on a disk, not in memory: what is written is synced. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let name = format!("headgate-bench-health-{}", now_ns());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(path.join("log"))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process group; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) group: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts on the cores of the proxy.
    fn start(
        machine: &Machine,
        mut command: Command,
        (folder, name): (&Folder, &str),
    ) -> anyhow::Result<Self> {
        let log = folder.0.join("log").join(format!("{name}.txt"));
        let out = File::create(&log)?;
        machine::pin(&machine.proxy)?;
        let spawned = command
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .process_group(0)
            .spawn();
        machine::pin(&[machine.load])?;
        let child = spawned.with_context(|| format!("cannot start {name}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        Ok(Self { child, group, log })
    }

    pub(crate) fn told(&self) -> String {
        let all = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = all.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn pss_mib(&self) -> f64 {
        machine::pss_bytes(self.group) as f64 / f64::from(1 << 20)
    }

    pub(crate) fn cpu_ns(&self) -> u64 {
        machine::cpu_ns(self.group)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Addresses of one gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listens {
    pub(crate) data: SocketAddr,
    ops: SocketAddr,
    admin: SocketAddr,
}

impl Listens {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { data: free_port()?, ops: free_port()?, admin: free_port()? })
    }

    /// The lines of the config that every gate here begins with.
    pub(crate) fn yaml(&self) -> String {
        format!(
            "listeners: {{ data: \"{}\", ops: \"{}\", admin: \"{}\" }}\ncores: 1\nstate: ./state\n",
            self.data, self.ops, self.admin
        )
    }
}

/// A running gate.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) process: Process,
    pub(crate) at: Listens,
}

impl Gate {
    /// Starts the gate with this config in the folder (its state is kept there) and waits until it answers.
    pub(crate) fn start(
        machine: &Machine,
        folder: &Folder,
        (at, config): (Listens, &str),
    ) -> anyhow::Result<Self> {
        let file = folder.0.join("config.yaml");
        fs::write(&file, config)?;
        let mut command = Command::new(&machine.gate);
        // Kubesnap's.
        command.arg("run").arg(file).env("BENCH_KEY", "bench-key-0123456789abcdef");
        let mut gate = Self { process: Process::start(machine, command, (folder, "gate"))?, at };
        let begin = now_ns();
        while get(gate.at.ops, "/readyz").is_none() {
            let ended = gate.process.child.try_wait()?;
            anyhow::ensure!(ended.is_none(), "the gate ended: {}", gate.process.told());
            let late = now_ns() - begin > STARTS_WITHIN_NS;
            anyhow::ensure!(!late, "the gate does not answer: {}", gate.process.told());
            std::thread::park_timeout(PACE);
        }
        Ok(gate)
    }

    /// Everything that it counts.
    pub(crate) fn metrics(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics(get(self.at.ops, "/metrics").context("the gate gives no metrics")?))
    }

    /// An endpoint of the admin API.
    pub(crate) fn admin(&self, endpoint: &str) -> anyhow::Result<Value> {
        let text = get(self.at.admin, &format!("/api/admin/headgate/{endpoint}"));
        Ok(serde_json::from_str(&text.with_context(|| format!("no answer from {endpoint}"))?)?)
    }

    /// Waits until so many services are judged well.
    pub(crate) fn wait_well(&self, services: usize, within: Duration) -> anyhow::Result<()> {
        let end = now_ns() + u64::try_from(within.as_nanos())?;
        loop {
            let metrics = self.metrics()?;
            let lines = metrics.lines("headgate_service_health", "state=\"ok\"");
            let well = lines.filter(|it| it.1 == 1.0).count();
            if well >= services {
                return Ok(());
            }
            let told = self.process.told();
            anyhow::ensure!(now_ns() < end, "{well} of {services} services are well: {told}");
            std::thread::park_timeout(PACE * 5);
        }
    }

    /// Whether any decision was native code's in a component's place.
    pub(crate) fn ensure_components(&self) -> anyhow::Result<()> {
        let seen = self.admin("plugins")?;
        let plugins = seen["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
        let uses: Vec<_> =
            plugins.iter().filter_map(|it| it["uses"].as_array()).flatten().collect();
        let count = |name: &str| uses.iter().filter_map(|it| it[name].as_u64()).sum::<u64>();
        let fallen = count("fallbacks") + count("faults");
        anyhow::ensure!(count("calls") > 0, "no component was called: {seen}");
        anyhow::ensure!(fallen == 0, "{fallen} calls fell back to native code");
        Ok(())
    }
}

/// Starts HAProxy with this config.
pub(crate) fn haproxy(machine: &Machine, folder: &Folder, config: &str) -> anyhow::Result<Process> {
    let file = folder.0.join("haproxy.cfg");
    fs::write(&file, config)?;
    let found = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].map(PathBuf::from);
    let program = found.into_iter().find(|it| it.exists());
    let mut command = Command::new(program.context("haproxy is missing: apt-get install haproxy")?);
    command.arg("-db").arg("-f").arg(file);
    Process::start(machine, command, (folder, "haproxy"))
}

/// The text form of the metrics.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Labels and value of every line of this name whose labels hold a text.
    pub(crate) fn lines<'a>(
        &'a self,
        name: &'a str,
        labels: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (found, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once('}')?,
                None => ("", rest),
            };
            // A longer name begins alike.
            let is_it = rest.starts_with(['{', ' ']) && found.contains(labels);
            is_it.then(|| Some((found, value.trim().parse().ok()?)))?
        })
    }

    pub(crate) fn sum(&self, name: &str, labels: &str) -> f64 {
        self.lines(name, labels).map(|it| it.1).sum()
    }

    /// Counts at or below each upper bound of a histogram, all label sets together, in the order of the bounds.
    pub(crate) fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let mut all: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in self.lines(&name, "le=") {
            let bound = labels.split("le=\"").nth(1).and_then(|it| it.split('"').next());
            let bound = match bound {
                Some("+Inf") => f64::INFINITY,
                Some(text) => text.parse().unwrap_or(f64::INFINITY),
                None => continue,
            };
            match all.iter_mut().find(|it| it.0 == bound) {
                Some(one) => one.1 += count,
                None => all.push((bound, count)),
            }
        }
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }
}

/// The upper bound below which a share of what came between two looks lies.
pub(crate) fn quantile(before: &[(f64, f64)], after: &[(f64, f64)], share: f64) -> f64 {
    let of = |bound: f64| before.iter().find(|it| it.0 == bound).map_or(0.0, |it| it.1);
    let grown: Vec<(f64, f64)> = after.iter().map(|it| (it.0, it.1 - of(it.0))).collect();
    let total = grown.last().map_or(0.0, |it| it.1);
    grown.iter().find(|it| it.1 >= total * share && total > 0.0).map_or(f64::NAN, |it| it.0)
}

/// The body of a 200 on a connection of its own.
fn get(at: SocketAddr, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    socket.write_all(ask.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    (head.get(9..12) == Some("200")).then(|| if chunked { joined(body) } else { body.to_owned() })
}

/// The chunks of a body put together.
fn joined(mut rest: &str) -> String {
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size.trim(), 16) else { break };
        whole.push_str(after.get(..size).unwrap_or_default());
        rest = after.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
