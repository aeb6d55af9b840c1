//! Asks the filters of a request before its head is encoded, and sends what one of them replies.

use crate::plugin::host::{FilterReply, HeaderOp};
use crate::proxy::decide::Forward;
use crate::proxy::filter::{self, About, Passage, as_fields};
use crate::proxy::plan::{Plan, Seen};
use crate::proxy::record::Record;
use crate::proxy::reject::dress;
use crate::semantics::head::RequestHead;

impl<'a> Seen<'_, 'a> {
    /// Asks the filters, if there are some.
    pub(super) fn filtered(
        &self,
        forward: &Forward<'_, 'a>,
        record: &mut Record,
    ) -> Result<Vec<HeaderOp>, Box<Plan>> {
        let filters = filter::of(&self.gate.generation, self.head, forward);
        if filters.is_empty() {
            return Ok(Vec::new());
        }
        let about = self.about(forward, self.head, record.request_id.as_str());
        let (passage, note) = self.core.filters.borrow_mut().run(&filters, &about);
        record.filter = note;
        match passage {
            Passage::Pass(edits) => Ok(edits),
            Passage::Reply(reply) => Err(Box::new(self.replied(record.clone(), reply))),
            Passage::Refuse(reject) => Err(Box::new(self.refuse(record.clone(), reject))),
        }
    }

    pub(super) fn about<'x>(
        &'x self,
        forward: &'x Forward<'_, 'a>,
        head: &'x RequestHead<'a>,
        request_id: &'x str,
    ) -> About<'x, 'a> {
        About { head, client: self.client, forward, request_id, now: self.now() }
    }

    /// A filter's own answer: framed, dated and dressed as any of ours.
    pub(super) fn replied(&self, mut record: Record, reply: FilterReply) -> Plan {
        let (answer, others) = filter::answer(reply);
        let answer = dress(answer, &self.asked(&record));
        record.refused(filter::REPLIED);
        self.send(record, &answer, &as_fields(&others), false)
    }
}
