//! Tests of the compiler's door; the child has its own.

use super::*;
use crate::plugin::host::Purpose;

const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

fn compiler(cache: Option<&Path>) -> Compiler {
    Compiler::by(Way::InProcess, Host::start(Purpose::Serve).unwrap(), cache)
}

#[test]
fn the_second_time_nothing_is_compiled() {
    let dir = std::env::temp_dir().join(format!("compiler-{}", std::process::id()));
    let first = compiler(Some(&dir)).artifact(EMPTY, Digest::of(EMPTY)).unwrap();
    assert!(matches!(first.1, From::Compiled { .. }));
    let again = compiler(Some(&dir)).artifact(EMPTY, Digest::of(EMPTY)).unwrap();
    assert_eq!(again.1, From::Cache);
    assert_eq!(again.0.bytes(), first.0.bytes());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_folder_that_cannot_be_used_only_means_no_cache() {
    let compiler = compiler(Some(Path::new("/dev/null/cache")));
    for _ in 0..2 {
        let made = compiler.artifact(EMPTY, Digest::of(EMPTY)).unwrap();
        assert!(matches!(made.1, From::Compiled { .. }));
    }
}

#[test]
fn what_does_not_compile_is_refused_with_the_reason() {
    let refusal = compiler(None).artifact(b"\0asm\x0d\0\x01\0x", Digest::of(b"")).unwrap_err();
    assert_eq!(refusal.code, "compile");
    assert!(refusal.message.starts_with("the compiler does not take it: "), "{refusal}");
}

#[test]
fn as_many_compile_at_once_as_there_are_cores() {
    let turns = Turns { free: Mutex::new(2), given: Condvar::new() };
    let (one, two) = (turns.wait().unwrap(), turns.wait().unwrap());
    assert_eq!(*turns.free.lock().unwrap(), 0);
    std::thread::scope(|scope| {
        let third = scope.spawn(|| turns.wait().map(|_| ()).is_ok());
        drop(one);
        assert!(third.join().unwrap());
    });
    drop(two);
    assert_eq!(*turns.free.lock().unwrap(), 2);
}

#[test]
fn engines_that_run_each_others_code_share_entries() {
    let host = || Host::start(Purpose::Serve).unwrap();
    assert_eq!(compatibility(host().engine()), compatibility(host().engine()));
    let mut config = wasmtime::Config::new();
    config.consume_fuel(true).epoch_interruption(false);
    assert_ne!(compatibility(&Engine::new(&config).unwrap()), compatibility(host().engine()));
}
