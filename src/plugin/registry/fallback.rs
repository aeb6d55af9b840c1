//! What acts when a candidate is not let in: the last component that did well, else nothing.

use std::sync::Arc;

use crate::model::UnixMs;
use crate::plugin::host::Component;
use crate::plugin::registry::decide::{Failed, is_about_use};
use crate::plugin::registry::entries::Version;
use crate::plugin::registry::replay::Trial;
use crate::plugin::registry::sources::{Found, Origin};
use crate::plugin::registry::start::VERIFYING;
use crate::plugin::registry::status::Refused;
use crate::plugin::registry::{Note, Plugins, Spec, Use};
use crate::plugin::{Digest, Refusal};
use crate::telemetry::plugins::Swap;

impl Plugins {
    /// The candidate is not let in: what acts instead.
    pub(crate) fn instead(
        &self,
        spec: &Spec,
        uses: &[&Use],
        failed: Failed,
    ) -> (Option<Arc<Version>>, Vec<bool>, Vec<Note>) {
        if failed.notes.iter().any(|it| it.refusal.code == VERIFYING) {
            self.with(|it| it.entry(&spec.name).waits = true);
            return (None, vec![false; uses.len()], failed.notes);
        }
        self.refused(&spec.name, failed.digest, &failed.reasons());
        let own_words = failed.notes.iter().all(|it| is_about_use(&it.refusal));
        // A component that has acted before is not bad because the operator's new settings are: he must hear of those.
        let settings_alone =
            own_words && failed.digest.is_some_and(|it| self.has_acted(&spec.name, it));
        if !settings_alone && let Some(version) = self.last_good(spec, uses, failed.digest) {
            let calm = |it| Note { fatal: false, ..it };
            let notes = failed.notes.into_iter().map(calm).collect();
            return (Some(version), vec![true; uses.len()], notes);
        }
        let fatal = |it: Note| Note { fatal: is_about_use(&it.refusal), ..it };
        let notes = failed.notes.into_iter().map(fatal).collect();
        match failed.partly {
            Some((version, fits)) => (Some(version), fits, notes),
            None => (None, vec![false; uses.len()], notes),
        }
    }

    /// Writes a refusal down; the same one again is not counted again.
    pub(crate) fn refused(&self, plugin: &str, digest: Option<Digest>, reasons: &[Refusal]) {
        let new = self.with(|it| {
            let entry = it.entry(plugin);
            let same = entry
                .refused
                .as_ref()
                .is_some_and(|it| it.digest == digest && it.reasons == reasons);
            if !same {
                let at = UnixMs::now().rfc3339();
                entry.refused = Some(Refused { digest, at, reasons: reasons.to_vec() });
            }
            !same
        });
        if new {
            let counts = self.metrics.plugins().plugin(plugin);
            let is_quarantine = reasons.iter().any(|it| it.code == "quarantined");
            counts.swapped(if is_quarantine { Swap::Quarantined } else { Swap::Refused });
            let digest = digest.map_or_else(String::new, |it| it.short());
            for reason in reasons {
                tracing::warn!(
                    plugin,
                    digest,
                    code = reason.code,
                    "a component is not let in: {reason}"
                );
            }
        }
    }

    fn has_acted(&self, plugin: &str, digest: Digest) -> bool {
        let live = self.with(|it| it.entry(plugin).acting.as_ref().map(|it| it.digest()));
        live == Some(digest) || self.kept.good(plugin).iter().any(|it| it.digest == digest)
    }

    /// What acts now, or acted before a restart, if it suits all uses.
    fn last_good(&self, spec: &Spec, uses: &[&Use], but: Option<Digest>) -> Option<Arc<Version>> {
        let may = |digest| {
            let conduct = self.with(|it| it.conducts.get(&digest).cloned());
            Some(digest) != but && !conduct.is_some_and(|it| it.is_quarantined())
        };
        let suits =
            |component: &Component| uses.iter().all(|it| self.prover.fits(component, it).is_ok());
        let (acting, previous) = self.with(|it| {
            let entry = it.entry(&spec.name);
            (entry.acting.clone(), entry.previous.clone())
        });
        let in_memory = [acting, previous].into_iter().flatten();
        let live = in_memory.filter(|it| may(it.digest())).find(|it| suits(&it.component));
        if live.is_some() {
            return live;
        }
        // Of what another process let in, a pin speaks for itself.
        let kept = self.kept.good(&spec.name).into_iter();
        let allowed = kept.filter(|it| spec.pin.is_none_or(|pin| pin == it.digest));
        allowed.filter(|it| may(it.digest)).find_map(|it| {
            let bytes = self.kept.good_bytes(&spec.name, it.digest)?;
            let loaded = self.prover.load(&bytes, it.digest, spec.class).ok()?;
            if !suits(&loaded.component) {
                return None;
            }
            let found = Found { bytes, digest: it.digest, origin: Origin::Kept };
            Some(Arc::new(self.version(&found, &loaded, Vec::new(), Trial::begin().result())))
        })
    }
}
