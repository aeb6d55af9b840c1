//! Slack's incoming webhooks: text always, blocks where the formatter made some, within Slack's limits.
//!
//! Blocks that Slack does not take (400 `invalid_blocks` and others) are left away, and the text goes at once: an alert in
//! plain words is better than none. Limits: <https://docs.slack.dev/reference/block-kit/blocks>.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use crate::alert::outbox::Parcel;
use crate::alert::sinks::{Call, Sink, phase_word};
use crate::config::secret::Secret;
use crate::generation::alerting::{LiveKind, LiveSink};
use crate::model::alert::Event;
use crate::model::health::Severity;

/// Characters of the text; Slack cuts what is longer.
const TEXT_MAX: usize = 40_000;
const BLOCKS_MAX: usize = 50;
/// Characters of a section's text, and of a context's.
const SECTION_MAX: usize = 3000;
/// Characters of a section's field.
const FIELD_MAX: usize = 2000;
/// Characters of a header.
const HEADER_MAX: usize = 150;

/// One incoming webhook.
#[derive(Debug)]
pub struct Slack {
    name: String,
    timeout: Duration,
    url: Option<Arc<Secret>>,
}

impl Slack {
    /// Of a sink of this kind; of another kind it would have no URL.
    pub fn new(live: &LiveSink) -> Self {
        let url = match &live.kind {
            LiveKind::Slack { url } => Some(Arc::clone(url)),
            LiveKind::EventDispatcher { .. } | LiveKind::Webhook { .. } => None,
        };
        Self { name: live.name.clone(), timeout: live.timeout, url }
    }

    fn with(&self, body: &Value) -> Result<Call, String> {
        let url = self.url.as_ref().and_then(|it| std::str::from_utf8(it.expose()).ok());
        let url = url.ok_or("the URL in its secret is not text; mend it, then retry")?;
        let body = body.to_string().into_bytes();
        Ok(Call { url: SecretString::from(url), headers: Vec::new(), body })
    }
}

fn extra<'p>(parcel: &'p Parcel, name: &str) -> Option<&'p str> {
    let found = parcel.message.extra.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).filter(|it| !it.trim().is_empty())
}

/// The formatter's own text, which is `mrkdwn` already, or one made of what happened.
fn text(parcel: &Parcel) -> String {
    match extra(parcel, "slack-text") {
        Some(own) => cut(own, TEXT_MAX),
        None => cut(&words(parcel), TEXT_MAX),
    }
}

fn words(parcel: &Parcel) -> String {
    let Event { severity, service, gateway, detail, snapshot_id, .. } = &parcel.event;
    let severity = match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let gateway = if gateway.is_empty() { "headgate" } else { gateway };
    let (gateway, service) = (escape(gateway), escape(&service.name));
    let mut text = format!("*{service}* {} ({severity}) | {gateway}", phase_word(parcel.phase));
    for issue in &parcel.message.issues {
        text.push_str(&format!("\n• {}", escape(issue)));
    }
    if !detail.is_empty() {
        text.push_str(&format!("\n{}", escape(detail)));
    }
    if let Some(file) = snapshot_id {
        text.push_str(&format!("\nsnapshot: {}", escape(file)));
    }
    text
}

