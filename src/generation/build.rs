//! Turns a valid config into a generation: secrets resolved, routes indexed, live parts kept. All or nothing.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::auth::{Keyring, NewKey, digest};
use crate::config::findings::{Finding, Severity};
use crate::config::secret::{Resolved, SecretError};
use crate::config::{Config, Key, KeySource, OnRevoke, PathMatch, Retry, Route, Service};
use crate::generation::alerting::{self, Alerting};
use crate::generation::guarded::{FilterTable, GuardTable};
use crate::generation::routes::RouteTable;
use crate::generation::{AdminPlace, Generation, LiveService, plugins};
use crate::model::{Access, SCOPE_ADMIN, ServiceId, UnixMs, hex};
use crate::plugin::registry::{Proven, Wanted};
use crate::semantics::head::HeadLimits;
use crate::telemetry::metrics::Metrics;
use crate::wire::balance::Endpoints;

/// Shorter keys can be guessed by trying; StockFlow's own is one, so this is a warning.
const KEY_BYTES_MIN: usize = 16;

/// What a build needs from outside; a dry one (`check`, `explain`) brings its own.
pub struct Sources<'a> {
    /// Reads a key (`config::secret::read`).
    pub read: &'a dyn Fn(&KeySource) -> Result<Resolved, SecretError>,
    /// Makes the endpoints of a service from host and port of its upstreams.
    pub endpoints: &'a dyn Fn(Vec<(String, u16)>) -> Arc<Endpoints>,
    pub metrics: &'a Metrics,
    /// Proves plugins and gives what acts (`plugin::registry`).
    pub plugins: &'a dyn Fn(&Wanted) -> Proven,
    pub now: UnixMs,
    /// The config as the operator named it, for findings.
    pub file: &'a str,
}

/// A generation, and what the operator should know about it.
#[derive(Debug)]
pub struct Built {
    pub generation: Generation,
    pub warnings: Vec<Finding>,
}

/// Builds the generation after `previous`. What `previous` has for a service of the same name and upstreams
/// (endpoints with their health, requests in flight) is taken over.
///
/// # Errors
/// Every key that cannot be read or that two names share; every place that a plugin cannot fill any more.
pub fn build(
    config: Config,
    text_hash: &[u8],
    previous: Option<&Generation>,
    sources: &Sources<'_>,
) -> Result<Built, Vec<Finding>> {
    let (keys, mut findings) = resolve_keys(&config.keys, sources);
    let (alerting, of_alerts) = alerting::resolve(&config.alerts, sources);
    findings.extend(of_alerts);
    if findings.iter().any(|it| it.severity == Severity::Error) {
        return Err(findings);
    }
    let mut warnings = findings;
    let admin = admin_place(&config);
    let Proven { set, notes } = (sources.plugins)(&plugins::wanted(&config));
    warnings.extend(plugins::findings(&notes, previous, sources.file));
    if warnings.iter().any(|it| it.severity == Severity::Error) {
        return Err(warnings);
    }
    warnings.extend(shadowed_by_admin(&config, &admin, sources.file));
    let generation = Generation {
        number: previous.map_or(1, |it| it.number + 1),
        hash: hash(text_hash, &keys, &alerting, &set.hash),
        published_at: sources.now,
        services: config.services.iter().map(|it| live(it, previous, sources)).collect(),
        routes: RouteTable::build(&config),
        guards: GuardTable::build(&config, &admin.prefix),
        filtered: FilterTable::build(&config),
        admin,
        head_limits: HeadLimits {
            head_bytes: config.limits.head_bytes,
            fields: config.limits.head_fields,
            target_bytes: config.limits.target_bytes,
        },
        keyring: Keyring::build(keys),
        plugins: Arc::new(set),
        plugin_notes: notes,
        alerting: Arc::new(alerting),
        config,
    };
    Ok(Built { generation, warnings })
}

