//! Where alerts go, with the secrets resolved.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroize as _;

use crate::config::alerts::{Alerts, SecretRef, SinkConfig, SinkKind};
use crate::config::findings::{Finding, Severity};
use crate::config::secret::{Resolved, Secret};
use crate::generation::build::{Sources, chain, finding, wanted};

/// The live form of `alerts:`.
#[derive(Debug)]
pub struct Alerting {
    pub config: Alerts,
    /// In the order of `config.sinks`.
    pub sinks: Vec<LiveSink>,
    /// The key for `config.kubesnap`.
    pub kubesnap_key: Option<Arc<Secret>>,
}

/// A sink with its secrets.
#[derive(Clone, Debug)]
pub struct LiveSink {
    pub name: String,
    pub timeout: Duration,
    pub kind: LiveKind,
}

/// See [`SinkKind`](crate::config::alerts::SinkKind).
#[derive(Clone, Debug)]
pub enum LiveKind {
    EventDispatcher {
        url: String,
        channels: Vec<String>,
        channel: Option<String>,
        allowed: Vec<String>,
    },
    Webhook {
        url: String,
        /// Each `whsec_` and valid Base64 behind it.
        secrets: Vec<Arc<Secret>>,
    },
    Slack {
        /// `https://...`, or `http://...` on loopback.
        url: Arc<Secret>,
    },
}

impl Alerting {
    /// Every secret, in the order of the config.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        let of_sinks = self.sinks.iter().flat_map(|it| match &it.kind {
            LiveKind::EventDispatcher { .. } => &[][..],
            LiveKind::Webhook { secrets, .. } => secrets.as_slice(),
            LiveKind::Slack { url } => std::slice::from_ref(url),
        });
        of_sinks.chain(&self.kubesnap_key)
    }
}

/// Reads every secret. With an error among the findings, what is missing is left out of the first part.
pub(super) fn resolve(config: &Alerts, sources: &Sources<'_>) -> (Alerting, Vec<Finding>) {
    let mut reader = Reader { sources, findings: Vec::new() };
    let sinks = config.sinks.iter().enumerate().map(|(index, it)| reader.sink(index, it)).collect();
    let kubesnap_key = config.kubesnap.as_ref().and_then(|it| {
        let place = || String::from("kubesnap.key");
        reader.read(&it.key, "Kubesnap's key", place()).map(Arc::new)
    });
    (Alerting { config: config.clone(), sinks, kubesnap_key }, reader.findings)
}

struct Reader<'a> {
    sources: &'a Sources<'a>,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn sink(&mut self, index: usize, sink: &SinkConfig) -> LiveSink {
        let at = format!("alerts.sinks[{index}]");
        let kind = match &sink.kind {
            SinkKind::EventDispatcher { url, channels, channel, allowed } => {
                LiveKind::EventDispatcher {
                    url: url.clone(),
                    channels: channels.clone(),
                    channel: channel.clone(),
                    allowed: allowed.clone(),
                }
            }
            SinkKind::Webhook { url, secrets } => {
                let place = |number: usize| match secrets.len() {
                    1 => format!("{at}.secret"),
                    _ => format!("{at}.secret[{number}]"),
                };
                let numbered = secrets.iter().enumerate();
                let secrets = numbered.filter_map(|(number, it)| {
                    let what = format!("the secret of sink `{}`", sink.name);
                    let read = self.read(it, &what, place(number))?;
                    self.signing(&read, &what, place(number))
                });
                LiveKind::Webhook { url: url.clone(), secrets: secrets.collect() }
            }
            SinkKind::Slack { url } => {
                let what = format!("the URL of sink `{}`", sink.name);
                let place = format!("{at}.slack");
                let read = self.read(url, &what, place.clone());
                LiveKind::Slack { url: self.calling(read, &what, place) }
            }
        };
        LiveSink { name: sink.name.clone(), timeout: sink.timeout, kind }
    }

    fn read(&mut self, from: &SecretRef, what: &str, place: String) -> Option<Secret> {
        let source = from.source();
        match (self.sources.read)(&source) {
            Ok(Resolved::Key(secret)) => Some(secret),
            // No reference of ours is one to a digest.
            Ok(Resolved::Digest(_)) => None,
            Err(cause) => {
                let message = format!("{what} cannot be read: {}", chain(&cause));
                self.note(Severity::Error, place, message, wanted(&source));
                None
            }
        }
    }

    /// Standard Webhooks: `whsec_` and Base64. The prefix may be left out; the live form always has it.
    fn signing(&mut self, secret: &Secret, what: &str, place: String) -> Option<Arc<Secret>> {
        let bare = secret.expose().strip_prefix(WHSEC).unwrap_or(secret.expose());
        let expected = || String::from("`whsec_` and Base64 of 24 to 64 random bytes");
        let Ok(mut bytes) = STANDARD.decode(bare) else {
            let message = format!("{what} is no secret of Standard Webhooks: not Base64");
            self.note(Severity::Error, place, message, expected());
            return None;
        };
        let length = bytes.len();
        bytes.zeroize();
        if length < SIGNING_BYTES_MIN {
            let message = format!("{what} has {length} bytes and can be guessed");
            self.note(Severity::Warning, place, message, expected());
        }
        let whole = [WHSEC, bare].concat();
        Some(Arc::new(Secret::new(whole)))
    }

    /// A URL that can be called. An empty one stands for a bad one, with which no generation is built.
    fn calling(&mut self, secret: Option<Secret>, what: &str, place: String) -> Arc<Secret> {
        let Some(secret) = secret else { return Arc::new(Secret::new(Vec::new())) };
        let expected = || String::from("`https://hooks.slack.com/services/...`");
        match openness(secret.expose()) {
            Some(Openness::Tls | Openness::Loopback) => {}
            Some(Openness::Clear) => {
                let message = format!("{what} is not https: anybody on the way could post there");
                self.note(Severity::Warning, place, message, expected());
            }
            None => {
                let message = format!("{what} is not a URL");
                self.note(Severity::Error, place, message, expected());
            }
        }
        Arc::new(secret)
    }

    fn note(&mut self, severity: Severity, place: String, message: String, expected: String) {
        self.findings.push(finding(severity, place, message, expected, self.sources));
    }
}

