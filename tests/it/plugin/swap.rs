//! Swaps under load: each is seen by the next request, none fails one, memory stays where it was.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::stand::{NAME, Stand, saying};
use crate::support::until;

/// The benchmark does a thousand.
const SWAPS: usize = 200;

#[test]
fn swaps_under_load_fail_no_request_and_keep_no_memory() {
    let words = ["one", "two", "three"];
    let components = words.map(saying);
    let stand = Stand::with(&components[0]);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let wrong = Mutex::new(Vec::new());
    let memory = std::thread::scope(|scope| {
        for number in 0..3 {
            let (stand, stop, served, wrong) = (&stand, &stop, &served, &wrong);
            scope.spawn(move || {
                let mut client = stand.gate.connect();
                while !stop.load(Ordering::Relaxed) {
                    let path = if number == 0 { "/x" } else { "/f/x" };
                    let right = |text: String| match number {
                        0 => text == "upstream",
                        _ => words.contains(&text.as_str()),
                    };
                    match client.get(path, "").try_response("GET") {
                        Ok(answer) if answer.status == 200 && right(answer.text()) => {
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                        other => {
                            wrong.lock().expect("no panic").push(format!("{other:?}"));
                            client = stand.gate.connect();
                        }
                    }
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut client = stand.gate.connect();
            let mut memory = Vec::new();
            for round in 1..=SWAPS {
                let which = round % words.len();
                stand.replace(&components[which]);
                let answer = client.get("/f/x", "").response();
                assert_eq!(answer.text(), words[which], "swap {round}: {}", stand.status());
                if round % (SWAPS / 4) == 0 {
                    memory.push(stand.gate.memory());
                }
            }
            memory
        }));
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|it| std::panic::resume_unwind(it))
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} were wrong, the first: {}", wrong.len(), wrong[0]);
    assert!(served.load(Ordering::Relaxed) > SWAPS, "there was no load");
    let (early, late) = (memory[1], memory[3]);
    assert!(late < early + (24 << 20), "{} MiB, then {} MiB", early >> 20, late >> 20);
}

#[test]
fn a_file_that_is_replaced_is_seen_without_being_asked() {
    let stand = Stand::with(&saying("one"));
    assert_eq!(stand.ask(), (200, "one".to_owned()));
    stand.put(&saying("two"));
    until("the new one acts", || stand.ask() == (200, "two".to_owned()));
    assert_eq!(stand.status()["name"], NAME);
}
