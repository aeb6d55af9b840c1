//! A generic webhook, signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::SecretString;
use serde_json::json;
use sha2::Sha256;

use crate::alert::outbox::Parcel;
use crate::alert::sinks::{Call, Sink, phase_word};
use crate::config::secret::Secret;
use crate::generation::alerting::{LiveKind, LiveSink};
use crate::model::UnixMs;

/// Secrets come with and without padding; signatures have it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One webhook.
#[derive(Debug)]
pub struct Webhook {
    name: String,
    timeout: Duration,
    url: String,
    /// Decoded. A signature for each.
    keys: Vec<Arc<Secret>>,
    /// Whether a secret could not be decoded: nothing is sent then, for the receiver would not know who sends.
    broken: bool,
}

impl Webhook {
    /// Of a sink of this kind; of another kind it would have no URL.
    pub fn new(live: &LiveSink) -> Self {
        let (url, secrets) = match &live.kind {
            LiveKind::Webhook { url, secrets } => (url.clone(), secrets.as_slice()),
            LiveKind::EventDispatcher { .. } | LiveKind::Slack { .. } => (String::new(), &[][..]),
        };
        let keys: Vec<_> = secrets.iter().filter_map(|it| key(it)).map(Arc::new).collect();
        let broken = keys.len() < secrets.len();
        Self { name: live.name.clone(), timeout: live.timeout, url, keys, broken }
    }
}

/// `whsec_` and base64, or base64 alone.
fn key(secret: &Secret) -> Option<Secret> {
    let text = secret.expose();
    let text = text.strip_prefix(b"whsec_").unwrap_or(text);
    BASE64.decode(text).ok().filter(|it| !it.is_empty()).map(Secret::new)
}

/// `v1,` and the signature over `id.timestamp.body`.
fn signature(key: &Secret, id: &str, seconds: u64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

impl Sink for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Signed anew for each attempt: receivers refuse what is older than five minutes.
    fn call(&self, parcel: &Parcel, now_ms: u64) -> Result<Call, String> {
        if self.broken {
            return Err(String::from("a secret of the sink is not base64; mend it, then retry"));
        }
        let body = json!({
            "type": format!("headgate.incident.{}", phase_word(parcel.phase)),
            "timestamp": UnixMs(parcel.created_ms).rfc3339(),
            "data": {
                "event": parcel.event,
                "issues": parcel.message.issues,
                "incidents": parcel.incidents,
                "dedup-key": parcel.message.dedup_key,
            },
        });
        let body = body.to_string().into_bytes();
        let seconds = now_ms / 1000;
        let signed = self.keys.iter().filter_map(|it| signature(it, &parcel.key, seconds, &body));
        let signatures: Vec<String> = signed.collect();
        let mut headers =
            vec![("webhook-id", parcel.key.clone()), ("webhook-timestamp", seconds.to_string())];
        if !signatures.is_empty() {
            headers.push(("webhook-signature", signatures.join(" ")));
        }
        Ok(Call { url: SecretString::from(self.url.as_str()), headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::Webhook;
    use crate::alert::sinks::Sink as _;
    use crate::alert::sinks::tests::parcel;
    use crate::config::secret::Secret;
    use crate::generation::alerting::{LiveKind, LiveSink};
    use crate::model::UnixMs;
    use crate::model::alert::Phase;
    use serde_json::Value;
    use std::sync::Arc;
    use std::time::Duration;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn sink(secrets: &[&str]) -> Webhook {
        let secrets = secrets.iter().map(|it| Arc::new(Secret::new(it.as_bytes().to_vec())));
        let url = String::from("https://hooks.example/x");
        Webhook::new(&LiveSink {
            name: String::from("hook"),
            timeout: Duration::from_secs(10),
            kind: LiveKind::Webhook { url, secrets: secrets.collect() },
        })
    }

    /// Headers and body as a receiver sees them.
    fn sent(sink: &Webhook, now_ms: u64) -> (reqwest::header::HeaderMap, Vec<u8>) {
        let call = sink.call(&parcel("hook", 7, "0a-1", Phase::Opened), now_ms).unwrap();
        let headers = call.headers.into_iter().map(|(name, value)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, reqwest::header::HeaderValue::from_str(&value).unwrap())
        });
        (headers.collect(), call.body)
    }

    #[test]
    fn a_receiver_with_any_of_the_secrets_believes_it() {
        let (headers, body) = sent(&sink(&[OLD, NEW]), UnixMs::now().0);
        for secret in [OLD, NEW] {
            let receiver = standardwebhooks::Webhook::new(secret).unwrap();
            receiver.verify(&body, &headers).unwrap();
        }
        assert_eq!(headers["webhook-id"], "0a-1-7");
        let other = standardwebhooks::Webhook::new("whsec_AAAA").unwrap();
        assert!(other.verify(&body, &headers).is_err());
        let (headers, changed) = (headers, [body.as_slice(), b" "].concat());
        let receiver = standardwebhooks::Webhook::new(OLD).unwrap();
        assert!(receiver.verify(&changed, &headers).is_err());
    }

    #[test]
    fn a_later_attempt_has_the_same_id_and_body_and_a_new_signature() {
        let sink = sink(&[OLD]);
        let (first, body) = sent(&sink, 1_000_000);
        let (second, again) = sent(&sink, 2_000_000);
        assert_eq!((&first["webhook-id"], body), (&second["webhook-id"], again));
        assert_eq!(first["webhook-timestamp"], "1000");
        assert_eq!(second["webhook-timestamp"], "2000");
        assert_ne!(first["webhook-signature"], second["webhook-signature"]);
    }

    #[test]
    fn the_body_says_what_happened() {
        let (_, body) = sent(&sink(&[]), 0);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "headgate.incident.opened");
        assert_eq!(body["timestamp"], "2026-11-24T06:40:00.000Z");
        assert_eq!(body["data"]["event"]["service"]["name"], "signal-engine");
        assert_eq!(body["data"]["issues"][0], "signal-engine");
    }

    #[test]
    fn a_secret_that_is_none_sends_nothing_and_shows_nothing() {
        for secret in ["whsec_", "hunter 2!", "whsec_*"] {
            let sink = sink(&[OLD, secret]);
            let error = sink.call(&parcel("hook", 1, "i", Phase::Opened), 0).unwrap_err();
            assert!(error.contains("not base64") && !error.contains("hunter"), "{error}");
            assert!(!format!("{sink:?}").contains("hunter"));
        }
    }
}
