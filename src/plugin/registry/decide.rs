//! Decides for one plugin what acts: the candidate when it is proven, else the last one that did well, else nothing.

use std::sync::Arc;

use crate::model::UnixMs;
use crate::model::alert::Event;
use crate::plugin::host::Component;
use crate::plugin::recorder::Input;
use crate::plugin::registry::entries::{Besides, Live, Version};
use crate::plugin::registry::kept::Slot;
use crate::plugin::registry::prove::{Loaded, settings_text};
use crate::plugin::registry::replay::{Trial, refusal};
use crate::plugin::registry::sources::{self, Found, Origin};
use crate::plugin::registry::status::Proof;
use crate::plugin::registry::{Note, Place, Plugins, Spec, Use};
use crate::plugin::threshold::Threshold;
use crate::plugin::{Check, Digest, Refusal};

/// What was decided for one plugin.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) spec: Spec,
    pub(crate) version: Option<Arc<Version>>,
    /// Whether it suits each of the uses, in their order.
    pub(crate) fits: Vec<bool>,
    pub(crate) beside: Option<Besides>,
    pub(crate) notes: Vec<Note>,
}

/// A candidate that is not let in.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) digest: Option<Digest>,
    pub(crate) notes: Vec<Note>,
    /// It is good in itself but does not suit all uses.
    pub(crate) partly: Option<(Arc<Version>, Vec<bool>)>,
}

impl Failed {
    pub(crate) fn reasons(&self) -> Vec<Refusal> {
        let reason = |it: &Note| match is_about_use(&it.refusal) {
            // One component is judged at several places; the operator must know at which it failed.
            true => {
                let message = format!("{}: {}", it.at, it.refusal.message);
                Refusal { message, ..it.refusal.clone() }
            }
            false => it.refusal.clone(),
        };
        self.notes.iter().map(reason).collect()
    }
}

impl Plugins {
    /// Decides. Calls the compiler and the guest.
    pub(crate) fn decide(&self, spec: &Spec, uses: &[&Use]) -> Decided {
        let choice = sources::choose(spec, &self.kept);
        self.with(|it| {
            let entry = it.entry(&spec.name);
            (entry.config, entry.retired) = (choice.config, choice.retired.is_some());
            entry.verifying = true;
        });
        let mut notes = Vec::new();
        if let Some(why) = choice.retired {
            let refusal =
                Refusal::new("push-retired", format!("what was pushed no longer acts: {why}"));
            notes.push(Note { at: spec.at.clone(), refusal, fatal: false });
        }
        let tried = match choice.found {
            Ok(found) => self.candidate(spec, uses, &found),
            Err(refusal) => {
                let note = Note { at: spec.at.clone(), refusal, fatal: false };
                Err(Failed { digest: None, notes: vec![note], partly: None })
            }
        };
        let (version, fits, reasons) = match tried {
            Ok(version) => {
                self.with(|it| it.entry(&spec.name).refused = None);
                (Some(version), vec![true; uses.len()], Vec::new())
            }
            Err(failed) => self.instead(spec, uses, failed),
        };
        notes.extend(reasons);
        self.with(|it| {
            let entry = it.entry(&spec.name);
            entry.verifying = std::mem::take(&mut entry.waits);
        });
        let beside = self.beside(spec, uses, version.as_deref(), &mut notes);
        Decided { spec: spec.clone(), version, fits, beside, notes }
    }

    /// Everything between bytes and acting.
    pub(crate) fn candidate(
        &self,
        spec: &Spec,
        uses: &[&Use],
        found: &Found,
    ) -> Result<Arc<Version>, Failed> {
        let own = |refusal| Note { at: spec.at.clone(), refusal, fatal: false };
        let fail = |notes| Failed { digest: Some(found.digest), notes, partly: None };
        let barred = self.barred(spec, found);
        if !barred.is_empty() {
            return Err(fail(barred.into_iter().map(own).collect()));
        }
        if let Some(refusal) = self.must_wait(uses, found.digest) {
            return Err(fail(vec![own(refusal)]));
        }
        let loaded = self.prover.load(&found.bytes, found.digest, spec.class);
        let loaded = loaded.map_err(|it| fail(it.into_iter().map(own).collect()))?;
        let (checks, fits, mut notes) = self.suits(spec, uses, &loaded.component);
        let intrinsic = notes.iter().any(|it| !is_about_use(&it.refusal));
        let replay = self.replay(uses, &fits, &loaded.component);
        if !intrinsic && let Some(refusal) = refusal(&replay) {
            return Err(fail(notes.into_iter().chain([own(refusal)]).collect()));
        }
        let version = Arc::new(self.version(found, &loaded, checks, replay));
        if notes.is_empty() {
            return Ok(version);
        }
        if intrinsic {
            return Err(fail(notes));
        }
        notes.sort_by(|one, two| one.at.cmp(&two.at));
        Err(Failed { digest: Some(found.digest), notes, partly: Some((version, fits)) })
    }

