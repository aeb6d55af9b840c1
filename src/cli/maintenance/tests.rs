//! The command against a stand-in that answers one call and keeps what it was sent.

use crate::cli::exit;
use clap::Parser as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    cmd: Cmd,
}

/// Exit code, stdout, stderr, and what the stand-in was sent.
struct Ran {
    code: u8,
    out: String,
    err: String,
    sent: String,
}

async fn ran(args: &[&str], output: Output) -> (u8, String, String) {
    let line = ["maintenance"].iter().chain(args);
    let cmd = Line::try_parse_from(line).unwrap().cmd;
    let outcome = call(&cmd.what).await;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    show::outcome(&mut out, &mut err, &outcome, output).unwrap();
    let text = |it| String::from_utf8(it).unwrap();
    (show::code(&outcome), text(out), text(err))
}

async fn against(status: &str, body: &str, args: &[&str], output: Output) -> Ran {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let stand_in = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut sent = Vec::new();
        while !sent.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut sent).await.unwrap() > 0);
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(sent).unwrap()
    });
    let args: Vec<&str> = args.iter().copied().chain(["--gate", gate.as_str()]).collect();
    let (code, out, err) = ran(&args, output).await;
    Ran { code, out, err, sent: stand_in.await.unwrap() }
}

fn key_file(content: &[u8]) -> (tempfolder::Folder, String) {
    let dir = tempfolder::Folder::new();
    let path = dir.path().join("key");
    std::fs::write(&path, content).unwrap();
    let reference = format!("file:{}", path.display());
    (dir, reference)
}

use crate::maintenance::store::tests as tempfolder;

#[tokio::test]
async fn on_sends_everything_encoded_and_the_key_in_its_header() {
    let (_dir, key) = key_file(b"k-123456789012345\n");
    let body = r#"{"status":"on","timestamp":"t","services":["a","b"],"since":"s","until":null,"reason":"x","by":"ci","cores":{"count":2,"acknowledged":2,"laggards":[]}}"#;
    let args = [
        "on",
        "--service",
        "a",
        "--service",
        "b",
        "--ttl",
        "30m",
        "--reason",
        "move & go+ü",
        "--prefix",
        "/dev/",
        "--key",
        &key,
    ];
    let ran = against("200 OK", body, &args, Output::Text).await;
    let line = "POST /dev/api/admin/maintenance/on?service=a&service=b&ttl=30m&reason=move%20%26%20go%2B%C3%BC HTTP/1.1\r\n";
    assert!(ran.sent.starts_with(line), "{}", ran.sent);
    assert!(ran.sent.to_ascii_lowercase().contains("x-api-key: k-123456789012345\r\n"));
    assert_eq!(ran.code, exit::OK);
    assert_eq!(
        ran.out,
        "maintenance is on for a, b since s, until it is switched off, by ci: x\n  2 of 2 cores have seen it\n"
    );
    assert_eq!(ran.err, "");
}

#[tokio::test]
async fn status_asks_by_get_and_shows_each_service() {
    let body = json!({
        "status": "off", "timestamp": "t", "all": null,
        "services": [{"name": "a", "maintenance": "on", "in_flight": 3,
            "window": {"since": "s", "until": "u", "reason": "esc\u{1b}[2J\u{202e}x", "by": "ci"}}],
    });
    let ran = against("200 OK", &body.to_string(), &["status"], Output::Text).await;
    assert!(ran.sent.starts_with("GET /api/admin/maintenance/status HTTP/1.1\r\n"));
    assert!(!ran.sent.to_ascii_lowercase().contains("x-api-key"));
    assert_eq!(
        ran.out,
        "maintenance is off for all covered services\n  a: on, 3 in flight since s, until u, by ci: esc\u{fffd}[2J\u{fffd}x\n"
    );
    let ran = against("200 OK", &body.to_string(), &["status"], Output::Json).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.out).unwrap(), body);
}

