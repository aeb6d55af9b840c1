//! One canonical path is matched, authorised and forwarded.

use std::borrow::Cow;

use crate::semantics::head::HeadError;
use crate::semantics::refusal::{
    BACKSLASH, BAD_TARGET, BROKEN_ESCAPE, ESCAPED_CONTROL, FRAGMENT, TARGET_BYTES,
};

/// The one form of a path: unreserved characters decoded, `%XX` in upper case, dot segments removed, slashes merged.
/// Borrowed when the path already has it. `*` stays as it is.
///
/// Escapes of other characters survive (`M%26M.NS`, `a%2Fb`): what they mean is the service's to say.
///
/// # Errors
/// 400 for what no two servers read alike (escaped or raw control bytes, raw non-ASCII, `\`, `#`, a broken `%`).
pub fn canonical(raw: &str) -> Result<Cow<'_, str>, HeadError> {
    if raw == "*" || is_canonical(raw.as_bytes())? {
        return Ok(Cow::Borrowed(raw));
    }
    let path = without_dots(&decode_unreserved(raw));
    Ok(if path == raw { Cow::Borrowed(raw) } else { Cow::Owned(path) })
}

/// Checks all bytes, and whether the path may stay as it is.
fn is_canonical(raw: &[u8]) -> Result<bool, HeadError> {
    if raw.first() != Some(&b'/') {
        return Err(BAD_TARGET);
    }
    let mut same = true;
    let mut after_slash = false;
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            // `/.x` is canonical too, but too rare to be told from `/./` here.
            b'/' | b'.' if after_slash => same = false,
            b'%' => {
                let code = raw.get(at + 1..at + 3).and_then(hex_byte).ok_or(BROKEN_ESCAPE)?;
                if code < b' ' || code == 0x7f {
                    return Err(ESCAPED_CONTROL);
                }
                same &= !is_unreserved(code) && is_upper(raw.get(at + 1..at + 3));
                at += 2;
            }
            b'\\' => return Err(BACKSLASH),
            b'#' => return Err(FRAGMENT),
            b'!'..=b'~' => {}
            _ => return Err(TARGET_BYTES),
        }
        after_slash = *byte == b'/';
        at += 1;
    }
    Ok(same)
}

/// Text whose escapes are upper case and never of an unreserved character (RFC 3986 §6.2.2).
fn decode_unreserved(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (escape, after) = (rest.get(at..at + 3), rest.get(at + 3..));
        let code = escape.and_then(|it| hex_byte(&it.as_bytes()[1..]));
        match (escape, code) {
            (_, Some(code)) if is_unreserved(code) => out.push(char::from(code)),
            (Some(escape), _) => out.extend(escape.chars().map(|it| it.to_ascii_uppercase())),
            (None, _) => {}
        }
        rest = after.unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// RFC 3986 §5.2.4 on merged slashes; a trailing slash stays.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_open || out.is_empty() {
        out.push('/');
    }
    out
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_upper(escape: Option<&[u8]>) -> bool {
    escape.is_some_and(|it| !it.iter().any(u8::is_ascii_lowercase))
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

/// Most readings of one path that are looked at, and most bytes of them; a path that has more is suspected.
const FORMS_MAX: usize = 64;
const FORMS_BYTES_MAX: usize = 128 * 1024;

/// Whether any decoding of `canonical` by a common server (encoded slash, dot segments, double encoding, `;params`,
/// backslash, case, trailing dots) would land at or under `prefix` (whole segments).
///
/// Errs towards yes: a `..` that only a decoding brings to light is taken to remove any segments before it.
pub fn could_reach(canonical: &str, prefix: &str) -> bool {
    is_under(canonical, prefix.trim_end_matches('/')) || Readings::of(canonical).reach(prefix)
}

/// All that chains of servers may make of one canonical path, made once for any number of prefixes.
#[derive(Debug)]
pub struct Readings<'p> {
    path: &'p str,
    /// Each once; empty when the path says the same to all. `None`: too many to look at.
    forms: Option<Vec<Segments>>,
}

