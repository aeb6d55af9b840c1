//! Looks at everything that a guest hands over before anything of the gate uses it.
//!
//! The component model promises types, not sense. What breaks the contract of the WIT is refused, never cut: a cut answer
//! would be one that nobody gave.

use std::collections::HashSet;

use crate::model::alert::Message;
use crate::model::health::{Action, AlertProposal, Extension, Verdict, Window};
use crate::plugin::host::bindings as wit;
use crate::plugin::host::words::{escaped, is_unfit};
use crate::plugin::{Check, Fault, Issue};

/// Bytes of a text, where nothing else is said.
pub(super) const TEXT_BYTES: usize = 4 * 1024;
const CODE_BYTES: usize = 48;
const ACTIONS: usize = 16;
const ISSUES: usize = 64;
const CHANNELS: usize = 8;
const CHANNEL_BYTES: usize = 64;
const STATE_BYTES: usize = 64 * 1024;
const DEDUP_KEY_BYTES: usize = 256;
const PAIRS: usize = 32;
const KEY_BYTES: usize = 64;
/// A value of a message may be Slack's blocks.
const MESSAGE_VALUE_BYTES: usize = 64 * 1024;
const CHECKS: usize = 256;
/// Milliseconds: once a second to once a day. The service's own interval is the upper bound; whoever knows it keeps it.
const NEXT_CHECK_MS: (u32, u32) = (1_000, 86_400_000);

pub(super) type Checked<T> = Result<T, Fault>;

/// An answer that breaks the contract.
pub(super) fn invalid<T>(what: impl Into<String>) -> Checked<T> {
    Err(Fault::Invalid { what: what.into() })
}

/// The guest's own error, fit to be shown.
pub(super) fn failed(message: &str) -> Fault {
    Fault::Failed { message: escaped(message, TEXT_BYTES) }
}

/// A verdict about this window.
pub(super) fn verdict(verdict: wit::Verdict, window: &Window) -> Checked<Verdict> {
    slug("code", &verdict.code)?;
    text("detail", &verdict.detail, TEXT_BYTES)?;
    most("actions", verdict.actions.len(), ACTIONS)?;
    most("bytes of state", verdict.state.as_ref().map_or(0, Vec::len), STATE_BYTES)?;
    pairs("extra", &verdict.extra, TEXT_BYTES)?;
    let namespace = window.service.namespace.as_deref();
    let actions = verdict.actions.into_iter().map(|it| action(it, namespace));
    Ok(Verdict {
        status: verdict.status.into(),
        code: verdict.code,
        detail: verdict.detail,
        actions: actions.collect::<Checked<_>>()?,
        next_check_ms: verdict.next_check_ms.map(|it| it.clamp(NEXT_CHECK_MS.0, NEXT_CHECK_MS.1)),
        state: verdict.state,
        extra: verdict.extra,
    })
}

fn action(action: wit::Action, namespace: Option<&str>) -> Checked<Action> {
    match action {
        wit::Action::Snapshot(of) if Some(of.as_str()) == namespace => Ok(Action::Snapshot(of)),
        wit::Action::Snapshot(of) => {
            invalid(format!("a snapshot of {:?}, not of the service's namespace", short(&of)))
        }
        wit::Action::Alert(alert) => {
            texts("issues of an alert", &alert.issues, 0..=ISSUES)?;
            channels(&alert.channels)?;
            let wit::Alert { severity, issues, channels } = alert;
            Ok(Action::Alert(AlertProposal { severity: severity.into(), issues, channels }))
        }
        wit::Action::Ext(wit::Extension { kind, params }) => {
            slug("kind of an action", &kind)?;
            pairs("parameters of an action", &params, TEXT_BYTES)?;
            Ok(Action::Ext(Extension { kind, params }))
        }
    }
}

/// A message for the sinks.
pub(super) fn message(message: wit::Message) -> Checked<Message> {
    texts("issues", &message.issues, 1..=ISSUES)?;
    channels(&message.channels)?;
    message.channel.as_deref().map_or(Ok(()), channel)?;
    message.dedup_key.as_deref().map_or(Ok(()), |it| text("dedup-key", it, DEDUP_KEY_BYTES))?;
    pairs("extra", &message.extra, MESSAGE_VALUE_BYTES)?;
    let wit::Message { issues, channels, channel, dedup_key, extra } = message;
    Ok(Message { issues, channels, channel, dedup_key, extra })
}

