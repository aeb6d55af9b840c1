//! What the stores' tests share: a folder, a wait with a deadline, and this test binary as a child that can be killed.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A folder that is removed with its owner.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("headgate-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until the condition holds; fails after 20 s.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// In which folder a child works.
const CHILD: &str = "HEADGATE_STORE_TEST_CHILD";

/// The folder, when this process is a child.
pub(crate) fn child_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs one test of this binary as a child of its own, with its output as lines.
pub(crate) fn child(test: &str, dir: &Folder, before: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let this = std::env::current_exe().unwrap();
    let mut words = before.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    words.push(this.to_string_lossy().into_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, &dir.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// The next line that begins with `told `, without that.
pub(crate) fn told(lines: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|it| it > 0) {
        // The test harness writes before it on the same line.
        if let Some((_, told)) = line.trim_end().split_once("told ") {
            return Some(told.to_owned());
        }
        line.clear();
    }
    None
}

/// Tells the parent.
pub(crate) fn tell(what: impl std::fmt::Display) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    writeln!(out, "told {what}").unwrap();
    out.flush().unwrap();
}