impl<'p> Readings<'p> {
    /// Decodes the path in every way.
    pub fn of(canonical: &'p str) -> Self {
        let is_odd = needs_decoding(canonical.as_bytes());
        let forms = if is_odd { forms(canonical.as_bytes()) } else { Some(Vec::new()) };
        let segments = |it: Vec<Vec<u8>>| it.iter().map(|it| Segments::of(it)).collect();
        Self { path: canonical, forms: forms.map(segments) }
    }

    /// Whether all servers read the path alike, but for the case of letters.
    pub fn agree(&self) -> bool {
        self.forms.as_ref().is_some_and(Vec::is_empty)
    }

    /// [`could_reach`] for this path.
    pub fn reach(&self, prefix: &str) -> bool {
        let prefix = prefix.trim_end_matches('/');
        if is_under(self.path, prefix) {
            return true;
        }
        let Some(forms) = &self.forms else { return true };
        let wanted: Vec<&[u8]> =
            prefix.as_bytes().split(|it| *it == b'/').filter(|it| !it.is_empty()).collect();
        forms.iter().any(|it| it.reach(&wanted))
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    let (path, prefix) = (path.as_bytes(), prefix.as_bytes());
    path.len() >= prefix.len()
        && path[..prefix.len()].eq_ignore_ascii_case(prefix)
        && matches!(path.get(prefix.len()), None | Some(b'/'))
}

/// Whether the path has something that servers read differently; ordinary escapes (`%26`, `%20`, UTF-8) are not.
fn needs_decoding(path: &[u8]) -> bool {
    memchr::memchr3_iter(b'%', b';', b'.', path).any(|at| match path.get(at) {
        Some(b'%') => match path.get(at + 1..at + 3).and_then(hex_byte) {
            // Windows trims blanks at the end of a name.
            Some(b' ') => matches!(path.get(at + 3), None | Some(b'/' | b'.' | b';' | b'%')),
            // A slash in any spelling, an escape or parameters to come, what may end a path, and the first bytes of
            // overlong UTF-8.
            Some(code) => matches!(
                code,
                b'/' | b'\\' | b'%' | b'.' | b';' | b'?' | b'#' | 0xc0 | 0xc1 | 0xe0 | 0xf0
            ),
            None => true,
        },
        Some(b'.') => matches!(path.get(at + 1), None | Some(b'/' | b'.' | b';' | b'%')),
        _ => true,
    })
}

/// The path as it is and all that chains of servers may make of it: decoded, with or without its encoded slashes, and
/// bare of its parameters at each of these steps, since whoever drops `;…` first sees other slashes than whoever does so
/// afterwards. `None`: too many.
fn forms(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut forms = vec![path.to_vec()];
    let mut bytes = path.len();
    let mut at = 0;
    while let Some(form) = forms.get(at) {
        let next = [
            decode(form, Slashes::Decoded),
            decode(form, Slashes::Kept),
            without_params(form, b"/"),
            without_params(form, b"/\\"),
        ];
        for form in next {
            if !forms.contains(&form) {
                bytes += form.len();
                forms.push(form);
            }
        }
        if forms.len() > FORMS_MAX || bytes > FORMS_BYTES_MAX {
            return None;
        }
        at += 1;
    }
    Some(forms)
}

/// Without `;…` of each segment, as Java's servers do.
fn without_params(path: &[u8], separators: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut dropping = false;
    for byte in path {
        if separators.contains(byte) {
            dropping = false;
        } else if *byte == b';' {
            dropping = true;
        }
        if !dropping {
            out.push(*byte);
        }
    }
    out
}

/// One reading of a path, cut into its segments.
#[derive(Debug)]
struct Segments {
    /// Not empty, without what [`trimmed`] cuts.
    names: Vec<Vec<u8>>,
    /// Whether there is a `..` among them.
    goes_up: bool,
}

impl Segments {
    fn of(path: &[u8]) -> Self {
        let (mut names, mut goes_up) = (Vec::new(), false);
        for segment in path.split(|it| *it == b'/' || *it == b'\\') {
            let name = trimmed(segment);
            if name.is_empty() {
                // Only dots and blanks: `.`, `..`, or what Windows makes of `. .`.
                goes_up |= segment.starts_with(b"..") || segment.len() > 1 && segment[0] == b'.';
            } else {
                names.push(name.to_vec());
            }
        }
        Self { names, goes_up }
    }

