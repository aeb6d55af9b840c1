//! A changed config becomes live as a whole, or not at all, and no request pays for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::gateway::{TempDir, pipe_at};
use crate::support::wait::until_some;
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Signal, Upstream, until};

fn gate(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream).key(OPERATOR)
}

fn only_exact(upstream: &RawUpstream, path: &str) -> Setup {
    Setup::default()
        .service("a", upstream)
        .route(&format!("exact: {path}, service: a, access: public"))
        .key(OPERATOR)
}

#[test]
fn a_file_renamed_over_the_config_becomes_live() {
    let upstream = Upstream::named("x");
    let gateway = only_exact(&upstream, "/one").start();
    gateway.get("/two").send().expect_status(404);
    gateway.replace_config(&only_exact(&upstream, "/two").yaml());
    until("the new route", || gateway.get("/two").send().status == 200);
    gateway.get("/one").send().expect_status(404);
}

#[test]
fn a_config_map_that_kubernetes_swaps_becomes_live() {
    let upstream = Upstream::named("x");
    let dir = Arc::new(TempDir::new());
    let mount = dir.0.join("mount");
    let write = |version: &str, yaml: &str| {
        let yaml = yaml.replace("{dir}", &dir.0.display().to_string());
        fs::create_dir_all(mount.join(version)).expect("a temp folder");
        fs::write(mount.join(version).join("headgate.yaml"), yaml).expect("a temp folder");
    };
    write("..v1", &only_exact(&upstream, "/one").yaml());
    symlink("..v1", mount.join("..data")).expect("a temp folder");
    symlink("..data/headgate.yaml", mount.join("headgate.yaml")).expect("a temp folder");
    let gateway = Gateway::start_in(
        only_exact(&upstream, "/one").at("mount/headgate.yaml"),
        Arc::clone(&dir),
    );
    gateway.get("/one").send().expect_status(200);

    write("..v2", &only_exact(&upstream, "/two").yaml());
    symlink("..v2", mount.join("..data_tmp")).expect("a temp folder");
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("a temp folder");
    fs::remove_dir_all(mount.join("..v1")).expect("a temp folder");

    until("the new route", || gateway.get("/two").send().status == 200);
}

#[test]
fn sighup_reloads() {
    let upstream = Upstream::named("x");
    let gateway = only_exact(&upstream, "/one").start();
    gateway.replace_config(&only_exact(&upstream, "/two").yaml());
    gateway.sighup();
    until("the new route", || gateway.get("/two").send().status == 200);
}

#[test]
fn a_broken_config_is_refused_with_all_its_errors_and_nothing_changes() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let before = gateway.generation();
    let broken = gate(&upstream)
        .with("limts: { connections: 5 }")
        .with("timeouts: { idel: 5s }")
        .route("path: /b/, service: nowhere, access: public")
        .yaml();
    let answer = gateway.reload_with(&broken).expect_status(422);
    for word in ["limts", "idel", "nowhere"] {
        assert!(answer.text().contains(word), "{word} is not in {}", answer.text());
    }
    assert!(answer.text().contains("\"line\""), "{}", answer.text());
    assert_eq!(gateway.generation(), before);
    gateway.get("/x").send().expect_text("x");
    let shown = gateway.admin_get("/api/admin/headgate/config").send().text();
    assert!(shown.contains("limts"), "{shown}");
    assert!(gateway.metric("headgate_config_last_reload_successful", "") < 0.5);
    gateway.ops_get("/readyz").send().expect_status(200);

    gateway
        .reload_with(&gate(&upstream).with("limits: { connections: 500 }").yaml())
        .expect_status(200);
    assert!(gateway.generation() > before);
    assert!(gateway.metric("headgate_config_last_reload_successful", "") > 0.5);
}

#[test]
fn a_pipe_in_place_of_the_config_is_refused_and_stops_no_later_reload() {
    let upstream = Upstream::named("x");
    let mut gateway = only_exact(&upstream, "/one").start();
    pipe_at(&gateway.config_file());
    let answer = gateway.admin_post("/api/admin/headgate/reload").send().expect_status(422);
    assert!(answer.text().contains("no regular file"), "{}", answer.text());
    gateway.reload_with(&only_exact(&upstream, "/two").yaml()).expect_status(200);
    gateway.get("/two").send().expect_text("x");
    gateway.sigterm();
    assert!(gateway.wait().success());
}

