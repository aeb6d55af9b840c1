//! Calls a health policy: a window goes in, a checked verdict comes out.

use crate::model::health::{Saved, Verdict, Window};
use crate::plugin::host::bindings as wit;
use crate::plugin::host::component::{Component, configure};
use crate::plugin::host::guest::{Code, Guest};
use crate::plugin::host::{checked, convert};
use crate::plugin::{Called, Fault};

type Params<'a> = (wit::Input<'a>, Option<wit::Saved<'a>>);
type Answer = (Result<wit::Verdict, String>,);

impl Component {
    /// Judges a window in a fresh instance. Blocks; call it off the data path. The verdict has passed the host's checks.
    pub fn evaluate(
        &self,
        settings: &str,
        window: &Window,
        prior: Option<&Saved>,
    ) -> Called<Verdict> {
        self.fresh(|guest| {
            configure(guest, settings)?;
            let prior = prior.map(|it| wit::Saved { version: it.version, bytes: &it.bytes });
            let (answer,): Answer = guest.main::<Params<'_>, _>((convert::input(window), prior))?;
            match answer {
                Ok(verdict) => checked::verdict(verdict, window),
                Err(message) => Err(checked::failed(&message)),
            }
        })
    }
}

/// Whether the function has the type of the WIT.
pub(super) fn typecheck(guest: &mut Guest<'_>, code: &Code) -> Result<(), Fault> {
    guest.function::<Params<'_>, Answer>(&code.exports.main).map(drop)
}
