//! Looks at what a filter decides: valid headers that are not the gate's own, a status that may end an exchange.

use crate::plugin::host::bindings as wit;
use crate::plugin::host::checked::{Checked, invalid, most, short};
use crate::plugin::host::filter::{FilterDecision, FilterReply, HeaderOp};

const OPS: usize = 32;
const NAME_BYTES: usize = 256;
const VALUE_BYTES: usize = 4 * 1024;
const BODY_BYTES: usize = 64 * 1024;

/// Fields that frame the message or belong to one hop (RFC 9110 section 7.6.1, RFC 9112 section 6), that say who asks and for
/// what, or that the gate itself vouches for.
const NOT_THEIRS: [&str; 22] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-api-key",
    "x-headgate-client",
    "x-real-ip",
    "x-request-id",
    "x-original-url",
];

/// The family that tells the upstream how the request came.
const FORWARDED: &str = "x-forwarded-";

/// A decision that can be carried out.
pub(super) fn decision(decision: wit::Decision) -> Checked<FilterDecision> {
    match decision {
        wit::Decision::Next => Ok(FilterDecision::Next),
        wit::Decision::Edit(ops) => {
            most("edits", ops.len(), OPS)?;
            Ok(FilterDecision::Edit(ops.into_iter().map(op).collect::<Checked<_>>()?))
        }
        wit::Decision::Reply(it) => Ok(FilterDecision::Reply(reply(it)?)),
        wit::Decision::Ext(it) => {
            invalid(format!("a decision of a kind that is not known: {:?}", short(&it.kind)))
        }
    }
}

fn op(op: wit::HeaderOp) -> Checked<HeaderOp> {
    match op {
        wit::HeaderOp::Set(it) => header(it).map(|(name, value)| HeaderOp::Set(name, value)),
        wit::HeaderOp::Append(it) => header(it).map(|(name, value)| HeaderOp::Append(name, value)),
        wit::HeaderOp::Remove(name) => {
            field_name(&name)?;
            Ok(HeaderOp::Remove(name))
        }
    }
}

fn reply(reply: wit::Reply) -> Checked<FilterReply> {
    let wit::Reply { status, headers, body } = reply;
    if !(200..=599).contains(&status) {
        return invalid(format!("a reply with status {status}, not 200 to 599"));
    }
    most("headers of a reply", headers.len(), OPS)?;
    most("bytes of a reply's body", body.len(), BODY_BYTES)?;
    let headers = headers.into_iter().map(header).collect::<Checked<_>>()?;
    Ok(FilterReply { status, headers, body })
}

fn header((name, value): (String, Vec<u8>)) -> Checked<(String, Vec<u8>)> {
    field_name(&name)?;
    most(&format!("bytes of the value of {name}"), value.len(), VALUE_BYTES)?;
    // RFC 9110 section 5.5: visible characters, space, tabulator and obs-text.
    if !value.iter().all(|it| matches!(it, b'\t' | 0x20..=0x7e | 0x80..)) {
        return invalid(format!("a value of {name} with control characters"));
    }
    Ok((name, trimmed(value)))
}

/// White space at the ends is no part of a value (RFC 9110 section 5.5).
fn trimmed(value: Vec<u8>) -> Vec<u8> {
    match value.trim_ascii() {
        trimmed if trimmed.len() == value.len() => value,
        trimmed => trimmed.to_vec(),
    }
}

/// A token (RFC 9110 section 5.6.2) that a filter may touch. Servers that read `_` as `-` must not be led by the nose.
fn field_name(name: &str) -> Checked<()> {
    if !(1..=NAME_BYTES).contains(&name.len()) || !name.bytes().all(is_token) {
        return invalid(format!("a header name that is none: {:?}", short(name)));
    }
    let name = name.to_ascii_lowercase().replace('_', "-");
    if NOT_THEIRS.contains(&name.as_str()) || name.starts_with(FORWARDED) {
        return invalid(format!("the header {name}, which is the gate's own"));
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{decision, wit};
    use crate::plugin::Fault;
    use crate::plugin::host::filter::{FilterDecision, HeaderOp};

    fn set(name: &str, value: &[u8]) -> wit::Decision {
        wit::Decision::Edit(vec![wit::HeaderOp::Set((name.to_owned(), value.to_vec()))])
    }

    fn reply(status: u16, headers: usize, body: usize) -> wit::Decision {
        let headers = (0..headers).map(|it| (format!("x-{it}"), b"v".to_vec())).collect();
        wit::Decision::Reply(wit::Reply { status, headers, body: vec![b'a'; body] })
    }

    fn removals(number: usize) -> wit::Decision {
        wit::Decision::Edit(vec![(); number].iter().map(|()| remove("x")).collect())
    }

    fn remove(name: &str) -> wit::HeaderOp {
        wit::HeaderOp::Remove(name.to_owned())
    }

    #[test]
    fn what_can_be_carried_out_passes() {
        let cases = [
            wit::Decision::Next,
            set("X-Tenant", b"a b\tc \xff"),
            set("authorization", b"Bearer x"),
            set("x-empty", b""),
            set(&"n".repeat(256), &[b'v'; 4096]),
            removals(32),
            reply(200, 0, 0),
            reply(599, 32, 64 * 1024),
        ];
        for case in cases {
            let shown = format!("{case:?}");
            assert!(decision(case).is_ok(), "{:.200}", shown);
        }
    }

    #[test]
    fn what_cannot_is_refused() {
        let ext = wit::Extension { kind: "later".to_owned(), params: Vec::new() };
        let mut cases = vec![
            set("", b"v"),
            set("a b", b"v"),
            set("a:b", b"v"),
            set("grün", b"v"),
            set(&"n".repeat(257), b"v"),
            set("x", b"a\r\nb: c"),
            set("x", b"\0"),
            set("x", b"\x7f"),
            set("x", &[b'v'; 4097]),
            removals(33),
            reply(199, 0, 0),
            reply(101, 0, 0),
            reply(600, 0, 0),
            reply(200, 33, 0),
            reply(200, 0, 64 * 1024 + 1),
            wit::Decision::Ext(ext),
        ];
        let own = [
            "Host",
            "content-length",
            "Content_Length",
            "Transfer-Encoding",
            "X-Forwarded-For",
            "x_forwarded_anything",
            "X-API-Key",
            "x_api_key",
            "X-Request-Id",
            "connection",
            "TE",
            "via",
            "Forwarded",
        ];
        for name in own {
            cases.push(set(name, b"v"));
            cases.push(wit::Decision::Edit(vec![remove(name)]));
            let headers = vec![(name.to_owned(), b"v".to_vec())];
            cases.push(wit::Decision::Reply(wit::Reply { status: 200, headers, body: Vec::new() }));
        }
        for case in cases {
            let shown = format!("{case:?}");
            let refused = decision(case);
            assert!(matches!(refused, Err(Fault::Invalid { .. })), "{:.200} {refused:?}", shown);
        }
    }

    #[test]
    fn white_space_at_the_ends_of_a_value_goes() {
        let found = decision(set("x", b" \tv w\t ")).expect("a valid edit");
        let expected = HeaderOp::Set("x".to_owned(), b"v w".to_vec());
        assert_eq!(found, FilterDecision::Edit(vec![expected]));
    }

    proptest! {
        #[test]
        fn no_value_that_passes_can_end_a_line(value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(FilterDecision::Edit(ops)) = decision(set("x", &value)) {
                for op in ops {
                    let HeaderOp::Set(_, value) = op else { continue };
                    assert!(value.iter().all(|it| !matches!(it, b'\r' | b'\n' | 0)));
                }
            }
        }
    }
}
