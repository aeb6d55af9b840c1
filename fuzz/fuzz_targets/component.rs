//! Any bytes are a component of one kind or refused with a reason; what passes is found again in the same bytes.
#![no_main]

use headgate::plugin::host::{expect_kind, inspect};
use headgate::plugin::{Class, Digest};
use libfuzzer_sys::fuzz_target;

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

fuzz_target!(|bytes: &[u8]| {
    for bytes in [bytes, &[HEADER, bytes].concat()] {
        match inspect(bytes, Class::Default) {
            Ok(seen) => {
                assert_eq!((seen.digest, seen.bytes), (Digest::of(bytes), bytes.len()));
                assert_eq!(expect_kind(&seen, seen.kind), None);
                assert!(seen.imports.iter().all(|it| it.starts_with("headgate:plugin/")));
            }
            Err(reasons) => assert!(!reasons.is_empty()),
        }
    }
});
