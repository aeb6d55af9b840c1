//! What is told of a filter's doing in the access log.

use std::rc::Rc;

/// What a filter did with a request, for the access log; of several the weightiest, of equal ones the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The operator's name for the plugin.
    pub plugin: Rc<str>,
    pub did: Did,
}

/// In the order of their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Did {
    Edited,
    /// It gave no answer, and the request went on; the label says why.
    FailedOpen(&'static str),
    Replied,
    /// It gave no answer, and the request was refused.
    FailedClosed(&'static str),
}

impl Did {
    /// As the access log says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::FailedOpen(_) => "failed-open",
            Self::Replied => "replied",
            Self::FailedClosed(_) => "failed-closed",
        }
    }

    /// Why it gave no answer: a fault's label, `suspended` or `unproven`.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::FailedOpen(why) | Self::FailedClosed(why) => Some(why),
            Self::Edited | Self::Replied => None,
        }
    }
}