fn resolve_keys(keys: &[Key], sources: &Sources<'_>) -> (Vec<NewKey>, Vec<Finding>) {
    let mut resolved: Vec<NewKey> = Vec::with_capacity(keys.len());
    let mut findings = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let at = |severity, message, expected| {
            finding(severity, format!("keys[{number}].key"), message, expected, sources)
        };
        let digest = match (sources.read)(&key.source) {
            Ok(Resolved::Digest(digest)) => digest,
            Ok(Resolved::Key(secret)) => {
                if secret.expose().len() < KEY_BYTES_MIN {
                    findings.push(at(Severity::Warning, short(key), LONG_KEY.to_owned()));
                }
                digest(secret.expose())
            }
            Err(cause) => {
                let message = format!("key `{}` cannot be read: {}", key.name, chain(&cause));
                findings.push(at(Severity::Error, message, wanted(&key.source)));
                continue;
            }
        };
        if let Some(twin) = resolved.iter().find(|it| it.digest == digest) {
            let (severity, message) = twins(&twin.name, &key.name);
            findings.push(at(severity, message, "a key of its own for every name".to_owned()));
        }
        resolved.push(NewKey {
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            digest,
            not_before: key.not_before,
            expires_at: key.expires_at,
        });
    }
    (resolved, findings)
}

const LONG_KEY: &str = "16 bytes or more; `headgate key new` makes one";

fn short(key: &Key) -> String {
    format!("key `{}` is shorter than {KEY_BYTES_MIN} bytes and can be guessed", key.name)
}

/// The error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |it| it.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Two names for one key make the name in logs and the scopes a matter of order.
fn twins(first: &str, second: &str) -> (Severity, String) {
    if first == second {
        return (Severity::Warning, format!("key `{second}` is listed twice with the same value"));
    }
    (Severity::Error, format!("keys `{first}` and `{second}` have the same value"))
}

pub(super) fn wanted(source: &KeySource) -> String {
    match source {
        KeySource::Env(name) => {
            format!("{name} in the environment of this process (in Kubernetes by a `secretKeyRef`)")
        }
        KeySource::File(path) => format!("the secret as the only line of {}", path.display()),
        KeySource::Digest(_) => "`sha256:` and 64 hex digits".to_owned(),
    }
}

pub(super) fn finding(
    severity: Severity,
    path: String,
    message: String,
    expected: String,
    sources: &Sources<'_>,
) -> Finding {
    Finding {
        severity,
        file: sources.file.to_owned(),
        line: 0,
        column: 0,
        width: 0,
        message,
        expected: Some(expected),
        nearest: None,
        snippet: String::new(),
        path,
        snippet_column: 0,
    }
}

/// Changes when the text, any secret behind its references or a plugin that acts does.
fn hash(text_hash: &[u8], keys: &[NewKey], alerting: &Alerting, plugins: &[u8; 32]) -> String {
    let mut state = Sha256::new();
    state.update(text_hash);
    for key in keys {
        // The digest of the digest: the hash is public, and a short key could be found from its digest alone.
        state.update(Sha256::digest(key.digest));
    }
    for secret in alerting.secrets() {
        state.update(Sha256::digest(digest(secret.expose())));
    }
    state.update(plugins);
    hex(&state.finalize()).chars().take(16).collect()
}

fn live(
    service: &Service,
    previous: Option<&Generation>,
    sources: &Sources<'_>,
) -> Arc<LiveService> {
    let old = previous
        .and_then(|it| it.services.iter().find(|it| it.service.name == service.name))
        .filter(|it| it.service.upstreams == service.upstreams);
    if let Some(old) = old {
        return Arc::new(LiveService {
            service: service.clone(),
            endpoints: Arc::clone(&old.endpoints),
            in_flight: Arc::clone(&old.in_flight),
            metrics: Arc::clone(&old.metrics),
        });
    }
    let upstreams = service.upstreams.iter().map(|it| (it.host.clone(), it.port)).collect();
    Arc::new(LiveService {
        service: service.clone(),
        endpoints: (sources.endpoints)(upstreams),
        in_flight: Arc::default(),
        metrics: sources.metrics.service(&service.name),
    })
}