    pub(crate) fn version(
        &self,
        found: &Found,
        loaded: &Loaded,
        self_test: Vec<Check>,
        replay: crate::plugin::registry::status::Replay,
    ) -> Version {
        let info = loaded.component.info();
        Version {
            component: loaded.component.clone(),
            origin: found.origin.clone(),
            proof: Proof {
                digest: found.digest,
                kind: loaded.component.kind(),
                name: info.name.clone(),
                version: info.version.clone(),
                compiled: loaded.compiled,
                self_test,
                replay,
            },
            bytes: match found.origin {
                Origin::Builtin(_) | Origin::Kept => None,
                Origin::File(_) | Origin::Pushed { .. } => Some(found.bytes.clone()),
            },
        }
    }

    /// Reasons not to run these bytes at all; the static ones with them, so that all are told at once.
    fn barred(&self, spec: &Spec, found: &Found) -> Vec<Refusal> {
        let mut reasons = Vec::new();
        if let Some(pin) = spec.pin.filter(|it| *it != found.digest) {
            let message =
                format!("the bytes have the digest {}, the config pins {pin}", found.digest);
            let advice = "Put the pinned component there, or pin this one when you trust it.";
            reasons.push(Refusal::new("wrong-digest", message).advice(advice));
            let seen = crate::plugin::host::inspect(&found.bytes, spec.class);
            reasons.extend(seen.err().unwrap_or_default());
        }
        let conduct = self.with(|it| it.conducts.get(&found.digest).cloned());
        if let Some(conduct) = conduct.filter(|it| it.is_away(UnixMs::now())) {
            reasons.push(crate::plugin::registry::report::quarantined(&conduct));
        }
        reasons
    }