#[test]
fn what_is_told_of_a_refused_config_are_its_errors_not_its_warnings() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    // The route without a key is a warning, and stands before the error.
    let broken = gate(&upstream)
        .route("path: /shut/, service: a, access: \"key:nobody\"")
        .route("path: /b/, service: nowhere, access: public")
        .yaml();
    let answer = gateway.reload_with(&broken).expect_status(422);
    assert_eq!(answer.field("detail"), "1 error; the old config stays in force");
    assert_eq!(answer.field("findings.0.severity"), "warning");
    let told =
        || gateway.output().lines().find(|it| it.contains("config refused")).map(String::from);
    let line = until_some("the log's line", told);
    assert!(line.contains("nowhere") && line.contains("\"errors\":1"), "{line}");
}

#[test]
fn the_same_config_again_makes_no_new_generation() {
    let upstream = Upstream::named("x");
    let setup = gate(&upstream);
    let yaml = setup.yaml();
    let gateway = setup.start();
    let before = gateway.generation();
    for _ in 0..3 {
        gateway.reload_with(&yaml).expect_status(200);
    }
    assert_eq!(gateway.generation(), before);
}

#[test]
fn what_needs_a_restart_is_refused_and_says_so() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let moved = gate(&upstream)
        .with("listeners: { data: 127.0.0.1:1, ops: 127.0.0.1:0, admin: 127.0.0.1:0 }");
    let answer = gateway.reload_with(&moved.yaml()).expect_status(422);
    assert!(answer.text().contains("restart"), "{}", answer.text());
}

#[test]
fn connections_and_pools_live_on() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let mut client = gateway.connect();
    for round in 0..5 {
        client.get("/x", "").response().expect_text("x");
        let more = gate(&upstream).route(&format!("path: /r{round}/, service: a, access: public"));
        gateway.reload_with(&more.yaml()).expect_status(200);
    }
    client.get("/x", "").response().expect_text("x");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_running_request_finishes_though_its_service_is_gone() {
    let finish = Signal::new();
    let old = Upstream::http1().slow("/slow", "done", &finish).otherwise("old").start();
    let new = Upstream::named("new");
    let gateway = gate(&old).start();
    let mut running = gateway.connect();
    running.get("/slow", "");
    old.wait_for("/slow");
    let replaced = Setup::default()
        .service("b", &new)
        .route("path: /, service: b, access: public")
        .key(OPERATOR);
    gateway.reload_with(&replaced.yaml()).expect_status(200);
    gateway.get("/x").send().expect_text("new");
    finish.set();
    running.response().expect_text("done");
    running.get("/x", "").response().expect_text("new");
}

#[test]
fn a_service_that_moves_leaves_its_old_connections() {
    let (here, there) = (Upstream::named("here"), Upstream::named("there"));
    let gateway = gate(&here).start();
    let mut client = gateway.connect();
    for (upstream, name) in [(&there, "there"), (&here, "here"), (&there, "there")] {
        gateway.reload_with(&gate(upstream).yaml()).expect_status(200);
        client.get("/x", "").response().expect_text(name);
    }
}

#[test]
fn a_service_can_be_taken_under_cover_while_maintenance_is_on() {
    let upstream = Upstream::named("x");
    let exempt = || gate(&upstream).only_service("a", &upstream, "maintenance: exempt");
    let gateway = exempt().start();
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    gateway.get("/x").send().expect_text("x");
    gateway.reload_with(&gate(&upstream).yaml()).expect_status(200);
    gateway.get("/x").send().expect_status(503);
    gateway.reload_with(&exempt().yaml()).expect_status(200);
    gateway.get("/x").send().expect_text("x");
}

#[test]
fn every_reload_under_load_is_seen_by_the_next_request_and_fails_none() {
    let (old, new) = (Upstream::named("old"), Upstream::named("new"));
    let setup = |path: &str| {
        gate(&old)
            .with("cores: 2")
            .service("b", &new)
            .route(&format!("exact: {path}, service: b, access: public"))
    };
    let gateway = setup("/r").start();
    let (stop, served, failures) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !stop.load(Ordering::Relaxed) {
                    match client.get("/load", "").try_response("GET") {
                        Ok(answer) if answer.status == 200 && answer.text() == "old" => {
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => {
                            failures.fetch_add(1, Ordering::Relaxed);
                            client = gateway.connect();
                        }
                    }
                }
            });
        }
        let mut client = gateway.connect();
        for round in 0..40 {
            let path = format!("/r{round}");
            client.get(&path, "").response().expect_text("old");
            gateway.reload_with(&setup(&path).yaml()).expect_status(200);
            client.get(&path, "").response().expect_text("new");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(failures.load(Ordering::Relaxed), 0);
    assert!(served.load(Ordering::Relaxed) > 100, "there was no load");
}
