//! `headgate/outbox`: what has to be delivered; sent again or given up by a person.

use serde_json::{Value, json};

use crate::admin::health::{condition, picked};
use crate::admin::problem::{Problem, shown};
use crate::admin::query::{Query, nearest};
use crate::admin::{Admin, Call};
use crate::alert::outbox::{Chosen, Parcel, State};
use crate::maintenance::audit::{Action, Entry};
use crate::model::UnixMs;

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Members of a parcel in the list; its words are in the answer about it alone.
const SHOWN: [&str; 12] = [
    "number",
    "sink",
    "incidents",
    "phase",
    "key",
    "created-ms",
    "state",
    "attempts",
    "next-try-ms",
    "error",
    "at-ms",
    "reason",
];

impl Admin {
    pub(super) fn outbox(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["sink", "dead", "number", "limit"])?;
        let limit = query.limit(LIMIT, LIMIT_MAX)?;
        let (sink, dead, number) = (query.one("sink")?, query.flag("dead")?, number(&query)?);
        let outbox = &self.parts.watched.outbox;
        let mut parcels = outbox.list();
        if let Some(sink) = sink
            && !parcels.iter().any(|it| it.sink == sink)
        {
            self.check_sink(sink)?;
        }
        parcels.retain(|it| sink.is_none_or(|sink| it.sink == sink));
        parcels.retain(|it| dead.is_none_or(|dead| is_dead(it) == dead));
        parcels.retain(|it| number.is_none_or(|number| it.number == number));
        let forms = parcels.iter().take(limit).map(|it| match number {
            Some(_) => json!(it.as_ref()),
            None => brief(it),
        });
        Ok(json!({
            "sinks": outbox.sinks(),
            "parcels": forms.collect::<Vec<_>>(),
            "total": parcels.len(),
            "store": condition(&self.parts.watched.ledger.condition()),
        }))
    }

    pub(super) async fn outbox_retry(&self, call: &Call) -> Result<Value, Problem> {
        let chosen = self.chosen(call)?;
        let count = self.parts.watched.outbox.retry(&chosen).await;
        self.outbox_acted(call, Action::OutboxRetry, &chosen, count).await
    }

    pub(super) async fn outbox_drop(&self, call: &Call) -> Result<Value, Problem> {
        let chosen = self.chosen(call)?;
        let count = self.parts.watched.outbox.drop_chosen(&chosen).await;
        self.outbox_acted(call, Action::OutboxDrop, &chosen, count).await
    }

    async fn outbox_acted(
        &self,
        call: &Call,
        action: Action,
        chosen: &Chosen,
        count: usize,
    ) -> Result<Value, Problem> {
        if let (Chosen::One(sink, number), 0) = (chosen, count) {
            let detail = format!("nothing with number {number} waits or lies dead for {sink}");
            return Err(Problem::new(404, "unknown-parcel", "No such parcel", detail));
        }
        let what = match chosen {
            Chosen::One(sink, number) => format!("{sink} {number}"),
            Chosen::AllDead(Some(sink)) => format!("all dead of {sink}"),
            Chosen::AllDead(None) => "all dead".to_owned(),
        };
        let entry = Entry {
            request_id: Some(call.request_id.clone()),
            reason: Some(what),
            changed: count > 0,
            ..Entry::new(action, &call.actor, UnixMs::now())
        };
        let warning = self.parts.switch.record(entry).await;
        Ok(json!({ "changed": count > 0, "count": count, "audit_warning": warning }))
    }

    /// Which parcels are meant: one, or the dead ones; never all by accident.
    fn chosen(&self, call: &Call) -> Result<Chosen, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["sink", "number", "dead"])?;
        let (sink, number, dead) = (query.one("sink")?, number(&query)?, query.flag("dead")?);
        if let Some(sink) = sink
            && !self.parts.watched.outbox.list().iter().any(|it| it.sink == sink)
        {
            self.check_sink(sink)?;
        }
        match (sink, number, dead) {
            (Some(sink), Some(number), None) => Ok(Chosen::One(sink.to_owned(), number)),
            (sink, None, Some(true)) => Ok(Chosen::AllDead(sink.map(str::to_owned))),
            _ => {
                let detail = "say which: ?sink=NAME&number=N, ?sink=NAME&dead=true or ?dead=true";
                Err(Problem::new(400, "bad-query", "Query cannot be used", detail))
            }
        }
    }

    /// Refuses a name that no sink of the config has.
    pub(super) fn check_sink(&self, name: &str) -> Result<(), Problem> {
        let gate = self.parts.live.load();
        let sinks = &gate.generation.alerting.config.sinks;
        let known: Vec<&str> = sinks.iter().map(|it| it.name.as_str()).collect();
        if known.contains(&name) {
            return Ok(());
        }
        let detail = match nearest(name, &known) {
            Some(it) => format!("there is no sink {}; did you mean {it}?", shown(name)),
            None => format!("there is no sink {}", shown(name)),
        };
        Err(Problem::new(404, "unknown-sink", "No such sink", detail).with("sinks", json!(known)))
    }
}

fn number(query: &Query) -> Result<Option<u64>, Problem> {
    let Some(text) = query.one("number")? else { return Ok(None) };
    let parsed = text.parse().map_err(|_| Problem::bad_value("number", "the number of a parcel"));
    parsed.map(Some)
}

fn is_dead(parcel: &Parcel) -> bool {
    matches!(parcel.state, State::Dead { .. })
}

/// Without words and facts, but with what it is about.
fn brief(parcel: &Parcel) -> Value {
    let mut form = picked(&json!(parcel), &SHOWN);
    form.insert("service".to_owned(), json!(parcel.event.service.name));
    form.insert("severity".to_owned(), json!(parcel.event.severity));
    form.insert("code".to_owned(), json!(parcel.event.code));
    form.insert("issues".to_owned(), json!(parcel.message.issues));
    Value::Object(form)
}