/// What is wrong with settings, by `configure`; for people, so it is made fit rather than refused.
pub(super) fn issues(issues: Vec<wit::Issue>) -> Checked<Vec<Issue>> {
    most("issues", issues.len(), ISSUES)?;
    let shown = |it: wit::Issue| Issue {
        path: escaped(&it.path, TEXT_BYTES),
        message: escaped(&it.message, TEXT_BYTES),
    };
    Ok(issues.into_iter().map(shown).collect())
}

/// The results of a self-test.
pub(super) fn checks(checks: Vec<wit::Check>) -> Checked<Vec<Check>> {
    if checks.is_empty() {
        return invalid("a self-test without a case");
    }
    most("cases of a self-test", checks.len(), CHECKS)?;
    let mut names = HashSet::new();
    for check in &checks {
        text("name of a case", &check.name, TEXT_BYTES)?;
        if !names.insert(&check.name) {
            return invalid(format!("two cases with the name {:?}", short(&check.name)));
        }
    }
    let shown = |it: wit::Check| Check {
        name: it.name,
        passed: it.passed,
        message: escaped(&it.message, TEXT_BYTES),
    };
    Ok(checks.into_iter().map(shown).collect())
}

/// `[a-z0-9-]{1,48}`.
fn slug(what: &str, value: &str) -> Checked<()> {
    let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    if (1..=CODE_BYTES).contains(&value.len()) && value.bytes().all(fits) {
        return Ok(());
    }
    invalid(format!("a {what} that is not [a-z0-9-]{{1,48}}: {:?}", short(value)))
}

/// `[A-Za-z0-9_-]{1,64}`.
fn channel(value: &str) -> Checked<()> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    if (1..=CHANNEL_BYTES).contains(&value.len()) && value.bytes().all(fits) {
        return Ok(());
    }
    invalid(format!("a channel that is not [A-Za-z0-9_-]{{1,64}}: {:?}", short(value)))
}

fn channels(values: &[String]) -> Checked<()> {
    most("channels", values.len(), CHANNELS)?;
    for (number, value) in values.iter().enumerate() {
        channel(value)?;
        if values.iter().take(number).any(|it| it == value) {
            return invalid(format!("the channel {:?} twice", short(value)));
        }
    }
    Ok(())
}

/// One line of text.
pub(super) fn text(what: &str, value: &str, bytes_max: usize) -> Checked<()> {
    most(&format!("bytes of {what}"), value.len(), bytes_max)?;
    match value.chars().find(|it| is_unfit(*it)) {
        Some(char) => invalid(format!("a control character ({}) in {what}", char.escape_default())),
        None => Ok(()),
    }
}

/// Lines of an alert: none empty; a line break or tabulator is part of the text.
fn texts(what: &str, values: &[String], number: std::ops::RangeInclusive<usize>) -> Checked<()> {
    if values.len() < *number.start() {
        return invalid(format!("no {what}"));
    }
    most(what, values.len(), *number.end())?;
    for value in values {
        most(&format!("bytes in one of the {what}"), value.len(), TEXT_BYTES)?;
        if value.trim().is_empty() {
            return invalid(format!("an empty one among the {what}"));
        }
        let unfit = |it: &char| is_unfit(*it) && !matches!(it, '\n' | '\t');
        if let Some(char) = value.chars().find(unfit) {
            let char = char.escape_default();
            return invalid(format!("a control character ({char}) in one of the {what}"));
        }
    }
    Ok(())
}

/// Open-ended pairs. Values may hold anything: who knows a key knows what its value may be.
pub(super) fn pairs(what: &str, pairs: &wit::Pairs, value_bytes: usize) -> Checked<()> {
    most(what, pairs.len(), PAIRS)?;
    for (key, value) in pairs {
        text(&format!("a key of {what}"), key, KEY_BYTES)?;
        most(&format!("bytes of a value of {what}"), value.len(), value_bytes)?;
    }
    Ok(())
}

pub(super) fn most(what: &str, number: usize, most: usize) -> Checked<()> {
    if number <= most { Ok(()) } else { invalid(format!("{number} {what}, of at most {most}")) }
}

/// Enough of a value to find it by.
pub(super) fn short(value: &str) -> String {
    escaped(value, CHANNEL_BYTES)
}

#[cfg(test)]
mod tests;
