//! The real binary as a subprocess: started, watched, reloaded, killed, cleaned up.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Resource, Rlimit, Signal as Kill, kill_process, prlimit};
use serde_json::Value;

use super::client::{Broken, RawClient, Response};
use super::setup::Setup;
use super::upstream::RawUpstream;
use super::wait::{until, until_some};

/// A folder that is removed with its owner.
#[derive(Debug)]
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("headgate-it-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a writable temp folder");
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A running gate.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    pub(crate) dir: Arc<TempDir>,
    setup: Setup,
    log: Lines,
    access: Lines,
    pub(crate) data: SocketAddr,
    pub(crate) ops: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl Gateway {
    /// A gate with a config of this text.
    pub(crate) fn config(yaml: &str) -> Setup {
        Setup::text(yaml)
    }

    /// A gate in front of one covered service.
    pub(crate) fn in_front_of(name: &str, upstream: &RawUpstream) -> Setup {
        Setup::in_front_of(name, upstream)
    }

    #[track_caller]
    pub(crate) fn start(setup: Setup) -> Self {
        Self::start_in(setup, Arc::new(TempDir::new()))
    }

    /// Starts with the state and the config folder of another gate.
    #[track_caller]
    pub(crate) fn start_in(mut setup: Setup, dir: Arc<TempDir>) -> Self {
        let inherited = setup.inherited.take();
        fs::create_dir_all(dir.0.join("config")).expect("a writable temp folder");
        if setup.file.is_none() {
            write_config(&dir.0, &setup.yaml());
        }
        let mut child = command(&setup, &dir.0, inherited).spawn().expect("the binary starts");
        let log = collect(child.stderr.take().expect("piped"));
        let access = match setup.deaf {
            true => Lines::default(),
            false => collect(child.stdout.take().expect("piped")),
        };
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut gate =
            Self { child, dir, setup, log, access, data: nowhere, ops: None, admin: None };
        gate.wait_for_listeners();
        gate
    }

    fn wait_for_listeners(&mut self) {
        let (log, child) = (Arc::clone(&self.log), &mut self.child);
        self.data = until_some("the data listener's address", || {
            let ended = child.try_wait().expect("our child");
            if ended.is_some() {
                until("its last words", || text(&log).contains("error:"));
            }
            assert!(ended.is_none(), "the gate ended: {ended:?}\n{}", text(&log));
            listener(&log, "data")
        });
        if self.listens("ops") {
            self.ops = Some(until_some("the ops listener's address", || listener(&log, "ops")));
        }
        if self.listens("admin") {
            self.admin =
                Some(until_some("the admin listener's address", || listener(&log, "admin")));
        }
        if let Some(ops) = self.ops {
            until("the gate is ready", || {
                Ask::new(ops, "GET", "/readyz").try_send().is_ok_and(|it| it.status == 200)
            });
        }
    }

    fn listens(&self, listener: &str) -> bool {
        let yaml = self.setup.yaml();
        self.setup.arguments.is_none() && yaml.contains(&format!("{listener}: 127.0.0.1:"))
    }

    /// A request on the data listener, on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Ask {
        Ask::new(self.data, "GET", path)
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Ask {
        Ask::new(self.data, "POST", path).body(body)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Ask {
        Ask::new(self.data, method, path)
    }

    pub(crate) fn admin_get(&self, path: &str) -> Ask {
        Ask::new(self.admin.expect("an admin listener"), "GET", path)
    }

    pub(crate) fn admin_post(&self, path: &str) -> Ask {
        Ask::new(self.admin.expect("an admin listener"), "POST", path).body("")
    }

    pub(crate) fn ops_get(&self, path: &str) -> Ask {
        Ask::new(self.ops.expect("an ops listener"), "GET", path)
    }

    /// A raw connection to the data listener.
    #[track_caller]
    pub(crate) fn connect(&self) -> RawClient {
        RawClient::connect(self.data)
    }

    /// Metrics as text.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        self.ops_get("/metrics").send().expect_status(200).text()
    }

    /// The sum over all series of a metric whose labels hold `labels`.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let metrics = self.metrics();
        let ours = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|it| it.starts_with(['{', ' '])) && line.contains(labels)
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|it| it.parse::<f64>().ok());
        metrics.lines().filter(ours).filter_map(value).sum()
    }

    pub(crate) fn state_file(&self, name: &str) -> PathBuf {
        self.dir.0.join("state").join(name)
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.0.join("config/headgate.yaml")
    }

    /// Replaces the config file by renaming a new one over it, as editors do.
    pub(crate) fn replace_config(&self, yaml: &str) {
        write_config(&self.dir.0, yaml);
    }

    /// Replaces the config and asks for a reload; the answer of the admin API.
    #[track_caller]
    pub(crate) fn reload_with(&self, yaml: &str) -> Response {
        self.replace_config(yaml);
        self.admin_post("/api/admin/headgate/reload").send()
    }

    /// Number of the live generation.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        let answer = self.admin_get("/api/admin/headgate/config").send().expect_status(200);
        answer.field("generation").as_u64().expect("a number")
    }

    /// Lines of the access log so far, parsed.
    #[track_caller]
    pub(crate) fn access_lines(&self) -> Vec<Value> {
        let lines = self.access.lock().expect("no panic under this lock").clone();
        let parse =
            |it: &String| serde_json::from_str(it).unwrap_or_else(|_| panic!("not JSON: {it}"));
        lines.iter().map(parse).collect()
    }

    /// The access log and the log as they are.
    pub(crate) fn output(&self) -> String {
        format!("{}\n{}", text(&self.access), text(&self.log))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process");
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).expect("a line");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
        kib * 1024
    }

    /// From now on no file can be written beyond so many bytes (`None`: as far as the disk goes): what a full disk does,
    /// without a disk of its own.
    pub(crate) fn disk_ends(&self, bytes: Option<u64>) {
        let (pid, new) = (Pid::from_child(&self.child), Rlimit { current: bytes, maximum: None });
        prlimit(Some(pid), Resource::Fsize, new).expect("limits of a child can be set");
    }

    fn kill(&self, signal: Kill) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("our child lives");
    }

    pub(crate) fn sighup(&self) {
        self.kill(Kill::HUP);
    }

    pub(crate) fn sigterm(&self) {
        self.kill(Kill::TERM);
    }

    /// Kills as a power cut would.
    pub(crate) fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether the process has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until_some("the end of the gate", || self.child.try_wait().expect("our child"))
    }

    /// Ends it and starts it again with the same files.
    #[track_caller]
    pub(crate) fn restart(mut self) -> Self {
        self.kill9();
        let (setup, dir) = (std::mem::take(&mut self.setup), Arc::clone(&self.dir));
        drop(self);
        Self::start_in(setup, dir)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<&str> = output.lines().rev().take(40).collect();
            for line in tail.iter().rev() {
                eprintln_line(line);
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failed test shows what the gate said")]
fn eprintln_line(line: &str) {
    eprintln!("gate: {line}");
}

/// Puts a pipe that nobody writes to in place of a file.
pub(crate) fn pipe_at(path: &Path) {
    use rustix::fs::{CWD, Mode, mkfifoat};

    let beside = path.with_extension("pipe");
    mkfifoat(CWD, &beside, Mode::RUSR | Mode::WUSR).expect("a temp folder takes a pipe");
    fs::rename(&beside, path).expect("a temp folder");
}

fn command(setup: &Setup, dir: &Path, inherited: Option<TcpListener>) -> Command {
    let binary = env!("CARGO_BIN_EXE_headgate");
    let mut command = match (inherited, setup.first) {
        // Without unsafe code a child gets a socket as its standard input; the shell moves it to where systemd puts it.
        (Some(listener), _) => {
            let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh", binary]);
            shell.stdin(Stdio::from(OwnedFd::from(listener)));
            shell
        }
        (None, Some(first)) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("{first}; exec \"$@\""), "sh", binary]);
            shell
        }
        (None, None) => Command::new(binary),
    };
    match &setup.arguments {
        Some(arguments) => command.args(arguments),
        None => {
            let file = setup.file.as_deref().unwrap_or("config/headgate.yaml");
            command.arg("run").arg(dir.join(file))
        }
    };
    command.envs(setup.env.iter().map(|it| (&it.0, &it.1)));
    command.current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Writes beside the file and renames, so that nobody ever reads half a config.
