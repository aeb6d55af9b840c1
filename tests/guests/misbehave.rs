//! What any guest can do wrong, by the word in its settings.

use std::hint::black_box;

/// The word after `"misbehave":` in the settings; empty when there is none.
pub fn word(json: &str) -> String {
    let rest = json.split_once("\"misbehave\"").map_or("", |it| it.1);
    rest.split('"').nth(1).unwrap_or_default().to_owned()
}

/// Does it; comes back when there is nothing that a guest of every kind can do under this word.
pub fn misbehave(word: &str) {
    match word {
        "loop" => loop {
            black_box(());
        },
        "recursion" => {
            black_box(deeper(0));
        }
        "memory" => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(vec![1; 64 * 1024]);
                black_box(&all);
            }
        }
        "huge" => {
            black_box(vec![1_u8; 1 << 30]);
        }
        "panic" => panic!("this guest panics in {word}"),
        "index" => {
            let list = [1, 2, 3];
            black_box(list.get(black_box(1)).map(|_| list[black_box(7)]));
        }
        "divide" => {
            black_box(1_u32 / black_box(0));
        }
        "abort" => std::process::abort(),
        _ => {}
    }
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(depth: u64) -> u64 {
    black_box(deeper(black_box(depth) + 1)) + depth
}