#[tokio::test]
async fn exit_codes_tell_what_happened() {
    let rows = [
        ("200 OK", r#"{"status":"off"}"#, exit::OK, ""),
        ("200 OK", r#"{"status":"on","cores":{"laggards":[1]}}"#, exit::FINDINGS, ""),
        ("200 OK", r#"{"status":"on","drain":{"still_running":1}}"#, exit::FINDINGS, ""),
        ("200 OK", r#"{"status":"on","warning":"audit"}"#, exit::FINDINGS, ""),
        ("200 OK", "<html>", exit::FINDINGS, "admin listener"),
        ("200 OK", r#"{"error":"Incorrect Stock ID"}"#, exit::FINDINGS, "--prefix"),
        ("302 Found", "", exit::FINDINGS, "admin listener"),
        (
            "401 Unauthorized",
            r#"{"detail":"Invalid or missing API Key"}"#,
            exit::REFUSED,
            "--key env:NAME",
        ),
        ("403 Forbidden", r#"{"detail":"no"}"#, exit::REFUSED, "scope"),
        ("429 Too Many Requests", "", exit::REFUSED, "wait"),
        ("404 Not Found", "", exit::FINDINGS, "--prefix"),
        ("409 Conflict", r#"{"detail":"all are on"}"#, exit::FINDINGS, "refused: all are on"),
        ("500 Internal Server Error", r#"{"detail":"disk full"}"#, exit::FINDINGS, "disk full"),
    ];
    for (status, body, code, words) in rows {
        let ran = against(status, body, &["off"], Output::Text).await;
        assert_eq!(ran.code, code, "{status} {body}: {}", ran.err);
        assert!(ran.err.contains(words), "{status}: {}", ran.err);
    }
    let ran = against("409 Conflict", r#"{"detail":"x"}"#, &["off"], Output::Json).await;
    assert_eq!(ran.out, "{\"detail\":\"x\"}\n");
}

#[tokio::test]
async fn nobody_there_is_unreachable_with_the_next_step() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gate = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for gate in [gate.as_str(), "unix:/nowhere/admin.sock"] {
        let (code, out, err) = ran(&["status", "--gate", gate], Output::Text).await;
        assert_eq!(code, exit::UNREACHABLE, "{err}");
        assert!(
            out.is_empty() && err.contains("is it running?") && err.contains("--gate"),
            "{err}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_is_called() {
    let dir = tempfolder::Folder::new();
    let path = dir.path().join("admin.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let stand_in = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut sent = Vec::new();
        while !sent.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut sent).await.unwrap() > 0);
        }
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"status\":\"off\"}")
            .await
            .unwrap();
    });
    let gate = format!("unix:{}", path.display());
    let (code, _, err) = ran(&["status", "--gate", &gate], Output::Text).await;
    assert_eq!(code, exit::OK, "{err}");
    stand_in.await.unwrap();
}

#[tokio::test]
async fn a_key_on_the_command_line_is_refused_and_not_repeated() {
    let (_dir, two_lines) = key_file(b"one\ntwo");
    let (_dir, empty) = key_file(b"\n");
    let rows = [
        ("hg_0123456789", exit::USAGE, "reference, not a key"),
        ("sha256:00", exit::USAGE, "reference, not a key"),
        ("env:HEADGATE_NO_SUCH_NAME", exit::USAGE, "HEADGATE_NO_SUCH_NAME"),
        ("file:/nowhere/key", exit::USAGE, "/nowhere/key"),
        (&two_lines, exit::USAGE, "is no key"),
        (&empty, exit::USAGE, "is no key"),
    ];
    for (key, expected, words) in rows {
        let (code, out, err) = ran(&["status", "--key", key], Output::Text).await;
        assert_eq!(code, expected, "{err}");
        assert!(out.is_empty() && err.contains(words), "{err}");
        assert!(!err.contains("hg_0123456789") && !err.contains("two"), "{err}");
    }
}

#[tokio::test]
async fn gates_and_prefixes_that_cannot_be_are_usage_errors() {
    let rows = [
        ("https://gate", "", "not there yet"),
        ("127.0.0.1:9902", "", "scheme"),
        ("http://", "", "--prefix"),
        ("http://gate/dev", "", "--prefix"),
        ("http://me:pw@gate", "", "--prefix"),
        ("http://127.0.0.1:1", "dev", "slash"),
        ("http://127.0.0.1:1", "/dev?x", "slash"),
    ];
    for (gate, prefix, words) in rows {
        let (code, _, err) =
            ran(&["status", "--gate", gate, "--prefix", prefix], Output::Text).await;
        assert_eq!(code, exit::USAGE, "{gate} {prefix}: {err}");
        assert!(err.contains(words), "{err}");
    }
}
