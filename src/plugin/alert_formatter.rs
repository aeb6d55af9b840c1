//! Puts an incident into words: by the component, else by the native plain text; what must go out goes out.

use std::sync::Arc;

use tokio::time::Instant;

use crate::model::UnixMs;
use crate::model::alert::{Event, Message};
use crate::plugin::plain::Plain;
use crate::plugin::registry::acting::Acting;
use crate::plugin::registry::backing::Backing;
use crate::plugin::registry::shadow::Beside;
use crate::plugin::{Digest, Fault};
use crate::telemetry::plugins::PluginCounts;

/// The formatter that is live in one generation.
#[derive(Debug)]
pub struct AlertFormatter {
    /// The component that acts, with its settings; `None`: the native text by the operator's choice, or because nothing could
    /// be proven.
    pub component: Option<Arc<Acting>>,
    /// What answers when the component does not.
    pub native: Plain,
    /// Counts when the native text stands in for a plugin of which nothing could be proven.
    pub missing: Option<Arc<PluginCounts>>,
    /// A candidate that sees the same events.
    pub beside: Option<Beside>,
    /// Threads and recorder; `None` in tools that call no component.
    pub backing: Option<Arc<Backing>>,
}

/// A message and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// `None`: suppressed, which a component may do for updates and notices alone.
    pub message: Option<Message>,
    /// The component that gave it; `None`: the native text.
    pub by: Option<Digest>,
    /// Why the component did not, when it should have.
    pub fault: Option<Fault>,
}

impl AlertFormatter {
    /// The native text alone, recorded nowhere.
    pub fn native(native: Plain) -> Self {
        Self { component: None, native, missing: None, beside: None, backing: None }
    }

    /// Formats. Waits for a plugin thread; never for longer than the queue's and the call's deadlines together.
    pub async fn format(&self, event: Arc<Event>) -> Formatted {
        let Some(backing) = &self.backing else { return self.natively(&event, None) };
        backing.recorder.event(&event);
        let Some(acting) = &self.component else {
            self.missing.iter().for_each(|it| it.fell_back());
            let formatted = self.natively(&event, None);
            self.beside_native(backing, &event, formatted.message.clone()).await;
            return formatted;
        };
        if acting.is_suspended(UnixMs::now()) {
            acting.fell_back();
            let message = "the component is in quarantine".to_owned();
            return self.natively(&event, Some(Fault::Failed { message }));
        }
        let by = Some(acting.component.digest());
        match self.ask(backing, acting, &event).await {
            Ok(None) if !event.may_be_suppressed() => {
                acting.counts().suppression_denied();
                self.natively(&event, None)
            }
            Ok(message) => Formatted { message, by, fault: None },
            Err(fault) => self.natively(&event, Some(fault)),
        }
    }

    async fn ask(
        &self,
        backing: &Arc<Backing>,
        acting: &Arc<Acting>,
        event: &Arc<Event>,
    ) -> Result<Option<Message>, Fault> {
        let began = Instant::now();
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let call = {
            let (acting, event, kept) =
                (Arc::clone(acting), Arc::clone(event), self.beside.is_some());
            move || {
                let outcome = word(&acting, &event);
                if kept {
                    // The channel has room for exactly this.
                    let _ = answer.try_send(outcome.clone());
                }
                outcome
            }
        };
        let (beside, shown) = (self.beside.clone(), Arc::clone(event));
        let after = move || {
            if let (Some(beside), Ok(acted)) = (beside, answered.try_recv()) {
                beside.format(&shown, &acted);
            }
        };
        let waited = backing.workers.run(call, after).await;
        waited.unwrap_or_else(|fault| {
            acting.called(Some(&fault), began.elapsed());
            Err(fault)
        })
    }

    /// A candidate beside the native text is compared with that.
    async fn beside_native(
        &self,
        backing: &Arc<Backing>,
        event: &Arc<Event>,
        acted: Option<Message>,
    ) {
        let Some(beside) = self.beside.clone() else { return };
        let event = Arc::clone(event);
        let run = move || beside.format(&event, &Ok(acted));
        // A full queue loses one comparison and nothing else.
        let _ = backing.workers.run(|| (), run).await;
    }

    fn natively(&self, event: &Event, fault: Option<Fault>) -> Formatted {
        Formatted { message: Some(self.native.format(event)), by: None, fault }
    }
}

/// Calls the component, on a plugin thread.
fn word(acting: &Acting, event: &Event) -> Result<Option<Message>, Fault> {
    let called = acting.component.format(&acting.settings, event);
    acting.said(&called.said);
    acting.spent(called.outcome.as_ref().err(), called.spent);
    called.outcome.inspect_err(|fault| {
        acting.poisoned(fault, serde_json::to_string(event).unwrap_or_default());
        tracing::warn!(
            plugin = acting.plugin, digest = acting.component.digest().short(), %fault,
            "an alert formatter failed; the plain text goes out"
        );
    })
}
