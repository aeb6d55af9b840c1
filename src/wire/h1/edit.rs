//! What others may change in a head: names and values that bear on nothing but the request itself.
//!
//! Whoever hands edits over has checked them. They are checked here once more, because a wrong one would be a second
//! request (RFC 9112 §11.2) or somebody else's name.

use crate::semantics::class::classify;
use crate::semantics::fields::{is_one_name, is_token};
use crate::wire::h1::text::put_field;

/// One change of a request's fields. A change that touches framing, hop-by-hop fields, `Host`, the forwarded family, the
/// key, trace and request ids or the gate's own fields is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Takes the place of all values; stands behind the client's fields.
    Set(&'a str, &'a [u8]),
    /// One more line behind the client's fields.
    Append(&'a str, &'a [u8]),
    /// Drops all values, also those that edits before this one gave.
    Remove(&'a str),
}

impl<'a> Edit<'a> {
    /// The field's name.
    pub fn name(&self) -> &'a str {
        match self {
            Self::Set(name, _) | Self::Append(name, _) | Self::Remove(name) => name,
        }
    }

    fn written(&self) -> Option<(&'a str, &'a [u8])> {
        match self {
            Self::Set(name, value) | Self::Append(name, value) => Some((name, value)),
            Self::Remove(_) => None,
        }
    }

    /// Whether what was there before goes.
    fn replaces(&self, name: &str) -> bool {
        !matches!(self, Self::Append(..)) && is_one_name(self.name(), name)
    }

    fn may_be_made(&self) -> bool {
        let value = self.written().map_or(&b""[..], |it| it.1);
        may_change(self.name()) && is_value(value)
    }
}