    /// Tries every use; without one the component's own example.
    fn suits(
        &self,
        spec: &Spec,
        uses: &[&Use],
        component: &Component,
    ) -> (Vec<Check>, Vec<bool>, Vec<Note>) {
        let (mut checks, mut fits, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        if uses.is_empty() {
            match self.prover.passes(component, &example(component)) {
                Ok(passed) => checks = passed,
                Err(reasons) => notes.extend(reasons.into_iter().map(|it| {
                    let refusal = Refusal { code: "self-test", path: None, ..it };
                    Note { at: spec.at.clone(), refusal, fatal: false }
                })),
            }
        }
        for wanted in uses {
            let tried = self.prover.fits(component, wanted);
            fits.push(tried.is_ok());
            match tried {
                Ok(passed) => checks = passed,
                Err(reasons) => notes.extend(reasons.into_iter().map(|it| note(spec, wanted, it))),
            }
        }
        notes.dedup();
        (checks, fits, notes)
    }

    /// Recorded inputs of the places where something would change.
    fn replay(
        &self,
        uses: &[&Use],
        fits: &[bool],
        new: &Component,
    ) -> crate::plugin::registry::status::Replay {
        let live = self.with(|it| it.live.clone());
        let mut trial = Trial::begin();
        for (wanted, _) in uses.iter().zip(fits).filter(|it| *it.1) {
            let settings = settings_text(&wanted.settings);
            let old = live.at(&wanted.place);
            let same = old.is_some_and(|it| {
                it.component.digest() == new.digest() && *it.settings == *settings
            });
            if !same {
                let inputs = self.backing.recorder.inputs(&wanted.place);
                one_replay(&mut trial, &live, &wanted.place, &inputs, (new, &settings));
            }
        }
        trial.result()
    }

    /// The candidate that is to run beside what acts.
    fn beside(
        &self,
        spec: &Spec,
        uses: &[&Use],
        acts: Option<&Version>,
        notes: &mut Vec<Note>,
    ) -> Option<Besides> {
        let at = format!("{}.shadow", spec.at);
        let mut refuse = |refusals: Vec<Refusal>| {
            let note = |refusal| Note { at: at.clone(), refusal, fatal: false };
            notes.extend(refusals.into_iter().map(note));
        };
        let found = match self.kept.pushed(&spec.name, Slot::Shadow) {
            Some((note, bytes)) => {
                let origin = Origin::Pushed { at: note.at, by: note.by };
                Found { digest: note.digest, bytes, origin }
            }
            None => match sources::read(spec.shadow.as_ref()?, spec.class) {
                Ok(found) => found,
                Err(refusal) => {
                    refuse(vec![refusal]);
                    return None;
                }
            },
        };
        if acts.is_some_and(|it| it.digest() == found.digest) {
            return None;
        }
        match self.candidate(&Spec { pin: None, ..spec.clone() }, uses, &found) {
            Ok(version) => Some(Besides {
                component: version.component.clone(),
                comparison: self.comparison(&spec.name, found.digest),
                bytes: found.bytes,
            }),
            Err(failed) => {
                refuse(failed.reasons());
                None
            }
        }
    }

    /// Counts of a candidate go on over reloads.
    fn comparison(
        &self,
        plugin: &str,
        digest: Digest,
    ) -> Arc<crate::plugin::registry::shadow::Comparison> {
        let known = self.with(|it| it.entry(plugin).beside.clone());
        let same = known.filter(|it| it.component.digest() == digest);
        same.map_or_else(Arc::default, |it| it.comparison)
    }
}

/// Whether a reason lies in how the operator uses the component.
pub(crate) fn is_about_use(refusal: &Refusal) -> bool {
    matches!(refusal.code, "settings" | "kind")
}

/// A reason with the place in the config that it is about.
fn note(spec: &Spec, wanted: &Use, refusal: Refusal) -> Note {
    let at = match (refusal.code, &refusal.path) {
        ("settings", pointer) => settings_at(&wanted.at, pointer.as_deref()),
        ("kind", _) => wanted.at.clone(),
        _ => spec.at.clone(),
    };
    Note { at, refusal, fatal: false }
}

/// Where in the config a part of a use's settings stands.
pub(crate) fn settings_at(at: &str, pointer: Option<&str>) -> String {
    format!("{at}.settings{}", config_path(pointer.unwrap_or_default()))
}

/// A JSON pointer as the rest of a config path: `/steps/0/name` is `.steps[0].name`.
fn config_path(pointer: &str) -> String {
    let segments = pointer.split('/').skip(1).map(|it| it.replace("~1", "/").replace("~0", "~"));
    segments.fold(String::new(), |path, it| {
        let number = !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
        if number { format!("{path}[{it}]") } else { format!("{path}.{it}") }
    })
}

/// Settings to try a component with that nobody uses.
fn example(component: &Component) -> serde_json::Value {
    let text = component.info().example_config.as_deref().unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_default()
}

fn one_replay(
    trial: &mut Trial,
    live: &Live,
    place: &Place,
    inputs: &[Input],
    new: (&Component, &str),
) {
    let old = live.at(place);
    match place {
        Place::Service(name) => {
            let windows: Vec<_> = inputs.iter().filter_map(Input::as_window).collect();
            let native = live.policy(name).map_or_else(Threshold::default, |it| it.native.clone());
            trial.policy(&windows, (old.map(|it| &**it), &native), new);
        }
        Place::Alerts => {
            let events: Vec<_> = inputs.iter().filter_map(Input::as_event).collect();
            let native = live.formatter.as_ref().map(|it| it.native.clone()).unwrap_or_default();
            let word = |event: &Event| match old {
                Some(it) => it.component.format(&it.settings, event).outcome,
                None => Ok(Some(native.format(event))),
            };
            trial.formatter(&events, &word, new);
        }
        Place::Route(..) => {
            let requests: Vec<_> = inputs.iter().filter_map(Input::as_facts).collect();
            trial.filter(&requests, old.map(|it| (&it.component, &*it.settings)), new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_as_a_path_of_the_config() {
        for (pointer, path) in [
            ("", ""),
            ("/latency", ".latency"),
            ("/steps/0/name", ".steps[0].name"),
            ("/a~1b/~0", ".a/b.~"),
        ] {
            assert_eq!(config_path(pointer), path);
        }
    }
}
