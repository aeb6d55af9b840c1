//! Receivers of alerts: where they are, what they are told with, and that no two are the same.

use super::super::alerts::{SecretRef, SinkConfig, SinkKind};
use super::super::defaults;
use super::super::raw::Opt;
use super::super::raw_alerts::{self, Channel, Sink};
use super::super::shapes::{At, OneOrMany};
use super::super::tree::NodeId;
use super::{Cx, Wrong, urls, words};

/// Receivers of one gate: each has a task of its own.
const SINKS_MAX: usize = 64;
/// Secrets of one webhook while they are rotated.
const SECRETS_MAX: usize = 4;
/// Slack channels that a message may name.
const CHANNELS_MAX: usize = 64;

/// Names in file order, also those of receivers with mistakes, and the receivers.
pub(super) fn sinks(raw: &raw_alerts::Alerts, cx: &Cx<'_>) -> (Vec<String>, Vec<SinkConfig>) {
    let list = raw.sinks.as_ref().and_then(|at| at.value.as_deref()).unwrap_or_default();
    if let Some(at) = raw.sinks.as_ref().filter(|_| list.len() > SINKS_MAX) {
        let message = format!("there are {} sinks", list.len());
        cx.push(cx.error(at.id, message).expected(format!("at most {SINKS_MAX}")));
    }
    let (mut names, mut sinks): (Vec<String>, Vec<SinkConfig>) = (Vec::new(), Vec::new());
    for at in list {
        let Some(raw) = at.value.as_ref() else { continue };
        let says = ("name", "a name for status and metrics, for example `oncall`");
        let name = cx.required(at.id, &raw.name, says).and(raw.name.as_ref());
        let found = sink(at.id, raw, cx);
        let name = name.and_then(|at| cx.word(at, |text| sink_name(text, &names)));
        // A route to a receiver with a mistake is no second mistake.
        let given = raw.name.as_ref().and_then(|it| it.value.clone());
        names.extend(given.filter(|it| !names.contains(it)));
        let Some(kind) = found else { continue };
        if let Some(twin) = sinks.iter().find(|it| it.kind == kind) {
            let message = format!("this is the same receiver as `{}`", twin.name);
            cx.push(cx.error(at.id, message).expected("each receiver once"));
        }
        let timeout = cx.time(&raw.timeout, defaults::SINK_TIMEOUT);
        sinks.push(SinkConfig { name: name.unwrap_or_default(), kind, timeout });
    }
    (names, sinks)
}

fn sink_name(text: &str, before: &[String]) -> Result<String, Wrong> {
    if !words::is_label(text) {
        let expected = "1 to 63 of a-z, 0-9 and `-` inside, for example `oncall`";
        return Err(Wrong::new(format!("`{text}` cannot name a sink"), expected));
    }
    if before.iter().any(|it| it == text) {
        let message = format!("there are two sinks `{text}`");
        return Err(Wrong::new(message, "a name of its own for each sink"));
    }
    Ok(text.to_owned())
}

/// Exactly one of the three kinds; notes fields that belong to another.
fn sink(parent: NodeId, raw: &Sink, cx: &Cx<'_>) -> Option<SinkKind> {
    let given = [
        ("eventDispatcher", raw.event_dispatcher.as_ref()),
        ("webhook", raw.webhook.as_ref()),
        ("slack", raw.slack.as_ref()),
    ];
    let mut kinds = given.into_iter().filter_map(|(name, at)| at.map(|at| (name, at)));
    let Some((kind, at)) = kinds.next() else {
        let expected = "`eventDispatcher: URL`, `webhook: URL` or `slack: env:NAME`";
        cx.missing(parent, "eventDispatcher", expected);
        return None;
    };
    if let Some((second, at)) = kinds.next() {
        let message = format!("the sink has both `{kind}` and `{second}`");
        cx.push(cx.error(at.id, message).expected("one of them"));
        return None;
    }
    refuse_foreign(kind, raw, cx);
    match kind {
        "eventDispatcher" => dispatcher(at, raw, cx),
        "webhook" => webhook(parent, at, raw, cx),
        _ => Some(SinkKind::Slack { url: secret(at, cx)? }),
    }
}

fn refuse_foreign(kind: &str, raw: &Sink, cx: &Cx<'_>) {
    let of = [
        ("channels", raw.channels.as_ref().map(|it| it.id), "eventDispatcher"),
        ("channel", raw.channel.as_ref().map(|it| it.id), "eventDispatcher"),
        ("allowedChannels", raw.allowed_channels.as_ref().map(|it| it.id), "eventDispatcher"),
        ("secret", raw.secret.as_ref().map(|it| it.id), "webhook"),
    ];
    for (field, id, owner) in of {
        if let Some(id) = id.filter(|_| owner != kind) {
            let message = format!("`{field}` means nothing to a sink with `{kind}`");
            cx.push(cx.error(id, message).expected(format!("a sink with `{owner}`")));
        }
    }
}

