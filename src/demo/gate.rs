//! The gate as a child process: a config in a temporary folder, addresses from its log, an orderly end.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::demo::DemoError;
use crate::demo::scene::KEY_VARIABLE;

/// How long the gate may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long it may take to end; longer than its own drain.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at the child.
const PACE: Duration = Duration::from_millis(20);

/// Lines of the child's log that are kept for an error message, and how much of a line.
const WORDS_LINES: usize = 10;
const LINE_BYTES: u64 = 8 * 1024;

/// A running gate. Killed and cleaned up when dropped; [`ChildGate::end`] is the orderly way.
#[derive(Debug)]
pub struct ChildGate {
    child: Child,
    /// Removed at the end.
    folder: Folder,
    /// Where requests go.
    pub data: SocketAddr,
    /// Probes and metrics.
    pub ops: SocketAddr,
    /// Admin API without a key.
    pub admin: SocketAddr,
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    /// A new folder that nobody else can read.
    fn new() -> Result<Self, DemoError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(DemoError::Random)?;
        let path =
            std::env::temp_dir().join(format!("headgate-demo-{}", crate::model::hex(&random)));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(DemoError::Folder)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the child has said so far.
#[derive(Debug, Default)]
struct Heard {
    last: VecDeque<String>,
    listeners: Vec<(String, SocketAddr)>,
}

impl Heard {
    fn take(&mut self, line: &str) {
        if let Some(listener) = listening(line) {
            self.listeners.push(listener);
        }
        if self.last.len() == WORDS_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|it| it.0 == listener).map(|it| it.1)
    }
}

type Shared = Arc<Mutex<Heard>>;

impl ChildGate {
    /// Starts this very executable with the config and waits until it is ready.
    ///
    /// # Errors
    /// [`DemoError::Folder`], [`DemoError::Spawn`], [`DemoError::Ended`] or [`DemoError::NotReady`].
    pub async fn start(
        config: &str,
        key: &SecretString,
        show_access_log: bool,
    ) -> Result<Self, DemoError> {
        let folder = Folder::new()?;
        let file = folder.0.join("headgate.yaml");
        fs::write(&file, config).map_err(DemoError::Folder)?;
        let mut child = command(&file, key, show_access_log)
            .and_then(|mut it| it.spawn())
            .map_err(DemoError::Spawn)?;
        let heard = Shared::default();
        if let Some(source) = child.stderr.take() {
            listen_to(source, Arc::clone(&heard));
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gate = Self { child, folder, data: nowhere, ops: nowhere, admin: nowhere };
        gate.wait_until_ready(&heard).await?;
        Ok(gate)
    }

    async fn wait_until_ready(&mut self, heard: &Shared) -> Result<(), DemoError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.has_ended() {
                return Err(DemoError::Ended { words: words(heard) });
            }
            let known = ["data", "ops", "admin"].map(|it| lock(heard).address(it));
            if let [Some(data), Some(ops), Some(admin)] = known {
                (self.data, self.ops, self.admin) = (data, ops, admin);
                if TcpStream::connect(data).await.is_ok() {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                return Err(DemoError::NotReady { within: READY_WITHIN, words: words(heard) });
            }
            sleep(PACE).await;
        }
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The folder with the config, while the gate runs.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Asks it to drain and waits; kills it when that takes too long.
    pub async fn end(mut self) {
        // It may have ended already.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END_WITHIN;
        while !self.has_ended() && Instant::now() < deadline {
            sleep(PACE).await;
        }
    }
}

impl Drop for ChildGate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(file: &Path, key: &SecretString, show_access_log: bool) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--end-with-parent"]).arg(file).env(KEY_VARIABLE, key.expose_secret());
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    // Standard output is the demo's own: what the gate writes there is shown beside it.
    let access_log = match show_access_log {
        true => Stdio::from(io::stderr().as_fd().try_clone_to_owned()?),
        false => Stdio::null(),
    };
    command.stdout(access_log);
    Ok(command)
}

/// Reads the child's log on a thread of its own until the child ends, so that its pipe never fills.
fn listen_to(source: ChildStderr, heard: Shared) {
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        loop {
            line.clear();
            match source.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(1..) => lock(&heard).take(String::from_utf8_lossy(&line).trim_end()),
                Ok(0) | Err(_) => return,
            }
        }
    });
}

fn lock(heard: &Shared) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn words(heard: &Shared) -> String {
    let heard = lock(heard);
    if heard.last.is_empty() {
        return "none".to_owned();
    }
    heard.last.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
}

/// Name and address in a `listening` event of the gate's JSON log.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = event.get("fields")?;
    let text = |name: &str| fields.get(name).and_then(|it| it.as_str());
    if text("message") != Some("listening") {
        return None;
    }
    Some((text("listener")?.to_owned(), text("address")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_event_names_an_address() {
        let line = r#"{"level":"INFO","fields":{"message":"listening","listener":"ops","address":"127.0.0.1:9"}}"#;
        assert_eq!(listening(line), Some(("ops".to_owned(), ([127, 0, 0, 1], 9).into())));
        for other in [
            "",
            "text",
            "{}",
            r#"{"fields":{"message":"listening","listener":"admin","address":"unix:/run/x"}}"#,
            r#"{"fields":{"message":"started","listener":"ops","address":"127.0.0.1:9"}}"#,
        ] {
            assert_eq!(listening(other), None, "{other}");
        }
    }

    #[test]
    fn only_the_last_words_are_kept() {
        let heard = Shared::default();
        for number in 0..100 {
            lock(&heard).take(&format!("line {number}"));
        }
        assert_eq!(lock(&heard).last.len(), WORDS_LINES);
        assert!(words(&heard).ends_with("line 99"));
    }

    #[test]
    fn the_folder_goes_with_its_owner() {
        let folder = Folder::new().unwrap();
        let path = folder.0.clone();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
