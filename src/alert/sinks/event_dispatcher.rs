//! StockFlow's Event Dispatcher: `POST /api/v1/health-alert`; 200 means accepted, 422 is for good.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::alert::outbox::Parcel;
use crate::alert::sinks::{Call, Sink};
use crate::generation::alerting::{LiveKind, LiveSink};

const PATH: &str = "/api/v1/health-alert";
/// All ways that it knows.
const KNOWN: [&str; 2] = ["email", "slack"];

/// One Event Dispatcher.
#[derive(Debug)]
pub struct EventDispatcher {
    name: String,
    timeout: Duration,
    url: String,
    channels: Vec<String>,
    channel: Option<String>,
    allowed: Vec<String>,
}

impl EventDispatcher {
    /// Of a sink of this kind; of another kind it would have no URL.
    pub fn new(live: &LiveSink) -> Self {
        let mut it = Self {
            name: live.name.clone(),
            timeout: live.timeout,
            url: String::new(),
            channels: Vec::new(),
            channel: None,
            allowed: Vec::new(),
        };
        if let LiveKind::EventDispatcher { url, channels, channel, allowed } = &live.kind {
            it.url = format!("{}{PATH}", url.trim_end_matches('/'));
            it.channels.clone_from(channels);
            it.channel.clone_from(channel);
            it.allowed.clone_from(allowed);
        }
        it
    }

    /// Never more than the operator has named, and never empty: the Event Dispatcher answers 200 to none and sends nothing.
    fn ways(&self, wished: &[String]) -> Vec<&'static str> {
        let named = |it: &&str| self.channels.iter().any(|own| own == it);
        let mut own: Vec<&'static str> = KNOWN.into_iter().filter(named).collect();
        if own.is_empty() {
            own.push("email");
        }
        let both: Vec<_> =
            own.iter().copied().filter(|it| wished.iter().any(|wish| wish == it)).collect();
        if both.is_empty() { own } else { both }
    }

    /// It becomes a file name over there, so only what the operator has named may go.
    fn slack_channel<'a>(&'a self, wished: Option<&'a String>) -> Option<&'a str> {
        let allowed = wished.filter(|it| self.allowed.contains(it)).filter(|it| is_plain(it));
        allowed.or(self.channel.as_ref().filter(|it| is_plain(it))).map(String::as_str)
    }
}

/// `[A-Za-z0-9_-]+`.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-".contains(&it))
}

impl Sink for EventDispatcher {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "event-dispatcher"
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn call(&self, parcel: &Parcel, _: u64) -> Result<Call, String> {
        let message = &parcel.message;
        let service = std::slice::from_ref(&parcel.event.service.name);
        let issues = if message.issues.is_empty() { service } else { &message.issues };
        let mut body = json!({ "issues": issues, "channels": self.ways(&message.channels) });
        if let (Some(channel), Value::Object(body)) =
            (self.slack_channel(message.channel.as_ref()), &mut body)
        {
            body.insert(String::from("channel"), Value::from(channel));
        }
        let url = SecretString::from(self.url.as_str());
        Ok(Call { url, headers: Vec::new(), body: body.to_string().into_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::EventDispatcher;
    use crate::alert::sinks::tests::parcel;
    use crate::alert::sinks::{Answered, Sink as _};
    use crate::generation::alerting::{LiveKind, LiveSink};
    use crate::model::alert::Phase;
    use proptest::prelude::{any, proptest};
    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn sink(channels: &[&str], channel: Option<&str>, allowed: &[&str]) -> EventDispatcher {
        let owned = |it: &[&str]| it.iter().copied().map(str::to_owned).collect();
        EventDispatcher::new(&LiveSink {
            name: String::from("ed"),
            timeout: Duration::from_secs(10),
            kind: LiveKind::EventDispatcher {
                url: String::from("http://event-dispatcher-service:8000/"),
                channels: owned(channels),
                channel: channel.map(str::to_owned),
                allowed: owned(allowed),
            },
        })
    }

    fn body(sink: &EventDispatcher, channels: &[&str], channel: Option<&str>) -> Value {
        let mut parcel = parcel("ed", 1, "i", Phase::Opened);
        parcel.message.channels = channels.iter().copied().map(str::to_owned).collect();
        parcel.message.channel = channel.map(str::to_owned);
        serde_json::from_slice(&sink.call(&parcel, 0).unwrap().body).unwrap()
    }

    #[test]
    fn the_body_is_the_contract_s() {
        let sink = sink(&["email", "slack"], Some("stockflow"), &["stockflow", "ops"]);
        let call = sink.call(&parcel("ed", 1, "i", Phase::Opened), 0).unwrap();
        assert_eq!(
            call.url.expose_secret(),
            "http://event-dispatcher-service:8000/api/v1/health-alert"
        );
        assert_eq!(
            String::from_utf8(call.body).unwrap(),
            r#"{"issues":["signal-engine"],"channels":["email"],"channel":"stockflow"}"#
        );
    }

    #[test]
    fn channels_are_the_operator_s_and_never_none() {
        let (slack, both) = (&["slack"][..], &["slack", "email"][..]);
        for (named, wished, expected) in [
            (slack, &[][..], json!(["slack"])),
            (slack, &["email"], json!(["slack"])),
            (slack, &["slack", "email", "slack"], json!(["slack"])),
            (slack, &["pager"], json!(["slack"])),
            (both, &[], json!(["email", "slack"])),
            (both, &["email"], json!(["email"])),
            (both, &["slack", "email", "slack"], json!(["email", "slack"])),
            (both, &["pager", "email"], json!(["email"])),
        ] {
            let sink = sink(named, None, &[]);
            assert_eq!(body(&sink, wished, None)["channels"], expected, "{named:?} {wished:?}");
        }
        assert_eq!(body(&sink(&[], None, &[]), &[], None)["channels"], json!(["email"]));
    }

    #[test]
    fn only_named_slack_channels_go_out() {
        let with = sink(&["slack"], Some("stockflow"), &["ops", "../x"]);
        let without = sink(&["slack"], None, &["ops"]);
        for (wished, then, none) in [
            (None, json!("stockflow"), Value::Null),
            (Some("ops"), json!("ops"), json!("ops")),
            (Some("other"), json!("stockflow"), Value::Null),
            (Some("../x"), json!("stockflow"), Value::Null),
            (Some(""), json!("stockflow"), Value::Null),
        ] {
            assert_eq!(body(&with, &[], wished)["channel"], then, "{wished:?}");
            assert_eq!(body(&without, &[], wished).get("channel").is_none(), none.is_null());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_wished_the_contract_holds(
            channels in any::<Vec<String>>(),
            channel in any::<Option<String>>(),
            own in any::<Option<String>>(),
        ) {
            let sink = sink(&[], own.as_deref(), &["ops"]);
            let wished: Vec<&str> = channels.iter().map(String::as_str).collect();
            let body = body(&sink, &wished, channel.as_deref());
            assert!(!body["channels"].as_array().unwrap().is_empty());
            let safe = |it: &Value| {
                let it = it.as_str().unwrap();
                !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-')
            };
            assert!(body.get("channel").is_none_or(safe));
        }
    }

    #[test]
    fn a_wrong_body_is_refused_for_good_and_the_words_of_200_do_not_count() {
        let sink = sink(&["email"], None, &[]);
        assert_eq!(sink.judge(200, None, b"{\"status\":\"other words"), Answered::Accepted);
        assert!(matches!(sink.judge(422, None, b"{}"), Answered::Refused { .. }));
        assert!(matches!(sink.judge(500, None, b""), Answered::Again { after: None, .. }));
    }
}
