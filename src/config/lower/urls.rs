//! URLs of receivers and references to secrets.

use std::net::IpAddr;
use std::path::Path;

use super::Wrong;
use super::words::{authority, env_name, within};
use crate::config::Authority;
use crate::config::alerts::SecretRef;

/// A URL that is safe to call: no user name, no query, no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// As it is called: lower-case scheme, without the trailing slash of an empty path.
    pub(super) text: String,
    pub(super) authority: Authority,
    pub(super) is_tls: bool,
}

/// What a base URL looks like, for messages.
pub(super) const BASE: &str = "`http://HOST[:PORT]` or `https://HOST[:PORT]`";
/// What a whole URL looks like, for messages.
const WHOLE: &str = "`https://HOST[:PORT]/PATH`";

impl Url {
    /// Whether what is sent stays on this machine, in this cluster or in this network. Names without a dot and those of
    /// Kubernetes are answered by the cluster's DNS alone.
    pub(super) fn is_inside(&self) -> bool {
        let host = self.authority.host.as_str();
        match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(it)) => it.is_loopback() || it.is_private() || it.is_link_local(),
            Ok(IpAddr::V6(it)) => {
                it.is_loopback() || it.is_unique_local() || it.is_unicast_link_local()
            }
            Err(_) => {
                let ends = |it: &str| host.ends_with(it);
                !host.contains('.')
                    || [".svc", ".cluster.local", ".localhost"].into_iter().any(ends)
            }
        }
    }
}

/// A URL without a path.
pub(super) fn base(text: &str) -> Result<Url, Wrong> {
    let url = url(text, BASE)?;
    if url.text.matches('/').count() > 2 {
        return Err(Wrong::new("the path is the gate's to choose: none may stand here", BASE));
    }
    Ok(url)
}

/// A URL with whatever path.
pub(super) fn whole(text: &str) -> Result<Url, Wrong> {
    url(text, WHOLE)
}

/// No message repeats the text where it may hold a secret.
fn url(text: &str, expected: &'static str) -> Result<Url, Wrong> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let near = Some(format!("http://{text}")).filter(|_| !text.contains(['@', '?', '#']));
        return Err(Wrong { nearest: near, ..Wrong::new("the scheme is missing", expected) });
    };
    let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => return Err(Wrong::new("this scheme is not supported", expected)),
    };
    let wrong = |message: &str| Err(Wrong::new(message, expected));
    if rest.contains('?') {
        return wrong("a query in a URL: what stands there is most often a secret");
    }
    if rest.contains('#') {
        return wrong("a fragment in a URL is never sent");
    }
    let (host, path) = rest.split_once('/').map_or((rest, ""), |it| (it.0, it.1));
    if host.contains('@') {
        return wrong("a user name or password in a URL");
    }
    if !path.bytes().all(|it| it.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&it)) {
        return wrong("the path has a character that must be escaped");
    }
    if path.split('/').any(|it| it == "." || it == "..") {
        return wrong("`.` and `..` in a URL");
    }
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    let authority = authority(host, port, expected)?;
    let text = format!("{scheme}://{}{path}", host.to_ascii_lowercase());
    Ok(Url { text, authority, is_tls: scheme == "https" })
}

/// A reference to a secret. No message repeats the text: it may be the secret itself.
pub(super) fn secret_ref(text: &str, folder: &Path) -> Result<SecretRef, Wrong> {
    let expected = "`env:NAME` or `file:PATH`";
    match text.split_once(':') {
        Some(("env", name)) if env_name(name) => Ok(SecretRef::Env(name.to_owned())),
        Some(("env", _)) => Err(Wrong::new(
            "this cannot name an environment variable",
            "`env:` and letters, digits and `_`, no digit first",
        )),
        Some(("file", "")) => Err(Wrong::new("the file's path is empty", "`file:PATH`")),
        Some(("file", path)) => Ok(SecretRef::File(within(folder, path))),
        Some(("sha256", _)) => {
            Err(Wrong::new("a digest does not do here: the gate must send the secret", expected))
        }
        _ => Err(Wrong::new("a secret stands here by reference, never itself", expected)),
    }
}

#[cfg(test)]
mod tests {
    use super::{base, secret_ref, whole};
    use crate::config::alerts::SecretRef;
    use std::path::{Path, PathBuf};

    #[test]
    fn urls_lose_nothing_but_case_and_an_empty_path() {
        for (text, base_text, whole_text) in [
            (
                "http://Dispatcher:8000",
                Some("http://dispatcher:8000"),
                Some("http://dispatcher:8000"),
            ),
            ("HTTPS://a.example/", Some("https://a.example"), Some("https://a.example")),
            ("https://a.example/Hook/x", None, Some("https://a.example/Hook/x")),
            ("https://a.example/x/", None, Some("https://a.example/x/")),
            ("http://[::1]:9", Some("http://[::1]:9"), Some("http://[::1]:9")),
            ("https://me:hunter2@a", None, None),
            ("https://a?token=hunter2", None, None),
            ("https://a/#hunter2", None, None),
            ("https://a/a b", None, None),
            ("https://a/é", None, None),
            ("https://a/../b", None, None),
            ("https://a:0/", None, None),
            ("https:///x", None, None),
            ("ftp://a", None, None),
            ("a:8000", None, None),
            ("", None, None),
        ] {
            assert_eq!(base(text).ok().map(|it| it.text).as_deref(), base_text, "{text}");
            assert_eq!(whole(text).ok().map(|it| it.text).as_deref(), whole_text, "{text}");
            if let Err(wrong) = whole(text) {
                assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_inside_is_told_by_name_and_address() {
        for (host, inside) in [
            ("localhost", true),
            ("127.0.0.1:1", true),
            ("[::1]", true),
            ("10.1.2.3", true),
            ("[fd00::1]", true),
            ("event-dispatcher-service", true),
            ("a.b.svc", true),
            ("a.b.svc.cluster.local", true),
            ("hooks.example", false),
            ("svc", true),
            ("evil-cluster.local.example", false),
            ("8.8.8.8", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(base(&format!("http://{host}")).unwrap().is_inside(), inside, "{host}");
        }
    }

    #[test]
    fn secrets_are_references_alone() {
        let folder = Path::new("/etc/gate");
        assert_eq!(secret_ref("env:A", folder).unwrap(), SecretRef::Env(String::from("A")));
        let file = SecretRef::File(PathBuf::from("/etc/gate/k"));
        assert_eq!(secret_ref("file:./k", folder).unwrap(), file);
        let digest = format!("sha256:{}", "ab".repeat(32));
        for text in ["hunter2", "whsec_hunter2", "env:", "env:a b", "file:", "", &digest] {
            let wrong = secret_ref(text, folder).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
    }
}
