//! Single words of the config: addresses, URLs, names, references, times.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::Wrong;
use crate::config::{AdminListen, Authority, KeySource, NATIVE};
use crate::model::{Access, UnixMs};

/// What a TCP address looks like, for messages.
const ADDRESS: &str = "an address such as `0.0.0.0:8080` or `[::]:8080`";

pub(in crate::config) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not an address"), ADDRESS);
    text.parse().map_err(|_| {
        let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
        if let Ok(port) = port {
            return wrong().nearest(format!("0.0.0.0:{port}"));
        }
        match text.strip_prefix("localhost:") {
            Some(port) => wrong().nearest(format!("127.0.0.1:{port}")),
            None => wrong(),
        }
    })
}

/// An address, or `None` for the word `off`.
pub(in crate::config) fn address_or_off(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    address(text).map(Some).map_err(|it| Wrong { expected: format!("{ADDRESS}, or `off`"), ..it })
}

pub(in crate::config) fn admin_listen(
    text: &str,
    folder: &Path,
) -> Result<Option<AdminListen>, Wrong> {
    let expected = format!("{ADDRESS}, `unix:PATH`, or `off`");
    match text.strip_prefix("unix:") {
        Some("") => Err(Wrong::new("the socket's path is empty", expected)),
        // A socket's address holds 107 bytes (unix(7)).
        Some(path) if within(folder, path).as_os_str().len() > 107 => {
            Err(Wrong::new("the socket's path is too long", "at most 107 bytes"))
        }
        Some(path) => Ok(Some(AdminListen::Unix(within(folder, path)))),
        None => address_or_off(text)
            .map(|it| it.map(AdminListen::Tcp))
            .map_err(|it| Wrong { expected, ..it }),
    }
}

pub(in crate::config) fn network(text: &str) -> Result<IpNet, Wrong> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| single()).map(|it| it.trunc()).map_err(|_| {
        Wrong::new(
            format!("`{text}` is not a network"),
            "a network such as `10.42.0.0/16` or an address such as `10.42.0.7`",
        )
    })
}

/// What an upstream looks like, for messages.
const UPSTREAM: &str = "`http://HOST` or `http://HOST:PORT`";

pub(in crate::config) fn upstream(text: &str) -> Result<Authority, Wrong> {
    // The text is not repeated where it may hold a password.
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(Wrong::new("upstreams over TLS are not supported yet", UPSTREAM));
        }
        Some(_) => return Err(Wrong::new("this scheme is not supported", UPSTREAM)),
        None => {
            let wrong = Wrong::new("the scheme is missing", UPSTREAM);
            return Err(if text.contains('@') {
                wrong
            } else {
                wrong.nearest(format!("http://{text}"))
            });
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(Wrong::new("a user name or password in an upstream", UPSTREAM));
    }
    if authority.contains(['/', '?', '#']) {
        let message =
            "an upstream has no path: requests are forwarded with the path that they have";
        return Err(Wrong::new(message, UPSTREAM));
    }
    self::authority(authority, 80, UPSTREAM)
}

/// `HOST`, `HOST:PORT` or `[IPV6]:PORT`; the port when it is left out is the scheme's.
pub(super) fn authority(
    text: &str,
    scheme_port: u16,
    expected: &'static str,
) -> Result<Authority, Wrong> {
    let (host, port) = split_port(text, scheme_port).ok_or_else(|| {
        Wrong::new(format!("`{text}` has no valid port"), "a port from 1 to 65535")
    })?;
    match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => {
            Ok(Authority { host: v6.to_owned(), port })
        }
        Some(_) => Err(Wrong::new(format!("`{host}` is not an IPv6 address"), expected)),
        None => Ok(Authority { host: self::host(host)?, port }),
    }
}

/// Host and port (the scheme's when left out); `None` for a bad port.
fn split_port(authority: &str, scheme_port: u16) -> Option<(&str, u16)> {
    let colon =
        authority.rfind(':').filter(|at| !authority.get(*at..).is_some_and(|it| it.contains(']')));
    let Some((host, port)) = colon.and_then(|at| authority.split_at_checked(at)) else {
        return Some((authority, scheme_port));
    };
    let digits = port.get(1..).filter(|it| it.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|it| *it > 0).map(|it| (host, it))
}

