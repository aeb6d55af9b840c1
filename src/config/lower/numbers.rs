//! Limits and time-outs: ranges outside which a value cannot be meant.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::super::quantity::{Bytes, OrNone, Span};
use super::super::raw::{self, Opt};
use super::super::tree::NodeId;
use super::super::{Limits, Maintenance, Timeouts, defaults, units};
use super::Cx;

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

impl Cx<'_> {
    /// A duration from 1ms to one day.
    pub(super) fn time(&self, field: &Opt<Span>, default: Duration) -> Duration {
        self.time_within(field, (MILLISECOND, DAY), default)
    }

    pub(super) fn time_within(
        &self,
        field: &Opt<Span>,
        range: (Duration, Duration),
        default: Duration,
    ) -> Duration {
        let Some((id, span)) = field.as_ref().and_then(|it| it.value.map(|span| (it.id, span)))
        else {
            return default;
        };
        self.time_in(id, span.0, range);
        span.0
    }

    fn time_in(&self, id: NodeId, it: Duration, (least, most): (Duration, Duration)) {
        if it < least || it > most {
            let message = match it {
                Duration::ZERO => String::from("a time of zero would never let anything pass"),
                _ => format!("`{}` is out of range", units::duration(it)),
            };
            let (least, most) = (units::duration(least), units::duration(most));
            self.push(self.error(id, message).expected(format!("from `{least}` to `{most}`")));
        }
    }

    /// A duration from 1ms to one day, or no limit.
    pub(super) fn time_or_none(
        &self,
        field: &Opt<OrNone<Span>>,
        most: Duration,
    ) -> Option<Duration> {
        let at = field.as_ref()?;
        let span = at.value?.0?;
        self.time_in(at.id, span.0, (MILLISECOND, most));
        Some(span.0)
    }

    /// A number within a range.
    pub(super) fn count(&self, field: &Opt<u64>, range: (u64, u64), default: usize) -> usize {
        let Some((id, it)) = field.as_ref().and_then(|it| it.value.map(|n| (it.id, n))) else {
            return default;
        };
        if it < range.0 || it > range.1 {
            let expected = format!("from {} to {}", range.0, range.1);
            self.push(self.error(id, format!("{it} is out of range")).expected(expected));
        }
        usize::try_from(it).unwrap_or(default)
    }

    /// A small number within a range.
    pub(super) fn small(&self, field: &Opt<u64>, range: (u64, u64), default: u32) -> u32 {
        let default_size = usize::try_from(default).unwrap_or(usize::MAX);
        u32::try_from(self.count(field, range, default_size)).unwrap_or(default)
    }

    fn size(&self, field: &Opt<Bytes>, range: (u64, u64), default: usize) -> usize {
        let Some((id, it)) = field.as_ref().and_then(|it| it.value.map(|n| (it.id, n.0))) else {
            return default;
        };
        if it < range.0 || it > range.1 {
            let (least, most) = (units::size(range.0), units::size(range.1));
            let message = format!("`{}` is out of range", units::size(it));
            self.push(self.error(id, message).expected(format!("from `{least}` to `{most}`")));
        }
        usize::try_from(it).unwrap_or(default)
    }
}

/// A day: the longest time-out that can be meant.
pub(super) const LONGEST: Duration = DAY;

pub(super) fn cores(raw: &raw::Document, cx: &Cx<'_>) -> Option<NonZeroUsize> {
    let at = raw.cores.as_ref()?;
    let count = at.value?;
    if !(1..=1024).contains(&count) {
        cx.push(cx.error(at.id, format!("{count} is out of range")).expected("from 1 to 1024"));
    }
    usize::try_from(count).ok().and_then(NonZeroUsize::new)
}

pub(super) fn limits(raw: &raw::Document, cx: &Cx<'_>) -> Limits {
    let default = defaults::LIMITS;
    let Some(limits) = raw.limits.as_ref().and_then(|it| it.value.as_ref()) else { return default };
    let head_bytes = cx.size(&limits.head_bytes, (1 << 10, 1 << 20), default.head_bytes);
    // A head that is made smaller takes the default of the target with it.
    let target_default = default.target_bytes.min(head_bytes);
    let target_bytes = cx.size(&limits.target_bytes, (64, 1 << 20), target_default);
    if let Some(at) = limits.target_bytes.as_ref().filter(|_| target_bytes > head_bytes) {
        let message = "a target may be larger than the head that holds it";
        cx.push(cx.error(at.id, message).expected("`targetBytes` at most `headBytes`"));
    }
    let bad_keys = cx.count(&limits.bad_keys_per_minute, (1, 100_000), 0);
    let rate = limits.min_body_rate.as_ref().and_then(|it| it.value);
    Limits {
        connections: cx.count(&limits.connections, (1, 1_000_000), default.connections),
        head_bytes,
        // httparse is given room for 100 fields.
        head_fields: cx.count(&limits.head_fields, (1, 100), default.head_fields),
        target_bytes,
        response_head_bytes: cx.size(
            &limits.response_head_bytes,
            (1 << 10, 1 << 20),
            default.response_head_bytes,
        ),
        bad_keys_per_minute: match bad_keys {
            0 => default.bad_keys_per_minute,
            some => u32::try_from(some).unwrap_or(u32::MAX),
        },
        min_body_rate: rate.map_or(default.min_body_rate, |it| it.0.map_or(0, |bytes| bytes.0)),
        min_rate_grace: cx.time(&limits.min_rate_grace, default.min_rate_grace),
    }
}

pub(super) fn timeouts(raw: &raw::Document, cx: &Cx<'_>) -> Timeouts {
    let default = defaults::TIMEOUTS;
    let Some(times) = raw.timeouts.as_ref().and_then(|it| it.value.as_ref()) else {
        return default;
    };
    // A drain of nothing is a way to say "stop at once".
    let at_once = (Duration::ZERO, DAY);
    Timeouts {
        head: cx.time(&times.head, default.head),
        body_stall: cx.time(&times.body_stall, default.body_stall),
        write_stall: cx.time(&times.write_stall, default.write_stall),
        idle: cx.time(&times.idle, default.idle),
        drain_accept: cx.time_within(&times.drain_accept, at_once, default.drain_accept),
        drain: cx.time_within(&times.drain, at_once, default.drain),
    }
}

pub(super) fn maintenance(raw: &raw::Document, cx: &Cx<'_>) -> Maintenance {
    let default = defaults::MAINTENANCE;
    let Some(it) = raw.maintenance.as_ref().and_then(|it| it.value.as_ref()) else {
        return default;
    };
    let status = cx.or(&it.status, default.status);
    if let Some(at) = it.status.as_ref().filter(|_| ![200, 503].contains(&status)) {
        let message = format!("maintenance cannot be answered with {status}");
        cx.push(cx.error(at.id, message).expected("503, or 200 for strict compatibility"));
    }
    // `Retry-After` counts whole seconds.
    let seconds = (Duration::from_secs(1), DAY);
    Maintenance {
        status,
        retry_after: cx.time_within(&it.retry_after, seconds, default.retry_after),
        max_ttl: cx.time_or_none(&it.max_ttl, YEAR),
    }
}