fn write_config(dir: &Path, yaml: &str) {
    let (file, new) = (dir.join("config/headgate.yaml"), dir.join("config/.headgate.yaml.new"));
    let yaml = yaml.replace("{dir}", &dir.display().to_string());
    fs::write(&new, yaml).expect("a writable temp folder");
    fs::rename(new, file).expect("a writable temp folder");
}

fn collect(source: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let shared = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            shared.lock().expect("no panic under this lock").push(line);
        }
    });
    lines
}

fn text(lines: &Lines) -> String {
    lines.lock().expect("no panic under this lock").join("\n")
}

/// The address that the gate said it listens on.
fn listener(log: &Lines, name: &str) -> Option<SocketAddr> {
    let lines = log.lock().expect("no panic under this lock");
    lines.iter().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        let fields = event.get("fields")?;
        let is =
            |field: &str, wanted: &str| fields.get(field).and_then(Value::as_str) == Some(wanted);
        let ours = is("message", "listening") && is("listener", name);
        ours.then(|| fields.get("address")?.as_str()?.parse().ok()).flatten()
    })
}

/// A request in the making.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    address: SocketAddr,
    method: String,
    path: String,
    host: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Ask {
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let (method, path) = (method.to_owned(), path.to_owned());
        let host = format!("{address}");
        Self { address, method, path, host, fields: Vec::new(), body: None }
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("X-API-KEY", key)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The request as it goes out.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), self.body.as_deref().unwrap_or_default()].concat()
    }

    /// Sends on a new connection and reads the whole response.
    pub(crate) fn try_send(&self) -> Result<Response, Broken> {
        let mut client = RawClient::connect(self.address);
        client.send(self.bytes());
        client.try_response(&self.method)
    }

    /// Sends; the test fails when no whole response comes.
    #[track_caller]
    pub(crate) fn send(&self) -> Response {
        match self.try_send() {
            Ok(response) => response,
            Err(broken) => panic!("{} {}: no whole response: {broken:?}", self.method, self.path),
        }
    }

    /// Sends on a connection that is there already.
    #[track_caller]
    pub(crate) fn send_on(&self, client: &mut RawClient) -> Response {
        client.send(self.bytes());
        client.response_to(&self.method)
    }
}
