//! A policy over what was recorded of each service.

use std::io::{IsTerminal as _, Write as _};

use crate::cli::replay::difference::{Report, Service, Told, alerts, incidents, verdicts};
use crate::cli::replay::fold::{Folded, candidate, recorded};
use crate::cli::replay::origin::{Origin, Recorded};
use crate::cli::replay::show::plugin;
use crate::cli::replay::{Candidate, Cmd, Stopped};
use crate::model::incident::Change;
use crate::plugin::threshold::Threshold;

pub(super) fn replay(cmd: &Cmd, tried: &Candidate, since_ms: u64) -> Result<Report, Stopped> {
    let origin = Origin::open(cmd)?;
    let known = origin.services()?;
    let chosen = if cmd.services.is_empty() { known.clone() } else { cmd.services.clone() };
    if let Some(unknown) = chosen.iter().find(|it| !known.contains(it)) {
        let text =
            format!("nothing is recorded of a service {unknown:?}; there are {}", known.join(", "));
        return Err(Stopped::Refused(text));
    }
    let (mut services, mut notes) = (Vec::new(), Vec::new());
    for (number, name) in chosen.iter().enumerate() {
        progress(name, number, chosen.len());
        let it = origin.read(name, since_ms)?;
        if it.observations.is_empty() {
            notes.push(format!("nothing was recorded of {name} in this time"));
            continue;
        }
        let (service, note) = one(name, &it, tried)?;
        services.push(service);
        notes.extend(note.map(|it| format!("{name}: {it}")));
    }
    progress("", chosen.len(), chosen.len());
    if services.is_empty() {
        notes.push("nothing to replay: no observation at all".to_owned());
    }
    Ok(Report { plugin: plugin(tried), since_ms, notes, services, words: None })
}

fn one(name: &str, it: &Recorded, tried: &Candidate) -> Result<(Service, Option<String>), Stopped> {
    let (settings, note) = tried.settings(&it.settings)?;
    let settings = settings.to_string();
    let native = Threshold::new(&it.settings).unwrap_or_default();
    let (mut faults, mut first_fault) = (0, None);
    let version = tried.component.info().state_version;
    let new = candidate(&it.observations, &it.of, version, |window, prior| {
        match tried.component.evaluate(&settings, window, prior).outcome {
            Ok(verdict) => verdict,
            Err(fault) => {
                faults += 1;
                first_fault.get_or_insert_with(|| fault.to_string());
                native.judge(window)
            }
        }
    });
    let old = recorded(&it.observations, &it.of);
    let times: Vec<u64> = it.observations.iter().map(|it| it.at_ms).collect();
    let service = Service {
        service: name.to_owned(),
        observations: it.observations.len(),
        verdicts: verdicts(&times, &old.opinions, &new.opinions),
        incidents: incidents(&changes(&old), &changes(&new)),
        alerts: alerts(&told(&old), &told(&new)),
        faults,
        first_fault,
    };
    Ok((service, note))
}

fn changes(folded: &Folded) -> Vec<Change> {
    folded.changes.iter().map(|it| it.0.clone()).collect()
}

fn told(folded: &Folded) -> Vec<Told<'_>> {
    folded.changes.iter().map(|it| (&it.0, it.1)).collect()
}

/// On a terminal alone.
fn progress(name: &str, done: usize, all: usize) {
    let mut err = std::io::stderr();
    if !err.is_terminal() {
        return;
    }
    // Nobody is harmed when it cannot be written.
    let _ = match done == all {
        true => write!(err, "\r\x1b[K"),
        false => write!(err, "\r\x1b[K{} of {all}: {name}", done + 1),
    };
}
