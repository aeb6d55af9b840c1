//! The compiling child as the gate starts it: code with its length and digest, or one line of JSON.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
const TRAILER_BYTES: usize = 8 + 32;

fn compile(wasm: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .arg("plugin-compile")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("a pipe");
    // A child that refuses early does not read all.
    let _ = input.write_all(wasm);
    drop(input);
    child.wait_with_output().expect("an end")
}

#[test]
fn a_component_comes_back_as_code_with_its_length() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/dist/threshold.wasm");
    let made = compile(&std::fs::read(path).expect("a built component"));
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let length = made.stdout.len() - TRAILER_BYTES;
    let sent: [u8; 8] = made.stdout[length..length + 8].try_into().expect("eight bytes");
    assert_eq!(u64::from_le_bytes(sent), length as u64);
    assert!(made.stdout.starts_with(b"\x7fELF"), "machine code");
    assert!(made.stderr.is_empty());
}

#[test]
fn what_does_not_compile_is_told_in_one_line() {
    for wasm in [&b""[..], b"\0asm", &[HEADER, b"x"].concat(), &vec![0; 33 * 1024 * 1024]] {
        let made = compile(wasm);
        assert_eq!(made.status.code(), Some(1));
        assert!(made.stdout.is_empty());
        let line = String::from_utf8(made.stderr).expect("text");
        assert_eq!(line.lines().count(), 1, "{line}");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert!(said["message"].as_str().is_some_and(|it| !it.is_empty()), "{line}");
    }
}

#[test]
fn the_command_is_not_shown() {
    let help = Command::new(env!("CARGO_BIN_EXE_headgate")).arg("--help").output().expect("help");
    assert!(!String::from_utf8_lossy(&help.stdout).contains("plugin-compile"));
}
