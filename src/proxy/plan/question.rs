//! The question of an edge that asks before it forwards, with the filters of the route that it asks about.
//!
//! An edge can pass a refusal on, and a filter's reply with it as long as that is no 2xx. What a filter sets becomes fields
//! of the yes, for the edge to copy (Traefik `authResponseHeaders`, Caddy `copy_headers`). What an edge cannot be told (a
//! field removed or appended, a 2xx reply) is refused, so that nothing passes as if the filter had not spoken.

use crate::proxy::filter::{self, Passage};
use crate::proxy::forward_auth::{self, Denied};
use crate::proxy::plan::{Plan, Seen};
use crate::proxy::record::Record;
use crate::proxy::reject::dress;

impl Seen<'_, '_> {
    pub(super) fn forward_auth(&self, mut record: Record) -> Plan {
        let yes = match forward_auth::judge(self.gate, self.head, self.client, self.now()) {
            Ok(yes) => yes,
            Err(denied) => return self.denied(record, &denied),
        };
        let filters = filter::of(&self.gate.generation, &yes.asked, &yes.forward);
        let mut edits = Vec::new();
        if !filters.is_empty() {
            let about = self.about(&yes.forward, &yes.asked, record.request_id.as_str());
            let (passage, note) = self.core.filters.borrow_mut().run(&filters, &about);
            record.filter = note;
            match passage {
                Passage::Pass(it) => edits = it,
                Passage::Refuse(reject) => return self.denied(record, &yes.denied(reject)),
                Passage::Reply(it) if it.status < 300 => {
                    return self.denied(record, &yes.denied(forward_auth::FILTER_ANSWERS));
                }
                Passage::Reply(it) => return self.replied(record, it),
            }
        }
        let Some(told) = filter::sets(&edits) else {
            return self.denied(record, &yes.denied(forward_auth::FILTER_EDITS));
        };
        match yes.answer(self.head) {
            Ok(answer) => {
                let answer = dress(answer, &self.asked(&record));
                self.send(record, &answer, &told, false)
            }
            Err(denied) => self.denied(record, &denied),
        }
    }

    fn denied(&self, mut record: Record, denied: &Denied<'_>) -> Plan {
        let reject = self.counted(denied.reject.clone(), denied.presented, denied.client);
        let answer = denied.answer(&reject, &self.asked(&record));
        record.refused(reject.code());
        self.answer(record, &answer, false)
    }
}