/// A host name, in lower case.
pub(in crate::config) fn host(text: &str) -> Result<String, Wrong> {
    let expected = "a host name such as `app.example`, without port";
    let wrong = |message: String| Err(Wrong::new(message, expected));
    if text.is_empty() {
        return wrong(String::from("the host is empty"));
    }
    if text.contains('*') {
        return wrong(String::from("wildcards in hosts are not supported yet"));
    }
    let label = |it: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
        let inside = it.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        it.len() <= 63 && inside && edge(it.chars().next()) && edge(it.chars().last())
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return wrong(format!("`{text}` is not a host name"));
    }
    Ok(text.to_ascii_lowercase())
}

pub(in crate::config) fn service_name(text: &str) -> Result<String, Wrong> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    let expected = "1 to 63 of a-z, 0-9 and `-` inside, for example `signal-engine`";
    Err(Wrong::new(format!("`{text}` cannot name a service"), expected))
}

pub(in crate::config) fn plugin_name(text: &str) -> Result<String, Wrong> {
    if text == NATIVE {
        let message = format!("the name `{NATIVE}` stands for the gate's own code");
        return Err(Wrong::new(message, "another name"));
    }
    if is_label(text) {
        return Ok(text.to_owned());
    }
    let expected = "1 to 63 of a-z, 0-9 and `-` inside, for example `tenant-check`";
    Err(Wrong::new(format!("`{text}` cannot name a plugin"), expected))
}

/// A label of DNS in lower case (RFC 1123).
pub(super) fn is_label(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = !text.starts_with('-') && !text.ends_with('-');
    (1..=63).contains(&text.len()) && edge && text.bytes().all(inside)
}

/// The SHA-256 of a plugin; the prefix `sha256:` may stand before it.
pub(in crate::config) fn plugin_digest(text: &str) -> Result<[u8; 32], Wrong> {
    digest(text.strip_prefix("sha256:").unwrap_or(text)).ok_or_else(|| {
        Wrong::new(
            "this is not a SHA-256 digest",
            "64 hexadecimal digits, as `sha256sum` prints them",
        )
    })
}

/// What a plugin is granted, in lower case.
pub(in crate::config) fn grant(text: &str) -> Result<String, Wrong> {
    let expected = "`header:NAME`, `header:*`, `action:snapshot` or `action:alert`";
    let wrong = |near: Option<String>| Wrong {
        nearest: near,
        ..Wrong::new(format!("`{text}` is nothing that can be granted"), expected)
    };
    let lower = text.to_ascii_lowercase();
    match lower.split_once(':') {
        Some(("header", "*")) | Some(("action", "snapshot" | "alert")) => Ok(lower),
        Some(("header", name)) if is_field_name(name) => Ok(lower),
        Some(("action", word)) => {
            let near = super::nearest(word, ["snapshot", "alert"]);
            Err(wrong(near.map(|it| format!("action:{it}"))))
        }
        None if ["snapshot", "alert"].contains(&text) => Err(wrong(Some(format!("action:{text}")))),
        None if text.starts_with("x-") && is_field_name(text) => {
            Err(wrong(Some(format!("header:{text}"))))
        }
        _ => Err(wrong(None)),
    }
}

/// A token of RFC 9110 §5.6.2 that is not absurdly long.
pub(super) fn is_field_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(inside)
}

pub(in crate::config) fn key_name(text: &str) -> Result<String, Wrong> {
    // Both stand in the audit for those who have no key.
    if ["admin-listener", "headgate"].contains(&text) {
        let message = format!("the name `{text}` is the gate's own");
        return Err(Wrong::new(message, "another name"));
    }
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if text.len() <= 63 && first && text.bytes().all(inside) {
        return Ok(text.to_owned());
    }
    let expected = "1 to 63 of letters, digits, `.`, `_` and `-`, a letter or digit first";
    Err(Wrong::new("this cannot name a key", expected))
}

