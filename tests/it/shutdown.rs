//! The end of a process: nothing that could finish is cut, and a successor takes over unseen.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::wait::{during, timed};
use crate::support::wire::{Wire, WireError};
use crate::support::{Gateway, OPERATOR, RawClient, RawUpstream, Setup, Signal, Upstream, until};

fn gate(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream)
        .with("timeouts: { drainAccept: 500ms, drain: 5s }")
        .with("cores: 2")
        .key(OPERATOR)
}

const FAILURES_MAX: usize = 100;

/// Clients that keep their connections, open new ones when told to close, and count what fails.
#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    served: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Load {
    /// Goes on until stopped, or until nobody listens any more.
    fn run(&self, address: SocketAddr) {
        let mut client: Option<RawClient> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let mut open = match client.take() {
                Some(open) => open,
                None => match TcpStream::connect(address) {
                    Ok(stream) => RawClient { wire: Wire::new(stream) },
                    Err(_) => return,
                },
            };
            match open.get("/load", "").try_response("GET") {
                Ok(answer) if answer.status == 200 => {
                    self.served.fetch_add(1, Ordering::Relaxed);
                    client = (!answer.head.lists("Connection", "close")).then_some(open);
                }
                other => {
                    let mut failures = self.failures.lock().expect("no panic");
                    failures.push(format!("{other:?}"));
                    // One is one too many; more would only hide it.
                    if failures.len() >= FAILURES_MAX {
                        return;
                    }
                }
            }
        }
    }

    #[track_caller]
    fn expect_no_failure(&self) {
        let failures = self.failures.lock().expect("no panic");
        assert!(failures.is_empty(), "{} failed, for example {}", failures.len(), failures[0]);
    }

    fn wait_for_more(&self, count: usize) {
        let from = self.served.load(Ordering::Relaxed);
        until("the load is served", || self.served.load(Ordering::Relaxed) >= from + count);
    }
}

#[test]
fn a_sigterm_under_load_fails_no_request() {
    let upstream = Upstream::named("x");
    let mut gateway = gate(&upstream).start();
    let (load, address) = (Load::default(), gateway.data);
    let status = std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| load.run(address));
        }
        load.wait_for_more(200);
        gateway.sigterm();
        gateway.wait()
    });
    assert!(status.success(), "{status:?}");
    load.expect_no_failure();
}

#[test]
fn a_running_request_is_finished_before_the_end() {
    let finish = Signal::new();
    let upstream = Upstream::http1().slow("/slow", "done", &finish).otherwise("x").start();
    let mut gateway = gate(&upstream).start();
    let mut running = gateway.connect();
    running.get("/slow", "");
    upstream.wait_for("/slow");
    gateway.sigterm();
    until("nobody listens", || TcpStream::connect(gateway.data).is_err());
    finish.set();
    let answer = running.response().expect_text("done");
    assert!(answer.head.lists("Connection", "close"));
    assert!(gateway.wait().success());
}

#[test]
fn readiness_ends_first_and_requests_are_still_served() {
    let upstream = Upstream::named("x");
    let mut gateway = Gateway::in_front_of("a", &upstream)
        .with("timeouts: { drainAccept: 3s, drain: 5s }")
        .start();
    gateway.sigterm();
    until("not ready", || gateway.ops_get("/readyz").try_send().is_ok_and(|it| it.status == 503));
    let answer = gateway.get("/x").send().expect_text("x");
    assert!(answer.head.lists("Connection", "close"), "{:?}", answer.head);
    gateway.ops_get("/livez").send().expect_status(200);
    assert!(gateway.wait().success());
}

#[test]
fn what_cannot_finish_is_cut_at_the_deadline() {
    let never = Signal::new();
    let upstream = Upstream::http1().slow("/slow", "done", &never).otherwise("x").start();
    let mut gateway = Gateway::in_front_of("a", &upstream)
        .with("timeouts: { drainAccept: 100ms, drain: 700ms }")
        .start();
    let mut running = gateway.connect();
    running.get("/slow", "");
    upstream.wait_for("/slow");
    gateway.sigterm();
    let (_, took) = timed(|| gateway.wait());
    assert!(took < Duration::from_secs(10), "{took:?}");
    let end = running.try_response("GET");
    assert!(end.is_err() || end.is_ok_and(|it| it.status >= 500));
    never.set();
}

#[test]
fn an_idle_connection_does_not_hold_the_process() {
    let upstream = Upstream::named("x");
    let mut gateway = gate(&upstream).start();
    let mut idle = gateway.connect();
    idle.get("/x", "").response().expect_text("x");
    let mut silent = gateway.connect();
    gateway.sigterm();
    assert!(gateway.wait().success());
    idle.expect_closed();
    silent.expect_closed();
}

#[test]
fn a_listener_that_was_inherited_is_served() {
    let upstream = Upstream::named("x");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let gateway = successor(&upstream, &listener).start();
    assert_eq!(gateway.data, address);
    gateway.get("/x").send().expect_text("x");
}

#[test]
fn a_new_binary_takes_over_under_load_without_a_failed_request() {
    let upstream = Upstream::named("x");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let old = successor(&upstream, &listener).start();
    take_over_three_times(old, address, || successor(&upstream, &listener));
}

#[test]
fn a_new_process_beside_the_old_one_takes_over_without_a_failed_request() {
    let upstream = Upstream::named("x");
    let old = gate(&upstream).start();
    let address = old.data;
    let (ops, admin) = (old.ops.expect("on"), old.admin.expect("on"));
    let listeners = format!("listeners: {{ data: {address}, ops: {ops}, admin: {admin} }}");
    take_over_three_times(old, address, || gate(&upstream).with(&listeners));
}

/// Starts the next gate beside the old one and ends the old one, under load on their address; no request may fail.
#[track_caller]
fn take_over_three_times(mut old: Gateway, address: SocketAddr, next: impl Fn() -> Setup) {
    let load = Load::default();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| load.run(address));
        }
        for _ in 0..3 {
            load.wait_for_more(200);
            let new = next().start();
            load.wait_for_more(50);
            old.sigterm();
            assert!(old.wait().success());
            old = new;
        }
        load.wait_for_more(200);
        load.stop.store(true, Ordering::Relaxed);
    });
    load.expect_no_failure();
}

/// A gate on a socket that others may share.
fn successor(upstream: &RawUpstream, listener: &TcpListener) -> Setup {
    let address = listener.local_addr().expect("bound");
    gate(upstream)
        .with(&format!("listeners: {{ data: {address}, ops: 127.0.0.1:0, admin: 127.0.0.1:0 }}"))
        .inherit(listener.try_clone().expect("a socket"))
}

#[test]
fn a_tunnel_is_told_to_end_by_the_deadline() {
    let upstream = Upstream::by(|it| {
        it.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        it.hang();
    });
    let mut gateway = Gateway::in_front_of("a", &upstream)
        .with("timeouts: { drainAccept: 100ms, drain: 700ms }")
        .start();
    let mut client = gateway.connect();
    client.get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    client.head();
    gateway.sigterm();
    let end = client.wire.fill();
    assert!(matches!(end, Ok(0) | Err(WireError::Reset)), "{end:?}");
    gateway.wait();
    during(Duration::ZERO, || ());
}