fn dispatcher(at: &At<String>, raw: &Sink, cx: &Cx<'_>) -> Option<SinkKind> {
    let url = base_url(at, cx);
    let channels = channels(&raw.channels, cx);
    let channel = raw.channel.as_ref().and_then(|at| cx.word(at, slack_channel));
    let listed = raw.allowed_channels.as_ref().and_then(|at| at.value.as_ref());
    let allowed: Vec<String> = match listed {
        None => channel.clone().into_iter().collect(),
        Some(list) => list.0.iter().filter_map(|at| cx.word(at, slack_channel)).collect(),
    };
    if let Some(at) = raw.allowed_channels.as_ref().filter(|_| allowed.len() > CHANNELS_MAX) {
        let message = format!("there are {} channels", allowed.len());
        cx.push(cx.error(at.id, message).expected(format!("at most {CHANNELS_MAX}")));
    }
    if let (Some(at), Some(name)) = (&raw.channel, &channel)
        && !allowed.contains(name)
    {
        let message = format!("channel `{name}` is not among `allowedChannels`");
        cx.push(cx.error(at.id, message).expected("one of `allowedChannels`"));
    }
    Some(SinkKind::EventDispatcher { url: url?, channels, channel, allowed })
}

/// At least one: of an empty list the dispatcher makes an answer of 200 and no message.
fn channels(field: &Opt<OneOrMany<Channel>>, cx: &Cx<'_>) -> Vec<String> {
    let word = |it: Channel| match it {
        Channel::Email => String::from("email"),
        Channel::Slack => String::from("slack"),
    };
    let Some((id, list)) = field.as_ref().and_then(|at| Some((at.id, at.value.as_ref()?))) else {
        return vec![word(Channel::Email)];
    };
    if list.0.is_empty() {
        let message = "the list is empty: the dispatcher would accept every alert and tell nobody";
        cx.push(cx.error(id, message).expected("`email`, `slack` or both"));
    }
    let mut found = Vec::new();
    for at in &list.0 {
        let Some(channel) = at.value.map(word) else { continue };
        if found.contains(&channel) {
            cx.push(cx.warning(at.id, format!("`{channel}` stands here twice")));
            continue;
        }
        found.push(channel);
    }
    found
}

/// It becomes the name of a file at the dispatcher.
fn slack_channel(text: &str) -> Result<String, Wrong> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=80).contains(&text.len()) && text.bytes().all(inside) {
        return Ok(text.to_owned());
    }
    let near = text.strip_prefix('#').filter(|it| it.bytes().all(inside)).map(str::to_owned);
    let expected = "1 to 80 of letters, digits, `_` and `-`, for example `stockflow`";
    let wrong = Wrong::new(format!("`{text}` cannot name a channel"), expected);
    Err(Wrong { nearest: near, ..wrong })
}

fn webhook(parent: NodeId, at: &At<String>, raw: &Sink, cx: &Cx<'_>) -> Option<SinkKind> {
    let url = cx.word(at, urls::whole);
    if let Some(url) = &url {
        warn_open(at, url, cx);
    }
    let says = ("secret", "a reference to the secret of its signature, `env:NAME` or `file:PATH`");
    let (id, list) = cx.required(parent, &raw.secret, says)?;
    if list.0.is_empty() {
        cx.push(cx.error(id, "the list is empty").expected(says.1));
    }
    if list.0.len() > SECRETS_MAX {
        let message = format!("there are {} secrets", list.0.len());
        cx.push(cx.error(id, message).expected(format!("at most {SECRETS_MAX}")));
    }
    let mut secrets: Vec<SecretRef> = Vec::new();
    for at in &list.0 {
        let Some(one) = secret(at, cx) else { continue };
        if secrets.contains(&one) {
            cx.push(cx.error(at.id, "this secret stands here twice").expected("each once"));
        }
        secrets.push(one);
    }
    Some(SinkKind::Webhook { url: url?.text, secrets })
}

pub(super) fn secret(at: &At<String>, cx: &Cx<'_>) -> Option<SecretRef> {
    cx.word(at, |text| urls::secret_ref(text, cx.folder))
}

/// A URL without a path, and a warning when anybody on the way can read what is sent there.
pub(super) fn base_url(at: &At<String>, cx: &Cx<'_>) -> Option<String> {
    let url = cx.word(at, urls::base)?;
    warn_open(at, &url, cx);
    Some(url.text)
}

fn warn_open(at: &At<String>, url: &urls::Url, cx: &Cx<'_>) {
    if !url.is_tls && !url.is_inside() {
        let message = "what is sent there, secrets among it, can be read on the way";
        let expected = "`https://`, or an address inside the cluster or on this machine";
        cx.push(cx.warning(at.id, message).expected(expected));
    }
}
