//! `headgate/incidents`: what was and is wrong with services, in short, and one with everything that is known of it.

use serde_json::{Value, json};

use crate::admin::problem::{Problem, shown};
use crate::admin::query::Query;
use crate::admin::{Admin, Call};

const LIMIT: usize = 50;
const LIMIT_MAX: usize = 1000;

impl Admin {
    /// Without timelines and evidence, which one incident's answer has.
    pub(super) fn incidents(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["service", "open", "limit"])?;
        let (service, open) = (query.one("service")?, query.flag("open")?);
        let limit = query.limit(LIMIT, LIMIT_MAX)?;
        // A service that the config has no more may have incidents, so any name is taken.
        let mut found = self.parts.watched.book.incidents();
        found.retain(|it| service.is_none_or(|name| it.service.name == name));
        found.retain(|it| open.is_none_or(|open| it.resolved_ms.is_none() == open));
        let running = found.iter().filter(|it| it.resolved_ms.is_none()).count();
        let forms = found.iter().take(limit).map(|it| {
            let mut form = json!(it.as_ref());
            if let Some(form) = form.as_object_mut() {
                form.remove("timeline");
                form.remove("evidence");
            }
            form
        });
        Ok(json!({
            "incidents": forms.collect::<Vec<_>>(),
            "open": running,
            "total": found.len(),
        }))
    }

    pub(super) fn incident(&self, call: &Call, id: &str) -> Result<Value, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        match self.parts.watched.book.get(id) {
            Some(it) => Ok(json!({ "incident": it })),
            None => Err(unknown_incident(id)),
        }
    }
}

pub(super) fn unknown_incident(id: &str) -> Problem {
    let detail =
        format!("there is no incident {}; headgate/incidents lists those that are kept", shown(id));
    Problem::new(404, "unknown-incident", "No such incident", detail)
}