    /// Whether they begin with those `wanted`, or have them in order anywhere when there is a `..`.
    fn reach(&self, wanted: &[&[u8]]) -> bool {
        let is = |name: &Vec<u8>, it: &&[u8]| name.eq_ignore_ascii_case(it);
        let begin = self.names.len() >= wanted.len()
            && self.names.iter().zip(wanted).all(|(name, it)| is(name, it));
        if begin || !self.goes_up {
            return begin;
        }
        let mut left = wanted.iter();
        let mut next = left.next();
        for name in &self.names {
            match next {
                Some(it) if is(name, it) => next = left.next(),
                Some(_) => {}
                None => break,
            }
        }
        next.is_none()
    }
}

/// A segment without parameters, without what may end a path (`?`, `#`, control bytes), without trailing dots and blanks.
fn trimmed(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|it| matches!(it, b';' | b'?' | b'#' | 0..=0x1f | 0x7f));
    let mut name = &segment[..end.unwrap_or(segment.len())];
    while let [rest @ .., b'.' | b' '] = name {
        name = rest;
    }
    name
}

/// What becomes of `%2F`: Apache keeps it while it decodes all else.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slashes {
    Decoded,
    Kept,
}

/// One decoding: `%XX`, `%uXXXX` (IIS) and overlong UTF-8 of ASCII.
fn decode(path: &[u8], slashes: Slashes) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let (byte, next) = match (first, after) {
            (b'%', [b'u' | b'U', digits @ ..]) => match digits.get(..4).and_then(wide) {
                Some(code) => (code, &digits[4..]),
                None => (b'%', after),
            },
            (b'%', digits) => match digits.get(..2).and_then(hex_byte) {
                Some(b'/') if slashes == Slashes::Kept => (b'%', after),
                Some(code) => (code, &digits[2..]),
                None => (b'%', after),
            },
            (byte, after) => (*byte, after),
        };
        out.push(byte);
        rest = next;
    }
    without_overlong(out)
}

/// `00XX` of `%u00XX`.
fn wide(digits: &[u8]) -> Option<u8> {
    let (high, low) = digits.split_at_checked(2)?;
    (hex_byte(high)? == 0).then(|| hex_byte(low)).flatten()
}

