//! `headgate demo`: what it shows can be tried, and nothing is left behind.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::gateway::{Ask, TempDir};
use crate::support::{Upstream, until};

/// A demo under way; killed when a test fails.
#[derive(Debug)]
struct Running {
    child: Child,
    scene: Value,
    /// Everything temporary goes here.
    temp: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let temp = TempDir::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_headgate"))
            .args(["demo", "-o", "json", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("TMPDIR", &temp.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a scene");
        let scene = serde_json::from_str(&line).expect("JSON");
        Self { child, scene, temp }
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.scene[name].as_str().and_then(|it| it.parse().ok()).expect("an address")
    }

    fn get(&self, path: &str) -> Ask {
        Ask::new(self.address("data"), "GET", path)
    }

    fn control(&self, path: &str) {
        Ask::new(self.address("control"), "POST", path).body("").send().expect_status(200);
    }

    /// Ends it by a signal; gives the exit code.
    fn end(&mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).expect("our child lives");
        let mut status = None;
        until("the end of the demo", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.and_then(|it| it.code())
    }
}

#[test]
fn the_demo_serves_its_scene_until_it_is_told_to_end_and_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut demo = Running::start(&[]);
        demo.get("/api/RELIANCE.NS").send().expect_status(200).expect_field("buy", "true");
        demo.get("/api/admin/trigger-cron").send().expect_status(401);
        let steps = demo.scene["steps"].as_array().expect("steps");
        assert!(
            steps
                .iter()
                .any(|it| it["curl"].as_str().is_some_and(|it| it.contains("maintenance/on")))
        );
        let data = demo.address("data");
        assert_eq!(demo.end(signal), Some(0));
        assert!(std::net::TcpStream::connect(data).is_err(), "the gate outlives the demo");
        let left = std::fs::read_dir(&demo.temp.0).expect("a folder").count();
        assert_eq!(left, 0, "temporary files are left");
    }
}

#[test]
fn a_stand_in_fails_on_demand() {
    let demo = Running::start(&[]);
    demo.control("/signal-engine/fail?status=500");
    demo.get("/api/health").send().expect_status(500);
    demo.control("/signal-engine/maintenance");
    demo.control("/signal-engine/recover");
    demo.get("/api/health").send().expect_field("status", "OK");
    demo.control("/signal-engine/maintenance");
    demo.get("/api/health").send().expect_field("status", "Maintenance mode is enabled");
}

#[test]
fn whoever_breaks_a_service_can_watch_what_the_gate_does() {
    let demo = Running::start(&[]);
    let control = demo.address("control");
    let of_control = |path: &str| Ask::new(control, "GET", path).send().text();
    demo.control("/signal-engine/fail?status=500");
    until("the alert", || of_control("/event-dispatcher/alerts").contains("signal-engine"));
    until("the snapshot", || of_control("/kubesnap/snapshots").contains("kubesnap_default_"));
    demo.control("/signal-engine/recover");
    until("the resolve", || of_control("/event-dispatcher/alerts").contains("resolved"));
    let shown = demo.scene["failure"].as_array().expect("lines");
    assert!(shown.iter().any(|it| it["line"].as_str().is_some_and(|it| it.contains("incidents"))));
}

#[test]
fn a_real_service_takes_the_place_of_a_stand_in() {
    let real = Upstream::http1()
        .route("/api/RELIANCE.NS", "{\"buy\":false,\"real\":true}")
        .route("/api/health", "{\"status\":\"OK\"}")
        .start();
    let demo = Running::start(&["--signal-engine", &real.url()]);
    demo.get("/api/RELIANCE.NS").send().expect_field("real", "true");
    let check = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(["demo", "--check", "--signal-engine", &real.url()])
        .output()
        .expect("the binary starts");
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

#[test]
fn a_check_that_sees_something_else_fails() {
    let wrong = Upstream::named("not a signal");
    let check = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(["demo", "--check", "--signal-engine", &wrong.url()])
        .output()
        .expect("the binary starts");
    assert_eq!(check.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&check.stdout).contains("FAIL"));
}

#[test]
fn a_demo_that_is_killed_leaves_no_gate_behind() {
    let mut demo = Running::start(&[]);
    let data = demo.address("data");
    demo.child.kill().expect("it runs");
    until("nobody listens", || std::net::TcpStream::connect(data).is_err());
}
