//! Who may come in by the admin listener: pure checks of a request against browsers that are led by others.
//!
//! A listener without keys trusts whoever reaches loopback, and a browser on the same machine reaches it for any web
//! page: by a name that was rebound to 127.0.0.1, or by a plain cross-site request that needs no answer to do harm.

use std::net::IpAddr;

use crate::wire::serve::Asked;

/// A refusal of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) detail: &'static str,
}

const REBOUND: Refusal = Refusal {
    status: 421,
    code: "foreign-host",
    detail: "without a key this listener answers by an IP address or localhost only",
};

const NO_ENDPOINT: Refusal = Refusal {
    status: 404,
    code: "no-endpoint",
    detail: "the admin API is below /api/admin/; / says more",
};

/// A page of another site, or a prefetch, asks for a change.
pub(super) const CROSS_SITE: Refusal = Refusal {
    status: 403,
    code: "cross-site",
    detail: "a page of another site, or a prefetch, may not change anything here",
};

/// What the listener's config says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door<'a> {
    pub(super) needs_key: bool,
    /// Empty or `/name`.
    pub(super) prefix: &'a str,
}

impl Door<'_> {
    /// Refuses a name that may have been rebound. A key cannot be rebound, nor can a unix socket.
    pub(super) fn check_host(&self, asked: &Asked) -> Result<(), Refusal> {
        if self.needs_key || asked.peer.is_none() {
            return Ok(());
        }
        let hosts = asked.headers.get_all("host");
        let all_own = hosts.iter().all(|it| it.to_str().is_ok_and(is_own_host));
        if all_own { Ok(()) } else { Err(REBOUND) }
    }

    /// What follows `{prefix}/api/admin/` or `/api/admin/`.
    pub(super) fn endpoint<'p>(&self, path: &'p str) -> Result<&'p str, Refusal> {
        let own = path.strip_prefix(self.prefix).unwrap_or(path);
        [own, path].iter().find_map(|it| it.strip_prefix("/api/admin/")).ok_or(NO_ENDPOINT)
    }
}

