//! `on?until=healthy`: for whom a maintenance may end by itself when all is well again.

use serde_json::json;

use crate::admin::problem::{Problem, shown};
use crate::config::{Config, Service};
use crate::maintenance::Scope;
use crate::model::Coverage;

/// Whether `until` asks for it. It is refused where it could not be judged, and where the pods follow the mode themselves:
/// they would say the maintenance word for as long as the window that waits for them to say something else.
pub(super) fn healthy(
    until: Option<&str>,
    config: &Config,
    scope: &Scope,
) -> Result<bool, Problem> {
    match until {
        None => Ok(false),
        Some("healthy") => {
            let about: Vec<&Service> =
                config.services.iter().filter(|it| is_about(it, scope)).collect();
            refuse_followers(&about)?;
            refuse_unwatched(&about)?;
            Ok(true)
        }
        Some(other) => {
            let detail = format!(
                "until={} is not known; write until=healthy, or for an end after some time ttl=30m",
                shown(other)
            );
            Err(Problem::bad_value("until", detail))
        }
    }
}

fn is_about(service: &Service, scope: &Scope) -> bool {
    let named = match scope {
        Scope::All => true,
        Scope::Services(names) => names.contains(&service.name),
    };
    named && service.coverage == Coverage::Covered
}

fn refuse_followers(about: &[&Service]) -> Result<(), Problem> {
    let names = names(about, |it| it.watching.follows_maintenance);
    if names.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "{} says the maintenance word until it is switched off (followsMaintenance in the config), so it would never be \
         seen healthy; use ttl=30m, or switch off yourself",
        names.join(", ")
    );
    let problem = Problem::new(409, "follows-maintenance", "Services follow the mode", detail);
    Err(problem.with("services", json!(names)))
}

fn refuse_unwatched(about: &[&Service]) -> Result<(), Problem> {
    let names = names(about, |it| it.watching.probe.is_none());
    if names.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "{} has no probe in the config, so nobody would see it healthy; use ttl=30m, or switch off yourself",
        names.join(", ")
    );
    let problem = Problem::new(409, "not-probed", "Services are not probed", detail);
    Err(problem.with("services", json!(names)))
}

fn names<'c>(about: &[&'c Service], which: impl Fn(&Service) -> bool) -> Vec<&'c str> {
    about.iter().filter(|it| which(it)).map(|it| it.name.as_str()).collect()
}