pub(in crate::config) fn scope(text: &str) -> Result<String, Wrong> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._:-".contains(&b);
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if text.len() <= 63 && first && text.bytes().all(inside) {
        return Ok(text.to_owned());
    }
    let expected = "1 to 63 of a-z, 0-9, `.`, `_`, `:` and `-`, for example `admin`";
    Err(Wrong::new(format!("`{text}` cannot name a scope"), expected))
}

pub(in crate::config) fn access(text: &str) -> Result<Access, Wrong> {
    let expected = "`public`, or `key:SCOPE`, for example `key:admin`";
    if text == "public" {
        return Ok(Access::Public);
    }
    if let Some(name) = text.strip_prefix("key:") {
        return scope(name).map(Access::Key);
    }
    let wrong = Wrong::new(format!("unknown access `{text}`"), expected);
    let near = super::nearest(text, ["public"]);
    Err(Wrong { nearest: near, ..wrong })
}

pub(in crate::config) fn method(text: &str) -> Result<String, Wrong> {
    let expected = "a method in upper case, for example `GET`";
    if ["CONNECT", "TRACE"].contains(&text) {
        return Err(Wrong::new(format!("{text} is never forwarded"), expected));
    }
    let inside = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(inside) {
        return Ok(text.to_owned());
    }
    let wrong = Wrong::new(format!("`{text}` is not a method"), expected);
    let upper = text.to_ascii_uppercase();
    let near = (upper != text && upper.bytes().all(inside)).then_some(upper);
    Err(Wrong { nearest: near, ..wrong })
}

/// A reference to a key. No message repeats the text: it may be the key itself.
pub(in crate::config) fn key_source(text: &str, folder: &Path) -> Result<KeySource, Wrong> {
    let expected = "`env:NAME`, `file:PATH` or `sha256:HEX` (`headgate key new` makes a key and prints its digest)";
    match text.split_once(':') {
        Some(("env", name)) if env_name(name) => Ok(KeySource::Env(name.to_owned())),
        Some(("env", _)) => Err(Wrong::new(
            "this cannot name an environment variable",
            "`env:` and letters, digits and `_`, no digit first",
        )),
        Some(("file", "")) => Err(Wrong::new("the file's path is empty", "`file:PATH`")),
        Some(("file", path)) => Ok(KeySource::File(within(folder, path))),
        Some(("sha256", hex)) => digest(hex).map(KeySource::Digest).ok_or_else(|| {
            Wrong::new("this is not a SHA-256 digest", "`sha256:` and 64 hexadecimal digits")
        }),
        _ => Err(Wrong::new("a key stands here by reference, never itself", expected)),
    }
}

/// A path that starts at a folder when it is relative, without `.` inside.
pub(in crate::config) fn within(folder: &Path, path: &str) -> PathBuf {
    folder.join(path).components().collect()
}

pub(super) fn env_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect::<Option<_>>()?;
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |sum, digit| sum << 4 | digit);
    }
    Some(bytes)
}

pub(in crate::config) fn time(text: &str) -> Result<UnixMs, Wrong> {
    let expected = "RFC 3339, for example `2026-12-31T23:59:59Z`";
    let at: jiff::Timestamp =
        text.parse().map_err(|_| Wrong::new(format!("`{text}` is not a time"), expected))?;
    let ms = u64::try_from(at.as_millisecond());
    ms.map(UnixMs).map_err(|_| Wrong::new("a time before 1970", expected))
}