/// Three characters are control characters of `mrkdwn`: a service's own words must not call a channel (`<!channel>`).
fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// At most `most` characters, never ending within an entity.
fn cut(text: &str, most: usize) -> String {
    let Some((at, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(at, |(it, _)| it);
    let kept = text.get(..end).unwrap_or_default();
    let open = kept.rfind('&').filter(|it| kept.len() - it <= 5 && !kept[*it..].contains(';'));
    let kept = open.and_then(|it| kept.get(..it)).unwrap_or(kept);
    format!("{kept}…")
}

/// The formatter's blocks, if Slack could take them: a list of at most 50 objects.
fn blocks(parcel: &Parcel) -> Option<Value> {
    let mut blocks: Vec<Value> = serde_json::from_str(extra(parcel, "slack-blocks")?).ok()?;
    let fit = (1..=BLOCKS_MAX).contains(&blocks.len()) && blocks.iter().all(Value::is_object);
    fit.then(|| {
        blocks.iter_mut().for_each(cut_block);
        Value::Array(blocks)
    })
}

fn cut_block(block: &mut Value) {
    let is_header = block["type"] == "header";
    cut_text(block.get_mut("text"), if is_header { HEADER_MAX } else { SECTION_MAX });
    for field in block.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
        cut_text(Some(field), FIELD_MAX);
    }
    if block["type"] == "context" {
        for part in block.get_mut("elements").and_then(Value::as_array_mut).into_iter().flatten() {
            cut_text(Some(part), SECTION_MAX);
        }
    }
}

/// A text object: `{"type": "mrkdwn", "text": "..."}`.
fn cut_text(object: Option<&mut Value>, most: usize) {
    if let Some(Value::String(text)) = object.and_then(|it| it.get_mut("text")) {
        *text = cut(text, most);
    }
}

impl Sink for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "slack"
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn call(&self, parcel: &Parcel, _: u64) -> Result<Call, String> {
        match blocks(parcel) {
            Some(blocks) => self.with(&json!({ "text": text(parcel), "blocks": blocks })),
            None => self.with(&json!({ "text": text(parcel) })),
        }
    }

    fn plainer(&self, parcel: &Parcel, status: u16) -> Option<Call> {
        let had_blocks = status == 400 && blocks(parcel).is_some();
        had_blocks.then(|| self.with(&json!({ "text": text(parcel) })).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::{Slack, cut};
    use crate::alert::outbox::Parcel;
    use crate::alert::sinks::tests::parcel;
    use crate::alert::sinks::{Answered, Sink as _};
    use crate::config::secret::Secret;
    use crate::generation::alerting::{LiveKind, LiveSink};
    use crate::model::alert::Phase;
    use proptest::prelude::{any, proptest};
    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;

    const URL: &str = "https://hooks.slack.example/services/T0/B0/hunter2";

    fn sink() -> Slack {
        Slack::new(&LiveSink {
            name: String::from("slack"),
            timeout: Duration::from_secs(10),
            kind: LiveKind::Slack { url: Arc::new(Secret::new(URL.as_bytes().to_vec())) },
        })
    }

    fn with(extra: &[(&str, &str)]) -> Parcel {
        let mut parcel = parcel("slack", 1, "i", Phase::Opened);
        let owned = extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        parcel.message.extra = owned.collect();
        parcel
    }

    fn body(parcel: &Parcel) -> Value {
        serde_json::from_slice(&sink().call(parcel, 0).unwrap().body).unwrap()
    }

    #[test]
    fn without_words_of_the_formatter_there_are_some_and_they_call_nobody() {
        let mut parcel = with(&[]);
        parcel.message.issues = vec![String::from("a & b <!channel>")];
        assert_eq!(
            body(&parcel),
            json!({ "text": "*signal-engine* opened (critical) | edge\n\
                • a &amp; b &lt;!channel&gt;\nno answer in 6 s" })
        );
    }

    #[test]
    fn the_formatter_s_words_go_as_they_are() {
        let parcel = with(&[
            ("slack-text", "*down* <https://x|look>"),
            ("slack-blocks", r#"[{"type":"divider"}]"#),
        ]);
        let text = "*down* <https://x|look>";
        assert_eq!(body(&parcel), json!({ "text": text, "blocks": [{ "type": "divider" }] }));
    }

    #[test]
    fn blocks_that_slack_could_not_take_are_left_away() {
        let many = Value::Array(vec![json!({ "type": "divider" }); 51]).to_string();
        for blocks in ["", "{}", "[]", "[1]", "[{", &many] {
            let parcel = with(&[("slack-blocks", blocks)]);
            assert!(body(&parcel).get("blocks").is_none(), "{blocks:.20}");
            assert!(sink().plainer(&parcel, 400).is_none());
        }
    }

    #[test]
    fn long_words_are_cut_where_slack_s_limits_are() {
        let long = "ö".repeat(5000);
        let blocks = json!([
            { "type": "header", "text": { "type": "plain_text", "text": long } },
            { "type": "section", "text": { "type": "mrkdwn", "text": long },
              "fields": [{ "type": "mrkdwn", "text": long }] },
            { "type": "context", "elements": [{ "type": "mrkdwn", "text": long }] },
        ]);
        let text = "x".repeat(50_000);
        let parcel = with(&[("slack-text", &text), ("slack-blocks", &blocks.to_string())]);
        let body = body(&parcel);
        let length = |at: &str| body.pointer(at).unwrap().as_str().unwrap().chars().count();
        for (at, most) in [
            ("/text", 40_000),
            ("/blocks/0/text/text", 150),
            ("/blocks/1/text/text", 3000),
            ("/blocks/1/fields/0/text", 2000),
            ("/blocks/2/elements/0/text", 3000),
        ] {
            assert_eq!(length(at), most, "{at}");
        }
    }

    #[test]
    fn refused_blocks_leave_the_text() {
        let parcel = with(&[("slack-blocks", r#"[{"type":"nonsense"}]"#)]);
        let judged = sink().judge(400, None, b"invalid_blocks");
        assert_eq!(
            judged,
            Answered::Refused { reason: String::from("it answered 400: invalid_blocks") }
        );
        let plainer = sink().plainer(&parcel, 400).unwrap();
        let body: Value = serde_json::from_slice(&plainer.body).unwrap();
        assert!(body.get("text").is_some() && body.get("blocks").is_none());
        assert!(sink().plainer(&parcel, 404).is_none(), "no_service is for good");
    }

    #[test]
    fn the_url_does_not_print() {
        let call = sink().call(&with(&[]), 0).unwrap();
        assert_eq!(call.url.expose_secret(), URL);
        assert!(!format!("{:?}{call:?}", sink()).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn a_cut_is_no_longer_than_asked(text in "[a&;öß]{0,40}", most in 1_usize..30) {
            let short = cut(&text, most);
            assert!(short.chars().count() <= most);
            assert!(text.chars().count() > most || short == text);
        }

        #[test]
        fn no_blocks_panic(blocks in any::<String>()) {
            body(&with(&[("slack-blocks", &blocks), ("slack-text", &blocks)]));
        }
    }

    #[test]
    fn no_entity_is_cut_in_two() {
        for most in 1..12 {
            let short = cut("ab &amp; c &lt; d", most);
            let tail = short.rsplit('&').next().unwrap();
            assert!(!short.contains('&') || tail.contains(';'), "{short}");
        }
    }
}
