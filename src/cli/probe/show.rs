//! What was seen and what is thought of it, for people and for tools.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::incidents::seen;
use crate::cli::probe::look::Looked;
use crate::cli::telling::{clean, table, word};

/// A line a service, and below it a line an endpoint.
pub(super) fn text(out: &mut impl Write, looked: &[Looked]) -> std::io::Result<()> {
    for it in looked {
        match &it.verdict {
            Some(verdict) => {
                let detail = clean(&verdict.detail);
                writeln!(
                    out,
                    "{}: {} {}: {detail}",
                    it.service,
                    word(&verdict.status),
                    clean(&verdict.code)
                )?;
            }
            None => writeln!(out, "{}: not probed", it.service)?,
        }
        if let Some(note) = &it.note {
            writeln!(out, "  note: {}", clean(note))?;
        }
        if it.tries > 1 {
            writeln!(out, "  looked {} times; the last time:", it.tries)?;
        }
        let rows: Vec<Vec<String>> = it
            .endpoints
            .iter()
            .map(|(address, sample)| std::iter::once(clean(address)).chain(seen(sample)).collect())
            .collect();
        table(out, "  ", &rows)?;
    }
    Ok(())
}

/// One document.
pub(super) fn json(looked: &[Looked]) -> Value {
    let services = looked.iter().map(|it| {
        let endpoints = it.endpoints.iter().map(|(address, sample)| json!({ "address": address, "sample": sample }));
        let verdict = it.verdict.as_ref().map(|it| {
            json!({ "status": it.status, "code": it.code, "detail": it.detail, "actions": it.actions })
        });
        json!({
            "service": it.service,
            "verdict": verdict,
            "by": it.by,
            "note": it.note,
            "tries": it.tries,
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    json!({ "services": services.collect::<Vec<_>>() })
}
