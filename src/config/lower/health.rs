//! How services are watched: hysteresis, flapping, labels.

use super::super::health::{Flap, Probe, ProbeKind, Watching};
use super::super::raw::{self, Opt};
use super::super::raw_health::{self, Health, Loudness};
use super::super::shapes::{At, Pairs};
use super::super::{Service, defaults};
use super::{Cx, Wrong, probe, words};
use crate::model::Coverage;
use crate::model::health::Severity;

/// Verdicts in a row that can be asked for.
const ROW_MAX: u64 = 100;
/// Labels of one service.
const LABELS_MAX: usize = 32;
/// Bytes of a label.
const LABEL_BYTES_MAX: usize = 1024;

/// How this service is watched; `service` has its upstreams and its coverage already.
pub(super) fn watching(
    raw: &raw::Service,
    service: &Service,
    prefix: &str,
    cx: &Cx<'_>,
) -> Watching {
    let default = defaults::WATCHING;
    let Some(health) = raw.health.as_ref().and_then(|it| it.value.as_ref()) else { return default };
    let probe = health.probe.as_ref().and_then(|at| probe::probe(at, prefix, cx));
    let passes = cx.or(&health.passes_in_maintenance, false);
    if passes {
        check_passing(health, probe.as_ref(), service.coverage, cx);
    }
    Watching {
        probe,
        rise: cx.small(&health.rise, (1, ROW_MAX), default.rise),
        fall: cx.small(&health.fall, (1, ROW_MAX), default.fall),
        flap: flap(&health.flap, cx),
        severity: severity(&health.severity, default.severity),
        namespace: health.namespace.as_ref().and_then(|at| cx.word(at, namespace)),
        follows_maintenance: cx.or(&health.follows_maintenance, false),
        passes_in_maintenance: passes,
        labels: health.labels.as_ref().map_or_else(Vec::new, |at| labels(at, cx)),
    }
}

/// What passes is the path of an HTTP probe, and only a covered service has anything to pass through.
fn check_passing(health: &Health, probe: Option<&Probe>, coverage: Coverage, cx: &Cx<'_>) {
    let Some(at) = &health.passes_in_maintenance else { return };
    let is_http = probe.is_some_and(|it| matches!(it.kind, ProbeKind::Http(_)));
    // A probe with a mistake may well be one.
    let is_bad = health.probe.is_some() && probe.is_none();
    if !is_http && !is_bad {
        let message = "there is no path that could pass: the service has no HTTP probe";
        cx.push(cx.error(at.id, message).expected("a `probe` with a path beside it"));
    } else if coverage == Coverage::Exempt {
        let message = "the service is exempt from maintenance: all of it passes";
        cx.push(cx.warning(at.id, message).expected("`maintenance: covered`, or not this field"));
    }
}

pub(super) fn severity(field: &Opt<Loudness>, default: Severity) -> Severity {
    let given = field.as_ref().and_then(|it| it.value);
    given.map_or(default, |it| match it {
        Loudness::Info => Severity::Info,
        Loudness::Warning => Severity::Warning,
        Loudness::Critical => Severity::Critical,
    })
}

fn flap(field: &Opt<raw_health::Flap>, cx: &Cx<'_>) -> Flap {
    let default = defaults::WATCHING.flap;
    let Some(at) = field else { return default };
    let Some(raw) = at.value.as_ref() else { return default };
    let high = cx.small(&raw.high, (1, 100), default.high);
    // A `high` that is made smaller takes the default of `low` with it.
    let low = cx.small(&raw.low, (1, 99), default.low.min(high / 2).max(1));
    if low >= high {
        let id = raw.low.as_ref().or(raw.high.as_ref()).map_or(at.id, |it| it.id);
        let message = format!("it would settle and flap at once: {low} is not below {high}");
        cx.push(cx.error(id, message).expected("`low` below `high`"));
    }
    Flap { window: cx.small(&raw.window, (4, 64), default.window), high, low }
}

fn namespace(text: &str) -> Result<String, Wrong> {
    if words::is_label(text) {
        return Ok(text.to_owned());
    }
    let expected = "1 to 63 of a-z, 0-9 and `-` inside, for example `dev`";
    Err(Wrong::new(format!("`{text}` cannot name a namespace"), expected))
}

fn labels(at: &At<Pairs>, cx: &Cx<'_>) -> Vec<(String, String)> {
    let Some(pairs) = at.value.as_ref() else { return Vec::new() };
    if pairs.0.0.len() > LABELS_MAX {
        let message = format!("there are {} labels", pairs.0.0.len());
        cx.push(cx.error(at.id, message).expected(format!("at most {LABELS_MAX}")));
    }
    pairs.0.0.iter().filter_map(|(name, value)| label(name, value, cx)).collect()
}

fn label(name: &At<String>, value: &At<String>, cx: &Cx<'_>) -> Option<(String, String)> {
    let read_name = |text: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        if (1..=63).contains(&text.len()) && text.bytes().all(inside) {
            return Ok(text.to_owned());
        }
        let expected = "1 to 63 of letters, digits, `.`, `_`, `-` and `/`";
        Err(Wrong::new("this cannot name a label", expected))
    };
    let read_value = |text: &str| {
        if text.len() <= LABEL_BYTES_MAX && !text.contains(char::is_control) {
            return Ok(text.to_owned());
        }
        let expected = format!("one line of at most {LABEL_BYTES_MAX} bytes");
        Err(Wrong::new("this cannot be a label", expected))
    };
    // The text of a mapping's key stands in the tree.
    let key = At { id: name.id, value: Some(cx.tree.text(name.id).to_owned()) };
    let (name, value) = (cx.word(&key, read_name), cx.word(value, read_value));
    name.zip(value)
}
