//! A response head that passes is written as one that reads back with the same status and framing.
#![no_main]

use headgate::semantics::head::{Parsed, Storage, Version};
use headgate::semantics::response::parse_response;
use headgate::wire::h1::encode::{ResponseRewrite, response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let method = if first % 2 == 0 { "GET" } else { "HEAD" };
    let mut storage = Storage::default();
    let Ok(Parsed::Whole(head, used)) = parse_response(bytes, &mut storage, method, 32 * 1024) else {
        return;
    };
    let mut half = Storage::default();
    assert!(matches!(
        parse_response(&bytes[..used - 1], &mut half, method, 32 * 1024),
        Ok(Parsed::Partial)
    ));
    let rewrite = ResponseRewrite {
        version: Version::Http11,
        framing: head.framing,
        keep_alive: head.keep_alive,
        request_id: b"id",
        bypassed: false,
    };
    let mut out = Vec::new();
    response(&mut out, &head, &rewrite);
    let mut storage = Storage::default();
    match parse_response(&out, &mut storage, method, 1 << 20) {
        Ok(Parsed::Whole(back, used)) => {
            assert_eq!(used, out.len());
            assert_eq!(back.status, head.status);
            assert_eq!(back.framing, head.framing);
            assert_eq!(back.upgrade, head.upgrade);
            assert!(!back.keep_alive || head.keep_alive);
        }
        Err(error) => assert_eq!(error.code, "too-many-fields"),
        Ok(Parsed::Partial) => panic!("the written head has no end"),
    }
});