fn admin_place(config: &Config) -> AdminPlace {
    let prefix = format!("{}/api/admin", config.prefix);
    let health = format!("{prefix}/health");
    let to = |service: ServiceId, path, access| Route {
        host: None,
        path,
        methods: Vec::new(),
        access,
        service,
        retry: Retry::Unsent, // StockFlow's GETs there change state
        on_revoke: OnRevoke::Close,
        number: None,
        filters: Vec::new(),
    };
    let all = PathMatch::Prefix(prefix.clone());
    let key = Access::Key(SCOPE_ADMIN.to_owned());
    AdminPlace {
        own: [format!("{prefix}/maintenance"), format!("{prefix}/headgate")],
        route: config.admin_service.map(|it| to(it, all, key)),
        health_route: config
            .admin_service
            .map(|it| to(it, PathMatch::Exact(health.clone()), Access::Public)),
        prefix,
        health,
    }
}

/// Routes that the admin service takes everything from.
fn shadowed_by_admin(config: &Config, admin: &AdminPlace, file: &str) -> Vec<Finding> {
    if admin.route.is_none() {
        return Vec::new();
    }
    let below = |path: &PathMatch| {
        let (PathMatch::Prefix(text) | PathMatch::Exact(text)) = path;
        text.strip_prefix(&admin.prefix).is_some_and(|it| it.is_empty() || it.starts_with('/'))
    };
    let shadowed = config
        .routes
        .iter()
        .enumerate()
        .filter(|it| below(&it.1.path) && Some(it.1.service) != config.admin_service);
    shadowed
        .map(|(number, _)| Finding {
            severity: Severity::Warning,
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 0,
            message: format!("the route is never used: the admin service answers {}", admin.prefix),
            expected: Some("a path outside the admin prefix".to_owned()),
            nearest: None,
            snippet: String::new(),
            path: format!("routes[{number}]"),
            snippet_column: 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Built, Sources, build};
    use crate::auth::digest;
    use crate::config::findings::{Finding, Severity};
    use crate::config::secret::{Resolved, Secret, SecretError};
    use crate::config::{Config, Key, KeySource};
    use crate::generation::Generation;
    use crate::generation::fixture::{self, NOW};
    use crate::telemetry::metrics::Metrics;

    /// `env:NAME` has the name as its value, but for `env:NONE`.
    fn read(source: &KeySource) -> Result<Resolved, SecretError> {
        match source {
            KeySource::Env(name) if name == "NONE" => {
                Err(SecretError::NotSet { name: name.clone() })
            }
            KeySource::Env(name) => Ok(Resolved::Key(Secret::new(name.clone().into_bytes()))),
            KeySource::File(path) => {
                Err(SecretError::Empty { reference: path.display().to_string() })
            }
            KeySource::Digest(digest) => Ok(Resolved::Digest(*digest)),
        }
    }

    fn built(
        config: Config,
        text: &[u8],
        previous: Option<&Generation>,
    ) -> Result<Built, Vec<Finding>> {
        let metrics = Metrics::new(1);
        let sources = Sources {
            read: &read,
            endpoints: &|_| Arc::default(),
            metrics: &metrics,
            plugins: &crate::plugin::registry::native,
            now: NOW,
            file: "headgate.yaml",
        };
        build(config, text, previous, &sources)
    }

    fn with_keys(keys: &[(&str, KeySource)]) -> Config {
        let keys = keys.iter().map(|(name, source)| Key {
            name: (*name).to_owned(),
            source: source.clone(),
            scopes: vec!["admin".to_owned()],
            not_before: None,
            expires_at: None,
        });
        Config { keys: keys.collect(), ..fixture::config("") }
    }

    fn env(name: &str) -> KeySource {
        KeySource::Env(name.to_owned())
    }

    const LONG: &str = "A_KEY_OF_16_BYTES";

    #[test]
    fn keys_are_admitted_by_what_their_references_lead_to() {
        let digest = KeySource::Digest(digest(b"known-by-digest"));
        let config = with_keys(&[("a", env(LONG)), ("b", digest)]);
        let Built { generation, warnings } = built(config, b"text", None).unwrap();
        let name = |key: &[u8]| generation.keyring.admit(Some(key), NOW).map(|it| it.name.clone());
        assert_eq!(name(LONG.as_bytes()), Some("a".to_owned()));
        assert_eq!(name(b"known-by-digest"), Some("b".to_owned()));
        assert_eq!(name(b"other"), None);
        assert_eq!(generation.number, 1);
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn every_key_that_cannot_be_used_is_found() {
        let file = KeySource::File("/keys/b".into());
        let config = with_keys(&[
            ("a", env("NONE")),
            ("b", file),
            ("c", env("SHORT")),
            ("d", env(LONG)),
            ("e", env(LONG)),
            ("e", env(LONG)),
        ]);
        let findings = built(config, b"text", None).unwrap_err();
        let brief: Vec<_> = findings
            .iter()
            .map(|it| (it.severity, it.path.as_str(), it.message.as_str()))
            .collect();
        assert_eq!(
            brief,
            [
                (
                    Severity::Error,
                    "keys[0].key",
                    "key `a` cannot be read: environment variable NONE is not set; set it, or name another source"
                ),
                (
                    Severity::Error,
                    "keys[1].key",
                    "key `b` cannot be read: /keys/b is empty; put the key there"
                ),
                (
                    Severity::Warning,
                    "keys[2].key",
                    "key `c` is shorter than 16 bytes and can be guessed"
                ),
                (Severity::Error, "keys[4].key", "keys `d` and `e` have the same value"),
                (Severity::Error, "keys[5].key", "keys `d` and `e` have the same value"),
            ]
        );
        assert!(!format!("{findings:?}").contains(LONG));
    }

    #[test]
    fn a_short_key_works_and_is_a_warning() {
        let Built { generation, warnings } =
            built(with_keys(&[("a", env("SHORT"))]), b"text", None).unwrap();
        assert!(generation.keyring.admit(Some(b"SHORT"), NOW).is_some());
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].severity, Severity::Warning);
    }

    #[test]
    fn the_hash_changes_with_the_text_and_with_every_secret() {
        let hash = |keys: &[(&str, KeySource)], text: &[u8]| {
            built(with_keys(keys), text, None).unwrap().generation.hash
        };
        let first = hash(&[("a", env(LONG))], b"text");
        assert_eq!(first, hash(&[("a", env(LONG))], b"text"));
        assert_eq!(first.len(), 16);
        assert_ne!(first, hash(&[("a", env(LONG))], b"texts"));
        assert_ne!(first, hash(&[("a", env("ANOTHER_LONG_KEY_"))], b"text"));
        assert_ne!(first, hash(&[("a", env(LONG)), ("b", env("ANOTHER_LONG_KEY_"))], b"text"));
    }

    #[test]
    fn services_keep_their_live_parts_while_name_and_upstreams_stay() {
        let first = built(fixture::config(""), b"1", None).unwrap().generation;
        first.services[0].in_flight.store(3, Ordering::Relaxed);
        let mut config = fixture::config("");
        config.services[0].max_in_flight = 7;
        config.services[1].upstreams[0].port = 9001;
        config.services.remove(2);
        config.routes.retain(|it| it.service.0 != 2);
        config.services.push(fixture::service("new", crate::model::Coverage::Exempt));
        let second = built(config, b"2", Some(&first)).unwrap().generation;
        let same = |at: usize, other: usize| {
            let (old, new) = (&first.services[at], &second.services[other]);
            Arc::ptr_eq(&old.endpoints, &new.endpoints)
                && Arc::ptr_eq(&old.in_flight, &new.in_flight)
        };
        assert_eq!(second.number, 2);
        assert!(same(0, 0));
        assert_eq!(second.services[0].service.max_in_flight, 7, "settings are the new ones");
        assert_eq!(second.services[0].in_flight.load(Ordering::Relaxed), 3);
        assert!(!same(1, 1));
        assert!(!same(2, 2));
        let fresh: &AtomicU32 = &second.services[2].in_flight;
        assert_eq!(fresh.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_route_that_the_admin_service_takes_away_is_a_warning() {
        let mut config = fixture::config("/dev");
        config.routes.push(fixture::keyed("/dev/api/admin/reports", 0, "admin"));
        config.routes.push(fixture::keyed("/dev/api/administrator", 0, "admin"));
        let warnings = built(config, b"text", None).unwrap().warnings;
        assert_eq!(warnings.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["routes[5]"]);
    }
}
