//! Calls an alert formatter: an event goes in, a checked message comes out.

use crate::model::alert::{Event, Message};
use crate::plugin::host::bindings as wit;
use crate::plugin::host::component::{Component, configure};
use crate::plugin::host::guest::{Code, Guest};
use crate::plugin::host::{checked, convert};
use crate::plugin::{Called, Fault};

type Params<'a> = (wit::Event<'a>,);
type Answer = (Result<Option<wit::Message>, String>,);

impl Component {
    /// Puts an event into words in a fresh instance. Blocks; call it off the data path.
    pub fn format(&self, settings: &str, event: &Event) -> Called<Option<Message>> {
        self.fresh(|guest| {
            configure(guest, settings)?;
            let (answer,): Answer = guest.main::<Params<'_>, _>((convert::event(event),))?;
            match answer {
                Ok(message) => message.map(checked::message).transpose(),
                Err(message) => Err(checked::failed(&message)),
            }
        })
    }
}

/// Whether the function has the type of the WIT.
pub(super) fn typecheck(guest: &mut Guest<'_>, code: &Code) -> Result<(), Fault> {
    guest.function::<Params<'_>, Answer>(&code.exports.main).map(drop)
}
