//! `headgate/…`: what is live, who may, what happened; and the reload.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::{Admin, Call, NotReloaded};
use crate::generation::reload::is_error;
use crate::maintenance::audit::{Action, Entry};
use crate::maintenance::switch::chain;
use crate::model::UnixMs;

const AUDIT_PATIENCE: Duration = Duration::from_secs(10);
const AUDIT_DEFAULT: usize = 50;
const AUDIT_MAX: usize = 1000;

impl Admin {
    pub(super) fn config(&self, call: &Call) -> Result<Value, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        let gate = self.parts.live.load();
        let status = self.parts.reload.as_ref().map(|it| it.status());
        let last = status.as_ref().and_then(|it| it.last.as_ref());
        let error = last
            .filter(|it| !it.refused.is_empty())
            .map(|it| json!({ "at": it.at.rfc3339(), "trigger": it.trigger.word(), "findings": it.refused }));
        Ok(json!({
            "generation": gate.generation.number,
            "hash": gate.generation.hash,
            "since": status.as_ref().map(|it| it.since.rfc3339()),
            "last_attempt": last.map(|it| it.at.rfc3339()),
            "last_error": error,
            "warnings": status.as_ref().map_or(&[][..], |it| &it.warnings),
        }))
    }

    pub(super) async fn reload(&self, call: &Call) -> Result<Value, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        let Some(reload) = &self.parts.reload else {
            return Err(unavailable("this gate runs without a config that could be read again"));
        };
        let done = reload.reload().await.map_err(not_reloaded)?;
        let entry = Entry {
            request_id: Some(call.request_id.clone()),
            changed: done.changed,
            ..Entry::new(Action::ConfigReload, &call.actor, UnixMs::now())
        };
        let warning = self.parts.switch.record(entry).await;
        Ok(json!({
            "generation": done.number,
            "hash": done.hash,
            "changed": done.changed,
            "warnings": done.warnings,
            "audit_warning": warning,
        }))
    }

    /// Names and validity, never a digest: that of a short key could be searched for.
    pub(super) fn keys(&self, call: &Call) -> Result<Value, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        let now = UnixMs::now();
        let gate = self.parts.live.load();
        let uses = (self.parts.key_uses)();
        let keys = gate.generation.keyring.entries().iter().map(|it| {
            let used = uses.iter().find(|used| used.name == it.name);
            json!({
                "name": it.name,
                "scopes": it.scopes,
                "valid": it.valid(now),
                "not_before": it.not_before.map(UnixMs::rfc3339),
                "expires_at": it.expires_at.map(UnixMs::rfc3339),
                "last_used": used.map(|it| it.last.rfc3339()),
                "uses": used.map_or(0, |it| it.count),
            })
        });
        Ok(json!({ "keys": keys.collect::<Vec<_>>() }))
    }

    pub(super) async fn audit(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["limit"])?;
        let limit = match query.one("limit")? {
            None => AUDIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|it| (1..=AUDIT_MAX).contains(it))
                .ok_or_else(|| Problem::bad_value("limit", "a number from 1 to 1000"))?,
        };
        let unread = |detail: String| {
            Problem::new(500, "audit-not-read", "Audit file cannot be read", detail)
        };
        let entries = tokio::time::timeout(AUDIT_PATIENCE, self.parts.switch.audit(limit))
            .await
            .map_err(|_| unread(format!("the disk gave nothing in {}s", AUDIT_PATIENCE.as_secs())))?
            .map_err(|error| unread(chain(&error)))?;
        Ok(json!({ "entries": entries }))
    }
}

/// Why the old config stays in force.
pub(super) fn not_reloaded(error: NotReloaded) -> Problem {
    match error {
        NotReloaded::Refused(findings) => {
            let errors = findings.iter().filter(|it| is_error(it)).count();
            let noun = if errors == 1 { "error" } else { "errors" };
            let detail = format!("{errors} {noun}; the old config stays in force");
            Problem::new(422, "config-refused", "Config refused", detail)
                .with("findings", Value::Array(findings))
        }
        NotReloaded::Unavailable(detail) => unavailable(detail),
    }
}

pub(super) fn unavailable(detail: impl Into<Box<str>>) -> Problem {
    Problem::new(503, "reload-unavailable", "No reload", detail)
}
