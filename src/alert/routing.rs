//! Which sinks hear of an incident. Pure.

use std::collections::BTreeSet;

use crate::config::alerts::Alerts;
use crate::model::health::Severity;

/// Names of the sinks that hear of a service at this severity: those of the first route that matches, all without one.
pub fn sinks(alerts: &Alerts, service: &str, severity: Severity) -> BTreeSet<String> {
    let matching = alerts.routes.iter().find(|route| {
        let named = route.services.is_empty() || route.services.iter().any(|it| it == service);
        named && severity >= route.severity
    });
    match matching {
        Some(route) => {
            let chosen = route.sinks.iter().filter_map(|at| alerts.sinks.get(*at));
            chosen.map(|it| it.name.clone()).collect()
        }
        None => alerts.sinks.iter().map(|it| it.name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::sinks;
    use crate::alert::fixture;
    use crate::config::alerts::{AlertRoute, Alerts};
    use crate::model::health::Severity::{self, Critical, Info, Warning};

    fn route(services: &[&str], severity: Severity, sinks: &[usize]) -> AlertRoute {
        let services = services.iter().map(|it| (*it).to_owned()).collect();
        AlertRoute { services, severity, sinks: sinks.to_vec() }
    }

    #[test]
    fn the_first_route_that_matches_decides() {
        let mut alerts = fixture::alerts(&["mail", "chat", "pager"]);
        let hears = |alerts: &Alerts, service: &str, severity| {
            sinks(alerts, service, severity).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(hears(&alerts, "api", Info), "chat mail pager", "no route: all");
        alerts.routes = vec![
            route(&["quiet"], Info, &[]),
            route(&[], Critical, &[0, 2]),
            route(&["api"], Warning, &[1, 7]),
        ];
        for (service, severity, expected) in [
            ("quiet", Critical, ""),
            ("api", Critical, "mail pager"),
            ("api", Warning, "chat"),
            ("api", Info, "chat mail pager"),
            ("other", Warning, "chat mail pager"),
        ] {
            assert_eq!(hears(&alerts, service, severity), expected, "{service} {severity:?}");
        }
    }
}
