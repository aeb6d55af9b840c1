//! A canonical path is its own canonical form, and one that lies under the prefix once decoded is suspected.
#![no_main]

use headgate::semantics::path::{canonical, could_reach};
use libfuzzer_sys::fuzz_target;

const PREFIX: &str = "/api/admin";

fuzz_target!(|raw: &str| {
    let Ok(path) = canonical(raw) else { return };
    assert_eq!(canonical(&path).as_deref(), Ok(&*path));
    let mut seen = path.as_bytes().to_vec();
    for _ in 0..3 {
        seen = decoded(&seen);
        let lies_under = seen.strip_prefix(PREFIX.as_bytes());
        if lies_under.is_some_and(|rest| matches!(rest, [] | [b'/', ..])) {
            assert!(could_reach(&path, PREFIX), "{path}");
        }
    }
    let _ = could_reach(&path, "/");
});

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = path.get(at) {
        let digits = path.get(at + 1..at + 3).and_then(|it| str::from_utf8(it).ok());
        let code = digits
            .filter(|it| *byte == b'%' && !it.starts_with('+'))
            .and_then(|it| u8::from_str_radix(it, 16).ok());
        out.push(code.unwrap_or(*byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    out
}
