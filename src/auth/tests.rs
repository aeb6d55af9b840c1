//! Admission against a naive model, over sizes around the width of a bucket.

use proptest::prelude::*;

use super::*;

const NOW: UnixMs = UnixMs(1_000_000);

fn key(number: usize) -> String {
    format!("key-{number:08}")
}

fn entry(name: &str, raw: &str) -> NewKey {
    NewKey {
        name: name.to_owned(),
        scopes: vec!["admin".to_owned()],
        digest: digest(raw.as_bytes()),
        not_before: None,
        expires_at: None,
    }
}

fn ring(count: usize) -> Keyring {
    Keyring::build((0..count).map(|it| entry(&format!("n{it}"), &key(it))).collect())
}

fn admitted<'a>(ring: &'a Keyring, raw: &str) -> Option<&'a str> {
    ring.admit(Some(raw.as_bytes()), NOW).map(|it| it.name.as_str())
}

#[test]
fn every_key_is_found_under_its_name_and_no_other() {
    for count in [0, 1, 2, 15, 16, 17, 100, 1000, 5000] {
        let ring = ring(count);
        assert_eq!(ring.entries().len(), count);
        for number in 0..count {
            assert_eq!(admitted(&ring, &key(number)), Some(format!("n{number}").as_str()));
            assert!(ring.holder(&digest(key(number).as_bytes()), NOW).is_some());
        }
        for number in count..count + 50 {
            assert_eq!(admitted(&ring, &key(number)), None);
            assert!(ring.holder(&digest(key(number).as_bytes()), NOW).is_none());
        }
    }
}

#[test]
fn absent_empty_and_malformed_are_nobody() {
    for ring in [Keyring::default(), ring(0), ring(1), ring(1000)] {
        assert!(ring.admit(None, NOW).is_none());
        for raw in [&b""[..], b"\xff\xfe", b" key-00000000", b"key-00000000 ", &[0; 9000], &[0; 32]]
        {
            assert!(ring.admit(Some(raw), NOW).is_none());
        }
        assert!(ring.holder(&[0; 32], NOW).is_none(), "an empty slot is no key");
        assert!(ring.holder(&[0; 32], UnixMs(0)).is_none());
        assert!(ring.holder(&[0; 32], UnixMs(u64::MAX)).is_none());
    }
}

#[test]
fn a_configured_empty_key_opens_nothing() {
    let ring = Keyring::build(vec![entry("empty", "")]);
    assert!(ring.admit(None, NOW).is_none());
    assert!(ring.admit(Some(b""), NOW).is_none());
}

#[test]
fn validity_is_from_inclusive_to_exclusive() {
    let rows = [
        (None, None, true),
        (Some(NOW.0), None, true),
        (Some(NOW.0 + 1), None, false),
        (None, Some(NOW.0 + 1), true),
        (None, Some(NOW.0), false),
        (Some(NOW.0 - 5), Some(NOW.0 + 5), true),
        (Some(NOW.0 - 5), Some(NOW.0 - 1), false),
        (Some(0), Some(0), false),
    ];
    for (from, end, valid) in rows {
        let mut keys: Vec<NewKey> = (0..40).map(|it| entry("other", &key(it))).collect();
        keys.push(NewKey {
            not_before: from.map(UnixMs),
            expires_at: end.map(UnixMs),
            ..entry("it", "secret")
        });
        let ring = Keyring::build(keys);
        assert_eq!(admitted(&ring, "secret").is_some(), valid, "{from:?} {end:?}");
        assert_eq!(ring.holder(&digest(b"secret"), NOW).is_some(), valid);
        assert_eq!(ring.entries()[40].valid(NOW), valid);
    }
}

#[test]
fn a_name_may_have_several_keys_and_a_key_several_entries() {
    let ring = Keyring::build(vec![entry("ci", "old"), entry("ci", "new")]);
    assert_eq!(admitted(&ring, "old"), Some("ci"));
    assert_eq!(admitted(&ring, "new"), Some("ci"));

    // More entries of one digest than a bucket is wide, the first ones expired.
    let many = (0..60).map(|it| NewKey {
        expires_at: (it < 30).then_some(NOW),
        ..entry(&format!("n{it}"), "same")
    });
    let ring = Keyring::build(many.collect());
    assert_eq!(admitted(&ring, "same"), Some("n30"), "the first valid one in file order");
}

#[test]
fn nothing_printed_holds_a_digest() {
    let new = entry("ci", "secret");
    let shown = format!("{new:?}");
    let ring = Keyring::build(vec![new]);
    let entry = ring.entries().first().unwrap();
    let word = u64::from_le_bytes(*entry.digest.first_chunk::<8>().unwrap());
    for text in [shown, format!("{entry:?}"), format!("{ring:?}")] {
        assert!(text.contains("ci"));
        assert!(!text.contains(&word.to_string()));
        assert!(!text.contains(&hex(&entry.digest)[..8]));
        assert!(!text.contains(&format!("{}, {}", entry.digest[0], entry.digest[1])));
    }
}

#[test]
fn new_keys_are_long_and_differ() {
    let (one, two) = (new_key().unwrap(), new_key().unwrap());
    assert_ne!(one, two);
    assert_eq!(one.len(), 67);
    assert!(one.starts_with("hg_") && one[3..].bytes().all(|it| it.is_ascii_hexdigit()));
}

proptest! {
    #[test]
    fn admits_what_a_linear_search_admits(
        keys in proptest::collection::vec((0_u8..40, proptest::option::of(0_u64..8), proptest::option::of(0_u64..8)), 0..120),
        asked in 0_u8..44,
        now in 0_u64..8,
    ) {
        let raw = |it: u8| format!("k{it}");
        let new: Vec<NewKey> = keys.iter().enumerate().map(|(at, (number, from, end))| NewKey {
            not_before: from.map(UnixMs),
            expires_at: end.map(UnixMs),
            ..entry(&at.to_string(), &raw(*number))
        }).collect();
        let expected = keys.iter().position(|(number, from, end)| {
            *number == asked && from.is_none_or(|it| it <= now) && end.is_none_or(|it| now < it)
        }).map(|it| it.to_string());
        let ring = Keyring::build(new);
        let found = ring.admit(Some(raw(asked).as_bytes()), UnixMs(now)).map(|it| it.name.clone());
        prop_assert_eq!(found, expected);
    }
}