/// Whether an edit takes the client's own values of this name away.
#[inline]
pub(super) fn replaces(edits: &[Edit<'_>], name: &str) -> bool {
    edits.iter().any(|it| it.replaces(name) && it.may_be_made())
}

/// Writes what the edits come to.
pub(super) fn put(out: &mut Vec<u8>, edits: &[Edit<'_>]) {
    for (number, edit) in edits.iter().enumerate() {
        let Some((name, value)) = edit.written() else { continue };
        let later = edits.get(number + 1..).unwrap_or_default();
        if edit.may_be_made() && !replaces(later, name) {
            put_field(out, name.as_bytes(), value.trim_ascii());
        }
    }
}

/// Whether a request's field of this name may be changed by others than the gate.
pub fn may_change(name: &str) -> bool {
    classify(name.as_bytes()).is_plain() && is_token(name.as_bytes())
}

/// Whether an answer of the gate's may carry this field of somebody else's.
pub(super) fn may_answer(name: &str, value: &[u8]) -> bool {
    may_change(name) && !name.eq_ignore_ascii_case("date") && is_value(value)
}

/// Field content without anything that another reader could take for an end (RFC 9110 §5.5).
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|it| (*it >= b' ' && *it != 0x7f) || *it == b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};
    use proptest::sample::select;

    use super::{Edit, may_answer, may_change, put, replaces};

    fn written(edits: &[Edit<'_>]) -> String {
        let mut out = Vec::new();
        put(&mut out, edits);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn edits_are_done_in_order() {
        use Edit::{Append, Remove, Set};
        let table: &[(&[Edit<'_>], &str, &str)] = &[
            (&[], "", ""),
            (&[Set("A", b"1")], "A: 1\r\n", "a"),
            (&[Append("A", b"1")], "A: 1\r\n", ""),
            (&[Remove("A")], "", "a"),
            (&[Append("A", b"1"), Append("a", b"2")], "A: 1\r\na: 2\r\n", ""),
            (&[Append("A", b"1"), Set("a", b"2")], "a: 2\r\n", "a"),
            (&[Set("A", b"1"), Append("a", b"2")], "A: 1\r\na: 2\r\n", "a"),
            (&[Set("A", b"1"), Remove("a")], "", "a"),
            (&[Remove("A"), Append("a", b"2")], "a: 2\r\n", "a"),
            (&[Set("A", b"1"), Set("B", b"2"), Set("A", b"3")], "B: 2\r\nA: 3\r\n", "ab"),
            (&[Set("A", b" 1\t")], "A: 1\r\n", "a"),
            (&[Set("A", b"")], "A: \r\n", "a"),
            (&[Set("A-B", b"1"), Remove("a_b")], "", ""),
        ];
        for (edits, expected, gone) in table {
            assert_eq!(written(edits), *expected, "{edits:?}");
            for name in ["a", "b"] {
                assert_eq!(replaces(edits, name), gone.contains(name), "{edits:?} {name}");
            }
        }
        assert!(replaces(&[Set("X-Tenant", b"1")], "x_TENANT"));
        assert!(!replaces(&[Set("X-Tenant", b"1")], "x-tenan"));
    }

    #[test]
    fn nothing_is_made_of_what_no_edit_may_touch() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "Proxy-Authorization",
            "TE",
            "Trailer",
            "Upgrade",
            "HTTP2-Settings",
            "Expect",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "X-Forwarded-Anything",
            "X-Real-IP",
            "Via",
            "X-API-KEY",
            "x_api_key",
            "X_Forwarded_For",
            "X-Request-ID",
            "traceparent",
            "tracestate",
            "X-Headgate-Client",
            "X-Original-URL",
            "",
            "a b",
            "a:",
            "a\r\nb",
            "a\0",
            "ä",
        ] {
            assert!(!may_change(name), "{name}");
            assert!(!may_answer(name, b"1"), "{name}");
            let edits = [Edit::Set(name, b"1"), Edit::Append(name, b"1"), Edit::Remove(name)];
            for edit in edits {
                assert_eq!(written(&[edit]), "", "{edit:?}");
                assert!(!replaces(&[edit], name), "{edit:?}");
            }
        }
        for value in [&b"a\r\nb: c"[..], b"a\nb", b"a\0b", b"\x7f", b"\r", b"a\x1b"] {
            assert_eq!(written(&[Edit::Set("A", value), Edit::Append("A", value)]), "");
            assert!(!replaces(&[Edit::Set("A", value)], "A"), "a bad edit takes nothing away");
            assert!(!may_answer("A", value));
        }
        for name in ["Authorization", "Cookie", "Accept", "Content-Type", "X-Tenant", "x_tenant"] {
            assert!(may_change(name), "{name}");
        }
        assert!(!may_answer("Date", b"x"));
    }

    fn any_edit() -> impl Strategy<Value = (u8, String, Vec<u8>)> {
        let name = prop_oneof![
            select(vec!["a", "A", "b", "B", "Host"]).prop_map(str::to_owned),
            "[ -~]{0,3}"
        ];
        let value = prop_oneof![Just(b"1".to_vec()), prop::collection::vec(0..=255_u8, 0..4)];
        (0..3_u8, name, value)
    }

    proptest! {
        #[test]
        fn the_outcome_is_that_of_a_list_that_is_changed_step_by_step(
            client in prop::collection::vec((select(vec!["a", "A", "b", "B"]), "[x-z]"), 0..5),
            edits in prop::collection::vec(any_edit(), 0..6),
        ) {
            let edits: Vec<Edit<'_>> = edits
                .iter()
                .map(|(kind, name, value)| match kind {
                    0 => Edit::Set(name, value),
                    1 => Edit::Append(name, value),
                    _ => Edit::Remove(name),
                })
                .collect();
            let mut model: Vec<(String, Vec<u8>)> =
                client.iter().map(|it| (it.0.to_owned(), it.1.clone().into_bytes())).collect();
            for edit in edits.iter().filter(|it| it.may_be_made()) {
                if !matches!(edit, Edit::Append(..)) {
                    let plain = |it: &str| it.to_lowercase().replace('_', "-");
                    model.retain(|it| plain(&it.0) != plain(edit.name()));
                }
                if let Some((name, value)) = edit.written() {
                    model.push((name.to_owned(), value.trim_ascii().to_vec()));
                }
            }
            let mut expected = Vec::new();
            for (name, value) in &model {
                expected.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            let mut out = Vec::new();
            for (name, value) in client.iter().filter(|it| !replaces(&edits, it.0)) {
                out.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            put(&mut out, &edits);
            prop_assert_eq!(out, expected);
        }
    }
}