pub(in crate::config) fn origin(text: &str) -> Result<String, Wrong> {
    let expected = "an origin such as `https://app.example`, without path, or `*`";
    if text == "*" {
        return Ok(String::from("*"));
    }
    let wrong = || Wrong::new(format!("`{text}` is not an origin"), expected);
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    if !["http", "https"].contains(&scheme) {
        return Err(wrong());
    }
    if let Some(bare) = text.strip_suffix('/') {
        return Err(wrong().nearest(bare));
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, port.parse::<u16>().is_ok()),
        None => (authority, true),
    };
    let valid = host(name).is_ok_and(|lower| lower == name);
    if valid && port { Ok(text.to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::{access, admin_listen, host, key_source, network, origin, scope, time, upstream};
    use crate::config::{AdminListen, KeySource};
    use crate::model::{Access, UnixMs};
    use std::path::{Path, PathBuf};

    #[test]
    fn upstreams_are_hosts_with_ports() {
        for (text, expected) in [
            ("http://app", Some(("app", 80))),
            ("HTTP://App:8000/", Some(("app", 8000))),
            ("http://10.0.0.1:1", Some(("10.0.0.1", 1))),
            ("http://[::1]", Some(("::1", 80))),
            ("http://[fe80::1]:65535", Some(("fe80::1", 65535))),
            (
                "http://kubesnap-service.kubesnap.svc.cluster.local:9001",
                Some(("kubesnap-service.kubesnap.svc.cluster.local", 9001)),
            ),
            ("http://app:+80", None),
            ("http://app:65536", None),
            ("http://app:80:80", None),
            ("http://::1", None),
            ("http://a..b", None),
            ("http:///", None),
            ("http://a b", None),
            ("//app", None),
            ("", None),
        ] {
            let found = upstream(text).ok();
            let found = found.as_ref().map(|it| (it.host.as_str(), it.port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn references_to_keys_are_read_and_relative_to_the_folder() {
        let folder = Path::new("/etc/gate");
        let mut bytes = [0xab; 32];
        bytes[0] = 0x01;
        let digest = format!("sha256:01{}", "aB".repeat(31));
        for (text, expected) in [
            ("env:_A1", KeySource::Env(String::from("_A1"))),
            ("file:key", KeySource::File(PathBuf::from("/etc/gate/key"))),
            ("file:./a/key", KeySource::File(PathBuf::from("/etc/gate/a/key"))),
            ("file:/run/key", KeySource::File(PathBuf::from("/run/key"))),
            (digest.as_str(), KeySource::Digest(bytes)),
        ] {
            assert_eq!(key_source(text, folder).unwrap(), expected, "{text}");
        }
        for text in ["", "hunter2", "env:", "env:A-B", "sha256:", "sha256:zz", "ENV:A", "file"] {
            let wrong = key_source(text, folder).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
        let other = format!("sha256:{}", "é".repeat(32));
        assert!(key_source(&other, folder).is_err());
    }

    #[test]
    fn networks_lose_their_host_bits() {
        for (text, expected) in [
            ("10.42.1.7/16", Some("10.42.0.0/16")),
            ("10.42.0.7", Some("10.42.0.7/32")),
            ("fd00::1", Some("fd00::1/128")),
            ("::/0", Some("::/0")),
            ("10.0.0.0/33", None),
            ("10.0.0", None),
        ] {
            let found = network(text).ok().map(|it| it.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn times_are_rfc_3339_with_any_offset() {
        assert_eq!(time("1970-01-01T00:00:01Z").unwrap(), UnixMs(1000));
        assert_eq!(time("1970-01-01T02:00:00.5+02:00").unwrap(), UnixMs(500));
        for text in ["1970-01-01T00:00:00", "now", "", "2026-13-01T00:00:00Z"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn small_words() {
        assert_eq!(access("public").unwrap(), Access::Public);
        let bypass = Access::Key(String::from("maintenance:bypass"));
        assert_eq!(access("key:maintenance:bypass").unwrap(), bypass);
        assert_eq!(host("App.Example").unwrap(), "app.example");
        assert!(scope("-x").is_err() && scope(&"a".repeat(64)).is_err());
        assert_eq!(origin("http://localhost:3000").unwrap(), "http://localhost:3000");
        assert!(origin("null").is_err() && origin("https://a:b").is_err());
        let folder = Path::new("/run/gate");
        let unix = Some(AdminListen::Unix(PathBuf::from("/run/gate/admin.sock")));
        assert_eq!(admin_listen("unix:admin.sock", folder).unwrap(), unix);
        assert_eq!(admin_listen("off", folder).unwrap(), None);
        let long = format!("unix:/{}", "a".repeat(107));
        assert!(admin_listen(&long, folder).is_err());
    }
}
