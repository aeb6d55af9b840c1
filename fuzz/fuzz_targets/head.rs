//! A request head that passes is written as one that reads back the same, and is judged the same however it arrives.
#![no_main]

use headgate::semantics::class::Class;
use headgate::semantics::forwarded::client;
use headgate::semantics::head::{HeadLimits, Parsed, RequestHead, Storage, parse_request};
use headgate::semantics::path::canonical;
use headgate::wire::h1::encode::{RequestRewrite, request};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 32 * 1024, fields: 100, target_bytes: 8 * 1024 };

fuzz_target!(|bytes: &[u8]| {
    let mut storage = Storage::default();
    let Ok(Parsed::Whole(head, used)) = parse_request(bytes, &mut storage, &LIMITS) else { return };
    for cut in [used / 2, used - 1] {
        let mut storage = Storage::default();
        let partial = parse_request(&bytes[..cut], &mut storage, &LIMITS);
        assert!(matches!(partial, Ok(Parsed::Partial)), "cut at {cut}: {partial:?}");
    }
    let Ok(path) = canonical(head.raw_path) else { return };
    if head.authority.is_empty() {
        return; // HTTP/1.0 without Host: the written one is empty, which no client may send
    }
    let text = written(&head, &path);
    let mut storage = Storage::default();
    let wide = HeadLimits { head_bytes: 1 << 20, target_bytes: 1 << 20, ..LIMITS };
    match parse_request(&text, &mut storage, &wide) {
        Ok(Parsed::Whole(back, used)) => {
            assert_eq!(used, text.len());
            assert_eq!(back.method, head.method);
            assert_eq!(back.raw_path, path);
            assert_eq!(back.query, head.query);
            assert_eq!(back.authority, head.authority);
            assert_eq!(back.framing, head.framing);
            assert_eq!(back.upgrade, head.upgrade);
            assert!(back.api_key.is_none() && back.first(Class::Forwarded).is_none());
        }
        // What the gate adds may be more lines than a head may have.
        Err(error) => assert_eq!(error.code, "too-many-fields"),
        Ok(Parsed::Partial) => panic!("the written head has no end"),
    }
});

fn written(head: &RequestHead<'_>, path: &str) -> Vec<u8> {
    let client = client([192, 0, 2, 7].into(), &[], head);
    let rewrite = RequestRewrite {
        edits: &[],
        path,
        client: &client,
        local_port: 8080,
        forward_key: false,
        request_id: b"id",
        traceparent: b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        key_name: None,
    };
    let mut out = Vec::new();
    request(&mut out, head, &rewrite);
    out
}
