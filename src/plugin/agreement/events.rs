//! Random settings and events for the formatters.

use serde_json::{Map, Value, json};

use crate::model::alert::{Event, Phase};
use crate::model::health::{Health, ServiceFacts, Severity};
use crate::plugin::agreement::Random;

/// Settings and an event.
pub(super) fn case(random: &mut Random) -> (Value, Event) {
    let mut settings = Map::new();
    for (name, values) in [
        ("channels", vec![json!(["email"]), json!(["slack"]), json!(["slack", "email"])]),
        ("channel", vec![json!(null), json!("stockflow"), json!("A-b_9"), json!("x".repeat(64))]),
        ("details", vec![json!(true), json!(false)]),
    ] {
        if random.chance(60) {
            settings.insert(name.to_owned(), random.pick(&values));
        }
    }
    (Value::Object(settings), event(random))
}

fn event(random: &mut Random) -> Event {
    let healths =
        [Health::Unknown, Health::Ok, Health::Degraded, Health::Failing, Health::Maintenance];
    let count = random.pick(&[0, 0, 1, 2, 5, 64]);
    let issues = (0..count)
        .map(|_| format!("{}{}", random.pick(&["a", "engine ", "ä\n\""]), random.below(40)));
    Event {
        issues: issues.collect(),
        now_ms: random.next(),
        id: random.pick(&["7f", "x", "019-ab"]).to_owned(),
        phase: random.pick(&[Phase::Opened, Phase::Updated, Phase::Resolved, Phase::Test]),
        severity: random.pick(&[Severity::Info, Severity::Warning, Severity::Critical]),
        service: ServiceFacts {
            name: random.pick(&["signal-engine", "a", "dienst-ä"]).to_owned(),
            namespace: random.chance(50).then(|| "dev".to_owned()),
            endpoint: String::new(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        },
        old: random.pick(&healths),
        new: random.pick(&healths),
        code: random.pick(&["timeout", "bad-body"]).to_owned(),
        detail: random.pick(&["", "2 probes in a row timed out"]).to_owned(),
        snapshot_id: random.chance(30).then(|| "snap".to_owned()),
        gateway: "gate".to_owned(),
        extra: Vec::new(),
    }
}
