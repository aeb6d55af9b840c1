//! A call of the admin API, taken from its head.

use crate::admin::{ANONYMOUS, Call};
use crate::proxy::decide::AdminCall;
use crate::proxy::plan::{AdminExchange, Plan, Seen};
use crate::proxy::record::Record;
use crate::proxy::reject::dress;
use crate::semantics::class::Class;
use crate::wire::answer::Answer;

impl Seen<'_, '_> {
    pub(super) fn admin(&self, call: &AdminCall<'_>, mut record: Record) -> Plan {
        if let Some(actor) = call.actor {
            self.core.metrics.key_used_at(actor, self.now());
            record.key_name = Some(actor.to_owned());
        }
        let bare = Answer { status: 200, headers: Vec::new(), body: Vec::new() };
        Plan::Admin(AdminExchange {
            call: Call {
                method: self.head.method.to_owned(),
                endpoint: call.endpoint.clone(),
                query: self.head.query.map(str::to_owned),
                actor: call.actor.unwrap_or(ANONYMOUS).to_owned(),
                request_id: record.request_id.as_str().to_owned(),
                suspicious_fetch: self.is_suspicious_fetch(),
                body: Vec::new(),
            },
            framing: self.head.framing,
            expect_continue: self.head.expect_continue,
            version: self.head.version,
            keep: self.may_keep(),
            head_only: self.head.method == "HEAD",
            path: self.head.raw_path.to_owned(),
            authority: self.head.authority.to_owned(),
            dressing: dress(bare, &self.asked(&record)).headers,
            record,
        })
    }

    /// A page of another site, or a prefetch, must not change anything (Fetch metadata; `Purpose` of older browsers).
    fn is_suspicious_fetch(&self) -> bool {
        self.head.fields.iter().zip(self.head.classes).any(|(field, class)| {
            *class == Class::FetchContext
                && match field.name.len() {
                    14 => !matches!(field.value, b"same-origin" | b"none" | b"same-site"),
                    _ => true,
                }
        })
    }
}