/// Two, three or four bytes that lax decoders take for one ASCII byte (`C0 AF` for `/`).
fn without_overlong(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.iter().any(|it| matches!(it, 0xc0 | 0xc1 | 0xe0 | 0xf0)) {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let [first, after @ ..] = rest {
        let (byte, next) = match rest {
            [0xc0 | 0xc1, second, next @ ..] => ((first & 1) << 6 | (second & 0x3f), next),
            [0xe0, 0x80 | 0x81, third, next @ ..] | [0xf0, 0x80, 0x80 | 0x81, third, next @ ..] => {
                let high = rest[rest.len() - next.len() - 2] & 1;
                (high << 6 | (third & 0x3f), next)
            }
            _ => (*first, after),
        };
        out.push(byte);
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{canonical, could_reach};

    #[test]
    fn paths_have_one_form() {
        let table = [
            ("/", "/"),
            ("/api/RELIANCE.NS", "/api/RELIANCE.NS"),
            ("/api/M%26M.NS", "/api/M%26M.NS"),
            ("/api/%52ELIANCE%2eNS", "/api/RELIANCE.NS"),
            ("/%7Euser", "/~user"),
            ("/a%2fb%2Fc", "/a%2Fb%2Fc"),
            ("/a%252fb", "/a%252fb"),
            ("/a%5cb", "/a%5Cb"),
            ("/a;b=c/d", "/a;b=c/d"),
            ("/a%3bb", "/a%3Bb"),
            ("/%e2%82%b9", "/%E2%82%B9"),
            ("/[a]|^{b}", "/[a]|^{b}"),
            ("/a+b", "/a+b"),
            ("/a//b", "/a/b"),
            ("//a", "/a"),
            ("/a//", "/a/"),
            ("/./a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../b", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/.%2E/b", "/b"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a//../b", "/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a/..b", "/a/..b"),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("*", "*"),
        ];
        for (raw, expected) in table {
            assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn a_canonical_path_is_borrowed() {
        for raw in ["/", "/api/M%26M.NS", "/a/", "/.well-known/x", "/a/..b", "/a%2Fb;c"] {
            assert!(matches!(canonical(raw), Ok(Cow::Borrowed(_))), "{raw}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        let table = [
            ("", "bad-target"),
            ("a", "bad-target"),
            ("/a%", "broken-escape"),
            ("/a%2", "broken-escape"),
            ("/a%2g", "broken-escape"),
            ("/a%u002f", "broken-escape"),
            ("/a%%32f", "broken-escape"),
            ("/a%00", "escaped-control"),
            ("/a%0d%0a", "escaped-control"),
            ("/a%7F", "escaped-control"),
            ("/a\\b", "backslash"),
            ("/a#b", "fragment"),
            ("/a b", "bad-target-bytes"),
            ("/\u{e4}", "bad-target-bytes"),
            ("/a\u{7f}", "bad-target-bytes"),
        ];
        for (raw, code) in table {
            assert_eq!(canonical(raw).expect_err(raw).code, code, "{raw}");
        }
    }

    const ADMIN: &str = "/api/admin";

    #[test]
    fn what_some_server_would_take_for_the_prefix_is_suspected() {
        let table = [
            "/api/admin",
            "/api/admin/",
            "/api/admin/health",
            "/API/Admin/x",
            "/api%2Fadmin/health",
            "/api%2fadmin",
            "/api%5Cadmin",
            "/api%255cadmin",
            "/api/stock/..%2Fadmin/x",
            "/api/stock/..%2Fadmin%2Fx",
            "/api/stock%2F..%2Fadmin",
            "/x/%252e%252e/api/admin",
            "/api/x/%252e%252e/admin",
            "/api/x/%25252e%25252e%25252fadmin",
            "/api/%2561dmin",
            "/api/%252561dmin/x",
            "/api/admin;a=b/x",
            "/api;a=b/admin",
            "/api;a%2Fb/admin",
            "/api;a%5Cb/admin",
            "/api%3Ba%252Fb/admin",
            "/api/x/..;/admin",
            "/api/x/..;a=b/admin",
            "/api/x/..%3B/admin",
            "/api/;x/admin",
            "/api/admin.",
            "/api/admin%20",
            "/api./admin/x",
            "/api/admin%2500.json",
            "/api/admin%3Fx",
            "/api/admin%23x",
            "/api%C0%AFadmin",
            "/api/x/%C0%AE%C0%AE/admin",
            "/api%E0%80%AFadmin",
            "/api%F0%80%80%AFadmin",
            "/api%25u002fadmin",
            "/api/x/..%5Cadmin",
            "/api/%252e/admin",
        ];
        for path in table {
            assert!(could_reach(path, ADMIN), "{path}");
            assert!(could_reach(path, "/api/admin/"), "{path}");
        }
    }

    #[test]
    fn ordinary_paths_are_not_suspected() {
        let table = [
            "/",
            "/api",
            "/api/",
            "/api/health",
            "/api/RELIANCE.NS",
            "/api/M%26M.NS",
            "/api/M%26M.NS/option",
            "/api/administrator",
            "/api/admin2",
            "/api/admin-x/y",
            "/api/kubesnap/default",
            "/api/v1/admin",
            "/admin",
            "/admin/api",
            "/chat",
            "/dev/api/admin/health",
            "/a;v=1/b",
            "/api/%E2%82%B9",
            "/api/BRK.B.",
            "/api/..hidden",
            "/api/a%20b",
            "/api/a%2Fb",
            "/api/100%25",
            "/static/app.min.js",
            "*",
        ];
        for path in table {
            assert!(!could_reach(path, ADMIN), "{path}");
        }
    }

    #[test]
    fn every_path_is_under_the_empty_prefix() {
        assert!(could_reach("/a", "") && could_reach("/a", "/"));
    }

    #[test]
    fn a_path_with_too_many_readings_is_suspected() {
        assert!(could_reach(&format!("/%{}2fx", "25".repeat(4000)), ADMIN));
        assert!(!could_reach(&"/a%2Fb%20c;d".repeat(300), ADMIN));
    }

    /// What six kinds of servers make of a path, each written as plainly as can be.
    mod servers {
        type Server = (&'static str, fn(&str) -> String);

        pub(super) const ALL: [Server; 7] = [
            ("nginx", |it| resolved(&decoded(it, true))),
            ("Apache", |it| resolved(&decoded(it, false))),
            ("Starlette", |it| decoded(it, true)),
            ("Node", |it| resolved(&it.replace('\\', "/"))),
            ("Go", |it| resolved(&decoded(it, true)).trim_end_matches('/').to_owned()),
            ("Java", |it| resolved(&decoded(&bare(it), true).replace('\\', "/"))),
            ("IIS", |it| {
                let path = resolved(&decoded(it, true).replace('\\', "/"));
                let names: Vec<&str> =
                    path.split('/').map(|it| it.trim_end_matches(['.', ' '])).collect();
                names.join("/").to_lowercase()
            }),
        ];

        fn decoded(path: &str, slashes: bool) -> String {
            let (mut out, mut rest) = (Vec::new(), path.as_bytes());
            while let [first, after @ ..] = rest {
                let code = after
                    .get(..2)
                    .and_then(|it| u8::from_str_radix(str::from_utf8(it).ok()?, 16).ok());
                match code {
                    Some(code) if *first == b'%' && (slashes || code != b'/') => {
                        out.push(code);
                        rest = &after[2..];
                    }
                    _ => {
                        out.push(*first);
                        rest = after;
                    }
                }
            }
            String::from_utf8_lossy(&out).into_owned()
        }

        fn resolved(path: &str) -> String {
            let mut kept: Vec<&str> = Vec::new();
            for segment in path.split('/') {
                match segment {
                    "" | "." => {}
                    ".." => drop(kept.pop()),
                    segment => kept.push(segment),
                }
            }
            format!("/{}", kept.join("/"))
        }

        fn bare(path: &str) -> String {
            let segments: Vec<&str> =
                path.split('/').map(|it| it.split(';').next().unwrap_or_default()).collect();
            segments.join("/")
        }
    }

    fn is_under(path: &str) -> bool {
        path == ADMIN || path.starts_with("/api/admin/")
    }

    /// The transforms of the attack: each changes the path at one of its slashes, letters or ends.
    const TRANSFORMS: usize = 20;

    fn transformed(path: &str, which: usize, at: usize) -> String {
        let slashes: Vec<usize> = path.match_indices('/').map(|it| it.0).collect();
        let slash = slashes[at % slashes.len()];
        let (before, after) = (&path[..slash], &path[slash + 1..]);
        let letter = slash + 1 + at % after.len().max(1);
        match which {
            0 => format!("{before}%2f{after}"),
            1 => format!("{before}%5c{after}"),
            2 => format!("{before}%252F{after}"),
            3 => format!("{before}//{after}"),
            4 => format!("{before}/./{after}"),
            5 => format!("{before}/%2e/{after}"),
            6 => format!("{before}/x/../{after}"),
            7 => format!("{before}/x/..%2f{after}"),
            8 => format!("{before}/x%2f%2e%2e/{after}"),
            9 => format!("{before}/x/..;/{after}"),
            10 => format!("{before};a=b/{after}"),
            11 => format!("{before}%3ba/{after}"),
            12 => format!("{before};a%2fb/{after}"),
            13 => format!("{before}./{after}"),
            14 => format!("{before}%20/{after}"),
            15 => format!("{before}/x/%252e%252e/{after}"),
            16 => path.replace('%', "%25"),
            17 | 18 => match path.as_bytes().get(letter) {
                Some(byte) if byte.is_ascii_alphanumeric() => {
                    let escape =
                        if which == 17 { format!("%{byte:02x}") } else { format!("%25{byte:02X}") };
                    format!("{}{escape}{}", &path[..letter], &path[letter + 1..])
                }
                _ => path.to_owned(),
            },
            _ => path.to_uppercase().replace("%2F", "%2f"),
        }
    }

    /// Canonical form is one form, and whatever server maps it under the prefix has been foreseen.
    fn hold(raw: &str) -> Result<(), String> {
        let raw = if raw.starts_with('/') { raw.to_owned() } else { format!("/{raw}") };
        let Ok(path) = canonical(&raw) else { return Ok(()) };
        if canonical(&path).as_deref() != Ok(&*path) {
            return Err(format!("{raw}: {path} is not its own form"));
        }
        let mut seen: Vec<String> = vec![path.to_string()];
        for _ in 0..3 {
            let mut next = Vec::new();
            for (name, server) in servers::ALL {
                for before in &seen {
                    let after = server(before);
                    if is_under(&after) && !could_reach(&path, ADMIN) {
                        return Err(format!("{raw}: {name} reads {path} as {after}"));
                    }
                    next.push(after);
                }
            }
            next.sort_unstable();
            next.dedup();
            seen = next;
        }
        Ok(())
    }

    #[test]
    fn no_three_transforms_get_past_any_server() {
        for first in 0..TRANSFORMS {
            for second in 0..TRANSFORMS {
                for third in 0..TRANSFORMS {
                    let at = first + 3 * second + 7 * third;
                    let once = transformed("/api/admin/x", first, at);
                    let twice = transformed(&format!("/{once}"), second, at / 2);
                    let path = transformed(&format!("/{twice}"), third, at / 3);
                    hold(&path).unwrap_or_else(|it| panic!("{it}"));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

        #[test]
        fn no_transforms_anywhere_get_past_any_server(
            steps in prop::collection::vec((0..TRANSFORMS, any::<usize>()), 0..4),
        ) {
            let mut path = "/api/admin/x".to_owned();
            for (which, at) in steps {
                path = transformed(&format!("/{path}"), which, at % 64);
            }
            prop_assert_eq!(hold(&path), Ok(()));
        }

        #[test]
        fn no_odd_path_gets_past_any_server(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "api", "admin", "..", ".", ";", "%2f", "%5C", "%2e", "%252f", "%252e",
                    "%3b", "x", "%25", "2f", "%61", "%20",
                ]),
                0..12,
            ),
        ) {
            prop_assert_eq!(hold(&format!("/{}", parts.concat())), Ok(()));
        }

        #[test]
        fn ordinary_stock_paths_are_never_suspected(
            id in "[A-Z0-9&]{1,12}(\\.NS|\\.BO)?",
            option in "(/[a-z_]{1,10})?",
        ) {
            let raw = format!("/api/{}{option}", id.replace('&', "%26"));
            let path = canonical(&raw).expect("ordinary");
            prop_assert_eq!(&*path, raw.as_str());
            prop_assert!(id == "ADMIN" || !could_reach(&path, ADMIN));
        }

        #[test]
        fn any_text_is_refused_or_has_one_form(raw in "/[ -~]{0,40}") {
            prop_assert_eq!(hold(&raw), Ok(()));
        }
    }
}
