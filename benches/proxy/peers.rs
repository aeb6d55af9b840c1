//! The proxies under test: each with an equivalent config, started pinned, stopped with all its children.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

use crate::machine::{self, Machine};
use crate::{conf, load::Load};

/// The key that the load sends.
pub(crate) const KEY: &str = "bench-key-0123456789abcdef";

/// What a proxy prints: not beside the config, whose folder the gate watches.
const OUT: &str = "log/out.txt";

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gate,
    Nginx,
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Gate, Self::Nginx, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gate => "headgate",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    fn program(self, gate: &Path) -> PathBuf {
        match self {
            Self::Gate => gate.to_owned(),
            Self::Nginx | Self::Haproxy => {
                let found = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"]
                    .map(|it| Path::new(it).join(self.name()))
                    .into_iter()
                    .find(|it| it.exists());
                found.unwrap_or_else(|| PathBuf::from(self.name()))
            }
        }
    }

    /// The version it prints, or what to install.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(crate) fn version(self, gate: &Path) -> anyhow::Result<String> {
        let flag = if self == Self::Gate { "--version" } else { "-v" };
        let out = Command::new(self.program(gate)).arg(flag).output().with_context(|| {
            format!("{0} is missing: install the package {0} (apt-get install {0})", self.name())
        })?;
        let text = [out.stdout, out.stderr].concat();
        let first = text.split(|it| *it == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(first);
        let digits = line.split(|c: char| !c.is_ascii_digit() && c != '.');
        Ok(digits.filter(|it| it.contains('.')).take(1).collect())
    }
}

/// What a proxy is given to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Routes of which only the last is asked for.
    pub(crate) routes: usize,
    /// Keys of which only the last is sent.
    pub(crate) keys: usize,
    /// Threads or workers of the data path.
    pub(crate) cores: usize,
}

impl Setup {
    pub(crate) const PLAIN: Self = Self { routes: 1, keys: 1, cores: 1 };
}

/// Addresses and files that a config names.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) upstream: SocketAddr,
    pub(crate) sink: SocketAddr,
    /// Client connections that must fit.
    pub(crate) connections: usize,
}

/// A running proxy; killed with its children when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
    /// Process group of the whole tree.
    pub(crate) group: Pid,
    place: Place,
    setup: Setup,
    child: Child,
}

impl Peer {
    /// Starts it on the proxy's cores and waits until it accepts.
    pub(crate) fn start(
        kind: Kind,
        setup: Setup,
        cores: &Machine,
        load: &mut Load,
    ) -> anyhow::Result<Self> {
        let place = Place {
            dir: fresh_dir(kind)?,
            listen: free_port()?,
            admin: free_port()?,
            upstream: load.upstream_addr()?,
            sink: load.sink_addr()?,
            connections: cores.connections_max.min(10_000) + 200,
        };
        write_config(kind, &place, setup, 0)?;
        // A child inherits the affinity of the thread that starts it.
        let all = cores.all();
        machine::pin(if setup.cores > 1 { &all } else { &cores.proxy })?;
        let spawned = command(&kind.program(&cores.gate), kind, &place)?.process_group(0).spawn();
        machine::pin(&[cores.load])?;
        let child = spawned.with_context(|| format!("cannot start {}", kind.name()))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        let mut peer = Self { kind, addr: place.listen, group, place, setup, child };
        peer.wait_ready(load)?;
        Ok(peer)
    }

    fn wait_ready(&mut self, load: &mut Load) -> anyhow::Result<()> {
        for _ in 0..250 {
            if TcpStream::connect_timeout(&self.addr, Duration::from_millis(200)).is_ok() {
                return load.rest(Duration::from_millis(100));
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.place.dir.join(OUT)).unwrap_or_default();
                anyhow::bail!("{} ended with {status}: {log}", self.kind.name());
            }
            load.rest(Duration::from_millis(20))?;
        }
        anyhow::bail!("{} does not accept on {} after 5 s", self.kind.name(), self.addr)
    }

    /// Bytes of access log so far, in its file or over the sink.
    pub(crate) fn logged(&self, load: &Load) -> u64 {
        let file = match self.kind {
            Kind::Gate => OUT,
            Kind::Nginx => "access.log",
            Kind::Haproxy => return load.logged,
        };
        fs::metadata(self.place.dir.join(file)).map_or(0, |it| it.len())
    }

    /// Writes a config that differs in one route and makes the proxy take it.
    ///
    /// # Errors
    /// When the file, the signal or the admin call fails.
    pub(crate) fn reload(&self, number: u64) -> anyhow::Result<()> {
        write_config(self.kind, &self.place, self.setup, number)?;
        match self.kind {
            Kind::Gate => ask_reload(self.place.admin),
            Kind::Nginx => self.signal(Signal::HUP),
            Kind::Haproxy => self.signal(Signal::USR2),
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        rustix::process::kill_process(self.group, signal).context("signal to the master process")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.place.dir);
    }
}

fn write_config(kind: Kind, place: &Place, setup: Setup, number: u64) -> anyhow::Result<()> {
    for (name, text) in conf::files(kind, place, setup, number) {
        let fresh = place.dir.join(format!("{name}.new"));
        fs::write(&fresh, text)?;
        fs::rename(&fresh, place.dir.join(name))?;
    }
    Ok(())
}

fn command(program: &Path, kind: Kind, place: &Place) -> anyhow::Result<Command> {
    let out = File::create(place.dir.join(OUT))?;
    let config = place.dir.join(conf::FILE);
    let mut command = Command::new(program);
    match kind {
        Kind::Gate => command.arg("run").arg(config),
        Kind::Nginx => command.arg("-p").arg(&place.dir).arg("-c").arg(config),
        Kind::Haproxy => command.arg("-W").arg("-f").arg(config),
    };
    command.current_dir(&place.dir).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    Ok(command)
}

/// `POST …/reload` on the gate's admin listener; 2xx or an error with its answer.
fn ask_reload(admin: SocketAddr) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect_timeout(&admin, Duration::from_secs(1))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!(
        "POST /api/admin/headgate/reload HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    anyhow::ensure!(answer.get(9..10) == Some("2"), "the gate refused a reload: {answer}");
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn fresh_dir(kind: Kind) -> anyhow::Result<PathBuf> {
    let name =
        format!("headgate-bench-{}-{}-{}", std::process::id(), kind.name(), machine::now_ns());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(dir.join("log"))?;
    Ok(dir)
}
