//! Random settings of which many are wrong somewhere.

use serde_json::{Map, Value, json};

use crate::plugin::agreement::Random;

pub(super) fn of_policy(random: &mut Random) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(7),
        json!(1000),
        json!(1000.0),
        json!(-1),
        json!(600_001),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("OK"),
        json!("$.status"),
        json!("$."),
        json!("$.a.b-c.D_9"),
        json!("$.a.b.c.d.e.f.g.h.i"),
        json!("$.ä"),
        json!("x".repeat(256)),
        json!("x".repeat(257)),
        json!(format!("$.{}", "x".repeat(65))),
        json!([]),
        json!(["200"]),
        json!(["200-299", "404"]),
        json!(["299-200", "099", "600", "2xx", "200-", "-200", 200, "200-299-300", "+20"]),
        json!(vec!["200"; 17]),
        json!({}),
    ];
    let names = [
        "statuses",
        "path",
        "expected",
        "maintenanceWord",
        "latencyMs",
        "timeouts",
        "staleMs",
        "",
        "a/b~c",
        "other",
    ];
    let mut settings = Map::new();
    for _ in 0..random.below(4) {
        settings.insert(random.pick(&names).to_owned(), random.pick(&values));
    }
    Value::Object(settings)
}

pub(super) fn of_formatter(random: &mut Random) -> Value {
    let values = [
        json!(null),
        json!(true),
        json!(1),
        json!(""),
        json!("ok"),
        json!("a b"),
        json!("../x"),
        json!("é"),
        json!("x".repeat(64)),
        json!("x".repeat(65)),
        json!([]),
        json!(["email"]),
        json!(["email", "email", "fax", 1, "slack"]),
        json!(vec!["email"; 9]),
        json!({}),
    ];
    let mut settings = Map::new();
    for _ in 0..random.below(4) {
        let name = random.pick(&["channels", "channel", "details", "a/b~c", "other"]);
        settings.insert(name.to_owned(), random.pick(&values));
    }
    Value::Object(settings)
}