/// Who can read what is sent to a URL.
enum Openness {
    Tls,
    Loopback,
    Clear,
}

/// `None`: this is no URL that can be called.
fn openness(url: &[u8]) -> Option<Openness> {
    let url = std::str::from_utf8(url).ok()?;
    let (scheme, rest) = url.split_once("://")?;
    let host =
        rest.split(['/', '?', '#']).next().filter(|it| !it.is_empty() && !it.contains('@'))?;
    match scheme {
        "https" => Some(Openness::Tls),
        "http" => {
            let name = host.rsplit_once(':').map_or(host, |it| it.0);
            let here = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
            Some(if here { Openness::Loopback } else { Openness::Clear })
        }
        _ => None,
    }
}

const WHSEC: &[u8] = b"whsec_";

/// Standard Webhooks asks for 24 bytes at least.
const SIGNING_BYTES_MIN: usize = 24;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::LiveKind;
    use crate::config::alerts::{Kubesnap, SecretRef, SinkConfig, SinkKind};
    use crate::config::findings::{Finding, Severity};
    use crate::config::secret::{Resolved, Secret, SecretError};
    use crate::config::{Config, KeySource, defaults};
    use crate::generation::Generation;
    use crate::generation::build::{Built, Sources, build};
    use crate::generation::fixture::{self, NOW};
    use crate::telemetry::metrics::Metrics;

    const GOOD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The name of a variable is its value, but for those that are not set.
    fn built(config: Config) -> Result<Built, Vec<Finding>> {
        let read = |source: &KeySource| match source {
            KeySource::Env(name) if name.is_empty() => {
                Err(SecretError::NotSet { name: String::from("NONE") })
            }
            KeySource::Env(name) => Ok(Resolved::Key(Secret::new(name.clone().into_bytes()))),
            KeySource::File(path) => {
                Err(SecretError::Empty { reference: path.display().to_string() })
            }
            KeySource::Digest(it) => Ok(Resolved::Digest(*it)),
        };
        let metrics = Metrics::new(1);
        let sources = Sources {
            read: &read,
            endpoints: &|_| Arc::default(),
            metrics: &metrics,
            plugins: &crate::plugin::registry::native,
            now: NOW,
            file: "headgate.yaml",
        };
        build(config, b"text", None, &sources)
    }

    fn env(value: &str) -> SecretRef {
        SecretRef::Env(value.to_owned())
    }

    fn with(kinds: Vec<SinkKind>, kubesnap: Option<SecretRef>) -> Config {
        let mut config = fixture::config("");
        config.alerts.sinks = kinds
            .into_iter()
            .enumerate()
            .map(|(index, kind)| SinkConfig {
                name: format!("s{index}"),
                kind,
                timeout: defaults::SINK_TIMEOUT,
            })
            .collect();
        config.alerts.kubesnap = kubesnap.map(|key| Kubesnap {
            url: String::from("http://kubesnap"),
            key,
            timeout: defaults::KUBESNAP_TIMEOUT,
            wait: defaults::KUBESNAP_WAIT,
            cooldown: defaults::KUBESNAP_COOLDOWN,
            budget: defaults::KUBESNAP_BUDGET,
        });
        config
    }

    fn webhook(secrets: &[&str]) -> SinkKind {
        let secrets = secrets.iter().map(|it| env(it)).collect();
        SinkKind::Webhook { url: String::from("https://a/x"), secrets }
    }

    fn slack(url: &str) -> SinkKind {
        SinkKind::Slack { url: env(url) }
    }

    fn exposed(generation: &Generation) -> Vec<Vec<u8>> {
        generation.alerting.secrets().map(|it| it.expose().to_vec()).collect()
    }

    #[test]
    fn secrets_are_read_in_the_order_of_the_config() {
        let bare = GOOD.strip_prefix("whsec_").unwrap();
        let url = "https://hooks.slack.com/services/T/B/x";
        let config =
            with(vec![webhook(&[GOOD, bare]), slack(url)], Some(env("snap-key-0123456789")));
        let it = built(config).unwrap();
        assert!(it.warnings.is_empty(), "{:?}", it.warnings);
        // The prefix is there whether it was given or not.
        let wanted = [GOOD, GOOD, url, "snap-key-0123456789"].map(|it| it.as_bytes().to_vec());
        assert_eq!(exposed(&it.generation), wanted);
        let LiveKind::Webhook { secrets, .. } = &it.generation.alerting.sinks[0].kind else {
            panic!("{:?}", it.generation.alerting.sinks)
        };
        assert_eq!(secrets.len(), 2);
        assert!(!format!("{:?}", it.generation.alerting.sinks).contains(bare));
    }

    #[test]
    fn a_secret_that_is_missing_or_bad_refuses_the_config_without_being_shown() {
        for (config, path, says) in [
            (with(vec![webhook(&[""])], None), "alerts.sinks[0].secret", "is not set"),
            (with(vec![webhook(&[GOOD, ""])], None), "alerts.sinks[0].secret[1]", "is not set"),
            (with(vec![webhook(&["hunter2!"])], None), "alerts.sinks[0].secret", "not Base64"),
            (with(vec![slack("")], None), "alerts.sinks[0].slack", "the URL of sink `s0`"),
            (with(vec![slack("hunter2")], None), "alerts.sinks[0].slack", "is not a URL"),
            (with(vec![slack("ftp://hunter2/")], None), "alerts.sinks[0].slack", "is not a URL"),
            (
                with(vec![slack("https://me:hunter2@a/")], None),
                "alerts.sinks[0].slack",
                "not a URL",
            ),
            (with(Vec::new(), Some(env(""))), "kubesnap.key", "Kubesnap's key cannot be read"),
            (with(Vec::new(), Some(SecretRef::File("/k".into()))), "kubesnap.key", "/k is empty"),
        ] {
            let Err(findings) = built(config) else { panic!("{path} {says}") };
            let [one] = findings.as_slice() else { panic!("{findings:?}") };
            assert_eq!((one.severity, one.path.as_str()), (Severity::Error, path));
            let shown = format!("{one:?}");
            assert!(shown.contains(says) && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_can_be_guessed_or_read_on_the_way_is_a_warning() {
        let config =
            with(vec![webhook(&["whsec_c2hvcnQ="]), slack("http://slack.example/x")], None);
        let warnings = built(config).unwrap().warnings;
        let paths: Vec<&str> = warnings.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["alerts.sinks[0].secret", "alerts.sinks[1].slack"]);
        let config = with(vec![slack("http://127.0.0.1:9/x"), slack("http://[::1]:9/y")], None);
        assert!(built(config).unwrap().warnings.is_empty());
    }

    #[test]
    fn another_secret_is_another_hash() {
        let hash = |kinds, key: &str| built(with(kinds, Some(env(key)))).unwrap().generation.hash;
        let first = hash(vec![webhook(&[GOOD])], "one");
        assert_eq!(first, hash(vec![webhook(&[GOOD])], "one"));
        assert_ne!(first, hash(vec![webhook(&[GOOD])], "two"));
        let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx";
        assert_ne!(first, hash(vec![webhook(&[other])], "one"));
    }
}
