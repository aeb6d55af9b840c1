//! `headgate/observations`: the journal page by page, for replay.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::plugins::blocking;
use crate::admin::problem::{Problem, shown};
use crate::admin::query::Query;
use crate::admin::{Admin, Call};
use crate::model::UnixMs;
use crate::store::journal::Wanted;

const LIMIT: usize = 500;
const LIMIT_MAX: usize = 2000;
/// A page ends early here: callers take no more than 4 MiB.
const PAGE_BYTES_MAX: usize = 2 << 20;
/// For the disk.
const PATIENCE: Duration = Duration::from_secs(10);

impl Admin {
    /// `next` is `null` on the last page.
    pub(super) async fn observations(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["service", "since", "after", "limit"])?;
        let now = UnixMs::now();
        let limit = query.limit(LIMIT, LIMIT_MAX)?;
        let wanted = Wanted {
            service: query.one("service")?.map(str::to_owned),
            since_ms: since(&query, now)?,
            after: query.one("after")?.map(cursor).transpose()?,
            limit,
        };
        let journal = Arc::clone(&self.parts.watched.journal);
        let reading =
            tokio::time::timeout(PATIENCE, blocking(move || page(&journal.read(&wanted), limit)));
        let (observations, next) = reading.await.map_err(|_| {
            let detail = format!("the disk gave nothing in {}s", PATIENCE.as_secs());
            Problem::new(503, "journal-not-read", "Journal cannot be read", detail).retry_after(5)
        })??;
        Ok(json!({ "now_ms": now.0, "observations": observations, "next": next }))
    }
}

/// Rows as JSON, and where the next page begins.
fn page<T: serde::Serialize>(
    rows: &[((u64, u64), T)],
    limit: usize,
) -> (Vec<Value>, Option<String>) {
    let (mut bytes, mut forms) = (0, Vec::new());
    for (_, row) in rows {
        let form = json!(row);
        bytes += form.to_string().len();
        if bytes > PAGE_BYTES_MAX && !forms.is_empty() {
            break;
        }
        forms.push(form);
    }
    let is_last = forms.len() == rows.len() && rows.len() < limit;
    let last = forms.len().checked_sub(1).and_then(|it| rows.get(it)).filter(|_| !is_last);
    (forms, last.map(|((at_ms, number), _)| format!("{at_ms}-{number}")))
}

/// Unix milliseconds, or so long ago.
fn since(query: &Query, now: UnixMs) -> Result<u64, Problem> {
    let Some(text) = query.one("since")? else { return Ok(0) };
    if let Ok(at_ms) = text.parse() {
        return Ok(at_ms);
    }
    let span = query.duration("since")?.unwrap_or_default();
    Ok(now.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

fn cursor(text: &str) -> Result<(u64, u64), Problem> {
    let parts = text
        .split_once('-')
        .and_then(|(at, number)| Some((at.parse().ok()?, number.parse().ok()?)));
    parts.ok_or_else(|| {
        let detail = format!("after={} is not the `next` of a page", shown(text));
        Problem::bad_value("after", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_by_rows_or_bytes_and_say_where_the_next_begins() {
        let rows = |count: u64, bytes: usize| {
            (0..count).map(|it| ((it, it + 7), "x".repeat(bytes))).collect::<Vec<_>>()
        };
        let counted = |count, bytes, limit| {
            let (forms, next) = page(&rows(count, bytes), limit);
            (forms.len(), next)
        };
        assert_eq!(counted(0, 1, 10), (0, None));
        assert_eq!(counted(9, 1, 10), (9, None));
        assert_eq!(counted(10, 1, 10), (10, Some("9-16".to_owned())));
        assert_eq!(counted(9, 1 << 20, 10), (1, Some("0-7".to_owned())));
        // One row that is larger than a page alone still comes.
        assert_eq!(counted(2, 3 << 20, 10), (1, Some("0-7".to_owned())));
    }

    #[test]
    fn a_page_is_named_by_its_predecessor() {
        assert_eq!(cursor("12-3").unwrap(), (12, 3));
        for bad in ["", "12", "-", "a-1", "1-2-3", "-1-2"] {
            assert!(cursor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_moment_or_a_span() {
        let now = UnixMs(100_000);
        let since = |text: &str| since(&Query::parse(Some(text)).unwrap(), now).ok();
        assert_eq!(since(""), Some(0));
        assert_eq!(since("since=5"), Some(5));
        assert_eq!(since("since=40s"), Some(60_000));
        assert_eq!(since("since=9d"), Some(0));
        assert_eq!(since("since=yesterday"), None);
    }
}
