//! Whether maintenance holds a request back, and what passes all the same.

use crate::generation::LiveService;
use crate::maintenance::Window;
use crate::model::Coverage;
use crate::proxy::decide::preflight::could_act;
use crate::proxy::decide::{Asked, Step, Witness};

impl<'g> Asked<'g, '_, '_> {
    /// What holds the request back; nothing does where it passes.
    pub(super) fn window(
        &self,
        service: &'g LiveService,
        passes: bool,
        witness: &mut impl Witness,
    ) -> Option<&'g Window> {
        if service.service.coverage == Coverage::Exempt {
            witness.saw(&Step::Exempt);
            return None;
        }
        let window = self.gate.modes.covers(&service.service.name, self.now);
        let step = if passes { Step::Passes } else { Step::Covered };
        witness.saw(&window.map_or(Step::Open, step));
        window.filter(|_| !passes)
    }

    /// Whether it asks for the health of a service that lets this pass: the probe's very path, and nothing that could act.
    pub(super) fn passes(&self, path: &str, service: &LiveService) -> bool {
        let watching = &service.service.watching;
        watching.passes_in_maintenance
            && matches!(self.head.method, "GET" | "HEAD")
            && watching.passing_path() == Some(path)
            && !could_act(self.head)
    }
}