/// An IP address or a name of this machine that no DNS server answers for (RFC 6761).
fn is_own_host(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((inside, _port)) => inside,
        None => host.rsplit_once(':').map_or(host, |it| it.0),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

/// Whether a browser sends this for a page of another origin, or ahead of time.
pub(super) fn is_foreign(asked: &Asked) -> bool {
    let values = |name: &str| {
        let all = asked.headers.get_all(name).iter();
        all.map(|it| String::from_utf8_lossy(it.as_bytes()).to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    let from_elsewhere =
        values("sec-fetch-site").iter().any(|it| it != "same-origin" && it != "none");
    let hosts = values("host");
    let of_another_origin = values("origin").iter().any(|origin| {
        // Older browsers send no Sec-Fetch-Site, but an Origin with every request that can change something.
        let authority = origin.split_once("://").map_or("", |it| it.1);
        !hosts.iter().any(|it| it == authority)
    });
    let ahead = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
    let is_ahead =
        |it: &String| it.contains("prefetch") || it.contains("preview") || it.contains("prerender");
    from_elsewhere
        || of_another_origin
        || ahead.iter().any(|name| values(name).iter().any(is_ahead))
}

/// Whether a call can change something: the toggle does so even by GET.
pub(super) fn changes_state(method: &str, endpoint: &str) -> bool {
    let is_toggle = endpoint.starts_with("maintenance/") && endpoint != "maintenance/status";
    is_toggle || !matches!(method, "GET" | "HEAD")
}

/// The one `X-API-KEY`; several are none, since two readers could take different ones.
pub(super) fn presented_key(asked: &Asked) -> Option<&[u8]> {
    let mut keys = asked.headers.get_all("x-api-key").iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) => Some(key.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn asked(headers: &[(&str, &str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        Asked {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: None,
            headers: map,
            body: bytes::Bytes::new(),
            peer: Some(SocketAddr::from(([127, 0, 0, 1], 5))),
            request_id: String::new(),
            place: None,
        }
    }

    #[test]
    fn a_rebound_name_does_not_open_a_listener_without_keys() {
        let keyless = Door { needs_key: false, prefix: "" };
        for (host, own) in [
            ("127.0.0.1:9902", true),
            ("127.0.0.1", true),
            ("[::1]:9902", true),
            ("[::1]", true),
            ("localhost:9902", true),
            ("LOCALHOST", true),
            ("gate.localhost:1", true),
            ("10.1.2.3:9902", true),
            ("evil.example:9902", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evillocalhost", false),
            ("", false),
            (":9902", false),
            ("[evil.example]:9902", false),
            ("127.0.0.1:9902:x", false),
        ] {
            let wanted = if own { Ok(()) } else { Err(REBOUND) };
            assert_eq!(keyless.check_host(&asked(&[("host", host)])), wanted, "{host}");
        }
        let two = asked(&[("host", "127.0.0.1"), ("host", "evil.example")]);
        assert_eq!(keyless.check_host(&two), Err(REBOUND));
        assert_eq!(keyless.check_host(&asked(&[])), Ok(()));
        let keyed = Door { needs_key: true, prefix: "" };
        assert_eq!(keyed.check_host(&asked(&[("host", "gate.example")])), Ok(()));
        let by_socket = Asked { peer: None, ..asked(&[("host", "gate.example")]) };
        assert_eq!(keyless.check_host(&by_socket), Ok(()));
    }

    #[test]
    fn endpoints_are_found_with_and_without_the_prefix() {
        for (prefix, path, endpoint) in [
            ("", "/api/admin/maintenance/on", Some("maintenance/on")),
            ("/dev", "/dev/api/admin/maintenance/on", Some("maintenance/on")),
            ("/dev", "/api/admin/headgate/config", Some("headgate/config")),
            ("/dev", "/devapi/admin/x", None),
            ("/dev", "/prod/api/admin/x", None),
            ("", "/api/admin", None),
            ("", "/API/admin/x", None),
            ("", "/", None),
            ("", "", None),
            ("/api", "/api/admin/x", Some("x")),
        ] {
            let door = Door { needs_key: false, prefix };
            assert_eq!(door.endpoint(path).ok(), endpoint, "{prefix} {path}");
        }
    }

    #[test]
    fn requests_that_a_page_of_another_site_makes_are_known() {
        let own = ("host", "127.0.0.1:9902");
        for (headers, foreign) in [
            (vec![own], false),
            (vec![own, ("sec-fetch-site", "same-origin")], false),
            (vec![own, ("sec-fetch-site", "none")], false),
            (vec![own, ("sec-fetch-site", "cross-site")], true),
            (vec![own, ("sec-fetch-site", "same-site")], true),
            (vec![own, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], true),
            (vec![own, ("origin", "http://127.0.0.1:9902")], false),
            (vec![own, ("origin", "http://127.0.0.1:3000")], true),
            (vec![own, ("origin", "null")], true),
            (vec![own, ("origin", "http://evil.example")], true),
            (vec![own, ("sec-purpose", "prefetch;prerender")], true),
            (vec![own, ("purpose", "Prefetch")], true),
            (vec![own, ("x-moz", "prefetch")], true),
            (vec![own, ("x-purpose", "preview")], true),
        ] {
            assert_eq!(is_foreign(&asked(&headers)), foreign, "{headers:?}");
        }
    }

    #[test]
    fn a_toggle_changes_state_by_any_method() {
        for (method, endpoint, changes) in [
            ("GET", "maintenance/on", true),
            ("HEAD", "maintenance/off", true),
            ("GET", "maintenance/typo", true),
            ("GET", "maintenance/status", false),
            ("POST", "maintenance/status", true),
            ("GET", "headgate/config", false),
            ("POST", "headgate/reload", true),
            ("GET", "headgate/reload", false),
        ] {
            assert_eq!(changes_state(method, endpoint), changes, "{method} {endpoint}");
        }
    }

    #[test]
    fn several_keys_are_none() {
        assert_eq!(presented_key(&asked(&[("x-api-key", "a")])), Some(&b"a"[..]));
        assert_eq!(presented_key(&asked(&[("x-api-key", "a"), ("x-api-key", "a")])), None);
        assert_eq!(presented_key(&asked(&[])), None);
    }
}
