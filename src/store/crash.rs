//! Named points at which a test has the process end as a power cut would. Nothing in builds without debug assertions.
//!
//! `HEADGATE_CRASH_AT=send-after:3` ends the process when it comes to the point `send-after` for the third time.

/// Ends the process without any farewell if this is the point and the time.
#[cfg(debug_assertions)]
pub fn crash_point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| parse(&std::env::var("HEADGATE_CRASH_AT").ok()?));
    if let Some((point, number)) = wanted
        && point == name
        && SEEN.fetch_add(1, Relaxed) + 1 == *number
    {
        std::process::abort();
    }
}

#[cfg(debug_assertions)]
fn parse(text: &str) -> Option<(String, u64)> {
    let (point, number) = text.split_once(':')?;
    Some((point.to_owned(), number.parse().ok()?))
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn crash_point(_: &str) {}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::parse;

    #[test]
    fn a_point_has_a_name_and_a_number() {
        assert_eq!(parse("send-after:3"), Some((String::from("send-after"), 3)));
        for text in ["", "send-after", "send-after:", "send-after:x", ":"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
