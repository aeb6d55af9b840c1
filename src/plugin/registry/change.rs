//! Pushes, roll-backs and promotions: what an operator changes without the config.

use bytes::Bytes;

use crate::model::UnixMs;
use crate::plugin::registry::entries::Version;
use crate::plugin::registry::kept::{PushNote, Slot};
use crate::plugin::registry::sources::{self, Found, Origin};
use crate::plugin::registry::status::Proof;
use crate::plugin::registry::{Plugins, PushOptions, RollbackTo, Spec, builtin, resolve};
use crate::plugin::{Digest, Refusal};
use crate::telemetry::plugins::Swap;

impl Plugins {
    /// See [`Plugins::push`].
    pub(crate) fn take_push(
        &self,
        plugin: &str,
        wasm: &[u8],
        options: &PushOptions,
    ) -> Result<Proof, Vec<Refusal>> {
        let spec = self.spec(plugin).ok_or_else(|| vec![no_such(plugin)])?;
        let digest = Digest::of(wasm);
        if let Some(expected) = options.expect.filter(|it| *it != digest) {
            let message = format!("the bytes have the digest {digest}, expected was {expected}");
            return Err(vec![Refusal::new("wrong-digest", message)]);
        }
        let at = UnixMs::now().0;
        let origin =
            Origin::Pushed { at, by: Some(options.by.clone()).filter(|it| !it.is_empty()) };
        let found = Found { bytes: Bytes::copy_from_slice(wasm), digest, origin };
        // A shadow without effect may be another one than the config pins.
        let tried = Spec { pin: spec.pin.filter(|_| !options.shadow), ..spec.clone() };
        let wanted = self.with(|it| it.wanted.clone());
        let uses: Vec<_> =
            wanted.uses.iter().filter(|it| it.plugin.as_deref() == Some(plugin)).collect();
        let proven = Self::on_a_thread(|| self.candidate(&tried, &uses, &found))
            .map_err(|it| vec![Refusal::new("busy", it.to_string())])?;
        let kept = match proven {
            Ok(version) if options.dry_run => Ok(version.proof.clone()),
            Ok(version) => {
                let slot = if options.shadow { Slot::Shadow } else { Slot::Active };
                let by = Some(options.by.clone()).filter(|it| !it.is_empty());
                let kept = self.keep(slot, &self.note(&spec, digest, (at, by)), wasm);
                kept.map(|()| version.proof.clone()).map_err(|it| vec![it])
            }
            Err(failed) => {
                if !options.dry_run {
                    self.refused(plugin, Some(digest), &failed.reasons(), Swap::Refused);
                }
                Err(failed.reasons())
            }
        };
        if kept.is_err() || options.dry_run {
            // No generation follows that would forget it.
            self.forget_components();
        }
        kept
    }

    /// What a push is compared with later.
    fn note(&self, spec: &Spec, digest: Digest, (at, by): (u64, Option<String>)) -> PushNote {
        PushNote {
            plugin: spec.name.clone(),
            digest,
            at,
            by,
            config_digest: sources::read(&spec.source, spec.class).ok().map(|it| it.digest),
            config_source: sources::source_text(&spec.source),
        }
    }

    fn keep(&self, slot: Slot, note: &PushNote, wasm: &[u8]) -> Result<(), Refusal> {
        self.kept.push(slot, note, wasm).map_err(|error| {
            Refusal::new("file", format!("the component cannot be kept: {error}"))
                .advice("Look for room and rights in the state folder.")
        })
    }

    fn spec(&self, plugin: &str) -> Option<Spec> {
        let specs = self.with(|it| resolve::specs(&it.wanted));
        specs.into_iter().find(|it| it.name == plugin)
    }

    /// See [`Plugins::roll_back`].
    pub(crate) fn go_back(&self, plugin: &str, to: RollbackTo) -> Result<Digest, Refusal> {
        let spec = self.spec(plugin).ok_or_else(|| no_such(plugin))?;
        let digest = match to {
            RollbackTo::Config => self.to_config(&spec)?,
            RollbackTo::Previous => self.to_previous(&spec)?,
        };
        self.metrics.plugins().plugin(plugin).swapped(Swap::RolledBack);
        tracing::info!(plugin, digest = digest.short(), "an earlier component is chosen");
        Ok(digest)
    }

