//! Turns a valid config into a generation: secrets resolved, routes indexed, live parts kept. All or nothing.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

use crate::auth::{Keyring, NewKey, digest};
use crate::config::findings::{Finding, Severity};
use crate::config::{Config, Key, KeySource, OnRevoke, PathMatch, Retry, Route, Service};
use crate::generation::guarded::GuardTable;
use crate::generation::routes::RouteTable;
use crate::generation::{AdminPlace, Generation, LiveService};
use crate::model::{Access, SCOPE_ADMIN, ServiceId, UnixMs, hex};
use crate::semantics::head::HeadLimits;
use crate::telemetry::metrics::Metrics;
use crate::wire::balance::Endpoints;

/// Shorter keys can be guessed by trying; StockFlow's own is one, so this is a warning.
const KEY_BYTES_MIN: usize = 16;

/// What a build needs from outside; a dry one (`check`, `explain`) brings its own.
pub struct Sources<'a> {
    /// Reads a key from the environment or a file; the error says what is wrong with it, never its value.
    pub read: &'a dyn Fn(&KeySource) -> Result<SecretSlice<u8>, String>,
    /// Makes the endpoints of a service from host and port of its upstreams.
    pub endpoints: &'a dyn Fn(Vec<(String, u16)>) -> Arc<Endpoints>,
    pub metrics: &'a Metrics,
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
/// Every key that cannot be read or that two names share.
pub fn build(
    config: Config,
    text_hash: &str,
    previous: Option<&Generation>,
    sources: &Sources<'_>,
) -> Result<Built, Vec<Finding>> {
    let (keys, findings) = resolve_keys(&config.keys, sources);
    if findings.iter().any(|it| it.severity == Severity::Error) {
        return Err(findings);
    }
    let mut warnings = findings;
    let admin = admin_place(&config);
    warnings.extend(shadowed_by_admin(&config, &admin, sources.file));
    let generation = Generation {
        number: previous.map_or(1, |it| it.number + 1),
        hash: hash(text_hash, &keys),
        published_at: sources.now,
        services: config.services.iter().map(|it| live(it, previous, sources)).collect(),
        routes: RouteTable::build(&config),
        guards: GuardTable::build(&config, &admin.prefix),
        admin,
        head_limits: HeadLimits {
            head_bytes: config.limits.head_bytes,
            fields: config.limits.head_fields,
            target_bytes: config.limits.target_bytes,
        },
        keyring: Keyring::build(keys),
        config,
    };
    Ok(Built { generation, warnings })
}

fn resolve_keys(keys: &[Key], sources: &Sources<'_>) -> (Vec<NewKey>, Vec<Finding>) {
    let mut resolved: Vec<NewKey> = Vec::with_capacity(keys.len());
    let mut findings = Vec::new();
    for (number, key) in keys.iter().enumerate() {
        let at =
            |severity, message, expected| finding(severity, number, message, expected, sources);
        let digest = match &key.source {
            KeySource::Digest(digest) => *digest,
            source => match (sources.read)(source) {
                Ok(secret) => {
                    if secret.expose_secret().len() < KEY_BYTES_MIN {
                        findings.push(at(Severity::Warning, short(key), LONG_KEY.to_owned()));
                    }
                    digest(secret.expose_secret())
                }
                Err(cause) => {
                    findings.push(at(Severity::Error, unreadable(key, &cause), next_step(source)));
                    continue;
                }
            },
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

fn unreadable(key: &Key, cause: &str) -> String {
    format!("key `{}` cannot be read: {cause}", key.name)
}

/// Two names for one key make the name in logs and the scopes a matter of order.
fn twins(first: &str, second: &str) -> (Severity, String) {
    if first == second {
        return (Severity::Warning, format!("key `{second}` is listed twice with the same value"));
    }
    (Severity::Error, format!("keys `{first}` and `{second}` have the same value"))
}

fn next_step(source: &KeySource) -> String {
    match source {
        KeySource::Env(name) => format!(
            "the environment variable {name} of this process (`export {name}=...`, in Kubernetes a `secretKeyRef`)"
        ),
        KeySource::File(path) => format!(
            "a file {} that this process may read, with the key as its only line",
            path.display()
        ),
        KeySource::Digest(_) => "`sha256:` and 64 hex digits".to_owned(),
    }
}

fn finding(
    severity: Severity,
    key: usize,
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
        path: format!("keys[{key}].key"),
        snippet_column: 0,
    }
}

/// Changes when the text or any secret behind its references does.
fn hash(text_hash: &str, keys: &[NewKey]) -> String {
    let mut state = Sha256::new();
    state.update(text_hash.as_bytes());
    for key in keys {
        // The digest of the digest: the hash is public, and a short key could be found from its digest alone.
        state.update(Sha256::digest(key.digest));
    }
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
