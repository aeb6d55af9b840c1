//! A running gate with plugins in its config: started, swapped under, looked at, ended.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

use crate::machine::{self, Machine, now_ns};

/// Longest that a start with many components to compile may take.
const STARTS_WITHIN_NS: u64 = 180_000_000_000;

/// A folder with a config, plugins and state; several gates may live in it, one after the other.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
    pub(crate) data: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    /// Writes config and components; each component is a filter of one route, in order (`/f0/`, `/f1/`, ...).
    pub(crate) fn new(upstream: SocketAddr, filters: &[Vec<u8>]) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("headgate-bench-plugin-{}", now_ns()));
        for folder in ["plugins", "log"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        let place = Self { dir, data: free_port()?, admin: free_port()? };
        let mut text = format!(
            "listeners: {{ data: \"{}\", ops: \"off\", admin: \"{}\" }}\ncores: 1\nstate: ./state\n\
             services:\n  app: {{ upstreams: [\"http://{upstream}\"] }}\n",
            place.data, place.admin,
        );
        if !filters.is_empty() {
            text.push_str("plugins:\n");
        }
        for (number, wasm) in filters.iter().enumerate() {
            place.put(number, wasm)?;
            let _ = writeln!(
                text,
                "  p{number}: {{ file: plugins/p{number}.wasm, grants: [\"header:*\"] }}"
            );
        }
        text.push_str("routes:\n  - { path: /plain/, service: app, access: public }\n");
        for number in 0..filters.len() {
            let _ = writeln!(
                text,
                "  - {{ path: /f{number}/, service: app, access: public, filters: {{ plugin: p{number}, \
                 settings: {{ header: x-tenant }} }} }}"
            );
        }
        fs::write(place.dir.join("config.yaml"), text)?;
        Ok(place)
    }

    /// Renames a component into its place.
    pub(crate) fn put(&self, number: usize, wasm: &[u8]) -> anyhow::Result<()> {
        let fresh = self.dir.join(format!("plugins/.p{number}.new"));
        fs::write(&fresh, wasm)?;
        Ok(fs::rename(fresh, self.dir.join(format!("plugins/p{number}.wasm")))?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A running gate; ended when dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    child: Child,
    pub(crate) group: Pid,
    pub(crate) data: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
    /// From the start of the process to the first answer of the upstream's route, in ns.
    pub(crate) start_ns: u64,
}

impl Gate {
    /// Starts on the gate's cores and asks for `path` until the answer has this status; one that the gate itself or one of
    /// its filters answers, since nobody serves the upstream meanwhile.
    pub(crate) fn start(
        machine: &Machine,
        place: &Place,
        (path, status): (&str, &str),
    ) -> anyhow::Result<Self> {
        let log = place.dir.join("log/out.txt");
        let out = File::create(&log)?;
        machine::pin(&machine.proxy)?;
        let start = now_ns();
        let spawned = Command::new(&machine.gate)
            .arg("run")
            .arg(place.dir.join("config.yaml"))
            .current_dir(&place.dir)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .process_group(0)
            .spawn();
        machine::pin(&[machine.load])?;
        let child = spawned.context("cannot start the gate")?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        let mut gate =
            Self { child, group, data: place.data, admin: place.admin, log, start_ns: 0 };
        while !gate.answers(path, status) {
            anyhow::ensure!(gate.child.try_wait()?.is_none(), "the gate ended: {}", gate.told());
            anyhow::ensure!(now_ns() - start < STARTS_WITHIN_NS, "no answer: {}", gate.told());
            std::thread::park_timeout(Duration::from_millis(1));
        }
        gate.start_ns = now_ns() - start;
        Ok(gate)
    }

    fn answers(&self, path: &str, status: &str) -> bool {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
        exchange(self.data, ask.as_bytes()).is_ok_and(|it| it.get(9..12) == Some(status))
    }

    pub(crate) fn told(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Makes the gate look at its config and plugins now.
    pub(crate) fn reload(&self) -> anyhow::Result<()> {
        let request = format!(
            "POST /api/admin/headgate/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n",
            self.admin
        );
        let answer = exchange(self.admin, request.as_bytes())?;
        anyhow::ensure!(answer.get(9..10) == Some("2"), "a reload was refused: {answer}");
        Ok(())
    }

    /// What the gate says about its plugins.
    pub(crate) fn plugins(&self) -> anyhow::Result<String> {
        let request = format!(
            "GET /api/admin/headgate/plugins HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        exchange(self.admin, request.as_bytes())
    }

    pub(crate) fn pss_mib(&self) -> f64 {
        machine::pss_bytes(self.group) as f64 / f64::from(1 << 20)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// One exchange on a connection of its own.
pub(crate) fn exchange(addr: SocketAddr, request: &[u8]) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(request)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