    fn to_config(&self, spec: &Spec) -> Result<Digest, Refusal> {
        let named = sources::read(&spec.source, spec.class)?;
        if self.kept.forget(&spec.name, Slot::Active).is_none() {
            return Err(Refusal::new(
                "rollback",
                "nothing is pushed: the config's component counts",
            )
            .advice("Name what you want in the config, or `--to previous`."));
        }
        Ok(named.digest)
    }

    /// The previous one becomes a push, so that it counts by the same precedence; the config's own needs none.
    fn to_previous(&self, spec: &Spec) -> Result<Digest, Refusal> {
        let previous = self.previous(&spec.name);
        let (digest, bytes) = previous.ok_or_else(|| {
            Refusal::new("rollback", "no earlier component of this plugin is kept")
        })?;
        if let Some(conduct) = self.with(|it| it.conducts.get(&digest).cloned())
            && conduct.is_quarantined()
        {
            return Err(crate::plugin::registry::report::quarantined(&conduct));
        }
        if let Some(pin) = spec.pin.filter(|it| *it != digest) {
            let message =
                format!("the config pins {}, the earlier one is {}", pin.short(), digest.short());
            return Err(Refusal::new("wrong-digest", message).advice("Change the pin."));
        }
        let named = sources::read(&spec.source, spec.class).ok().map(|it| it.digest);
        if named == Some(digest) {
            self.kept.forget(&spec.name, Slot::Active);
            return Ok(digest);
        }
        let note = self.note(spec, digest, (UnixMs::now().0, Some("rollback".to_owned())));
        self.keep(Slot::Active, &note, &bytes)?;
        Ok(digest)
    }

    /// What acted before, with its bytes.
    fn previous(&self, plugin: &str) -> Option<(Digest, Bytes)> {
        let (acting, previous) = self.with(|it| {
            let entry = it.entry(plugin);
            (entry.acting.as_ref().map(|it| it.digest()), entry.previous.clone())
        });
        let live = previous.and_then(|it| Some((it.digest(), self.bytes(plugin, &it)?)));
        live.or_else(|| {
            let kept = self.kept.good(plugin).into_iter().find(|it| Some(it.digest) != acting)?;
            Some((kept.digest, self.kept.good_bytes(plugin, kept.digest)?))
        })
    }

    fn bytes(&self, plugin: &str, version: &Version) -> Option<Bytes> {
        match &version.origin {
            Origin::Builtin(name) => Some(Bytes::from_static(builtin::find(name)?.wasm)),
            _ => version.bytes.clone().or_else(|| self.kept.good_bytes(plugin, version.digest())),
        }
    }

    /// See [`Plugins::promote`].
    pub(crate) fn let_act(&self, plugin: &str) -> Result<Digest, Refusal> {
        let spec = self.spec(plugin).ok_or_else(|| no_such(plugin))?;
        let beside = self.with(|it| it.entry(plugin).beside.clone()).ok_or_else(|| {
            Refusal::new("promote", "no candidate runs beside this plugin")
                .advice("Push one with `--shadow`, or name one in the config.")
        })?;
        let digest = beside.component.digest();
        if let Some(pin) = spec.pin.filter(|it| *it != digest) {
            let message =
                format!("the config pins {}, the shadow is {}", pin.short(), digest.short());
            return Err(Refusal::new("wrong-digest", message).advice("Change the pin."));
        }
        let note = self.note(&spec, digest, (UnixMs::now().0, Some("promotion".to_owned())));
        self.keep(Slot::Active, &note, &beside.bytes)?;
        self.kept.forget(plugin, Slot::Shadow);
        Ok(digest)
    }
}

fn no_such(plugin: &str) -> Refusal {
    Refusal::new("unknown-plugin", format!("there is no plugin `{plugin}`")).advice(
        "Declare it under `plugins` first: a push replaces the bytes of a plugin, not the config.",
    )
}
