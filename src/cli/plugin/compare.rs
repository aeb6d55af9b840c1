//! What a case expects against what came: every difference, with its place.

use serde::Serialize;
use serde_json::Value;

/// One place where they differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct Difference {
    /// JSON pointer into the answer.
    pub(in crate::cli) path: String,
    pub(in crate::cli) expected: Value,
    /// `None`: there is nothing at that place.
    pub(in crate::cli) came: Option<Value>,
}

/// Compares in part: members that are not expected may have any value, an absent member is as good as null; lists must
/// have the same length.
pub(in crate::cli) fn differences(expected: &Value, came: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    collect(expected, Some(came), &mut String::new(), &mut found);
    found
}

fn collect(expected: &Value, came: Option<&Value>, path: &mut String, found: &mut Vec<Difference>) {
    match (expected, came) {
        (Value::Null, None) => {}
        (Value::Object(expected), Some(Value::Object(came))) => {
            for (name, value) in expected {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                below(path, &escaped, |path| collect(value, came.get(name), path, found));
            }
        }
        (Value::Array(expected), Some(Value::Array(came))) if expected.len() == came.len() => {
            for (index, (expected, came)) in expected.iter().zip(came).enumerate() {
                below(path, &index.to_string(), |path| collect(expected, Some(came), path, found));
            }
        }
        (expected, Some(came)) if expected == came => {}
        (expected, came) => found.push(Difference {
            path: path.clone(),
            expected: expected.clone(),
            came: came.cloned(),
        }),
    }
}

fn below(path: &mut String, name: &str, then: impl FnOnce(&mut String)) {
    let len = path.len();
    path.push('/');
    path.push_str(name);
    then(path);
    path.truncate(len);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_expected_may_be_anything() {
        let came = json!({ "status": "ok", "code": "ok", "actions": [{ "alert": { "severity": "info", "issues": [] } }], "state": null });
        for expected in [
            json!({}),
            json!({ "status": "ok" }),
            json!({ "state": null, "prior": null }),
            json!({ "actions": [{ "alert": { "severity": "info" } }] }),
            json!({ "actions": [{}] }),
        ] {
            assert_eq!(differences(&expected, &came), [], "{expected}");
        }
    }

    #[test]
    fn each_difference_has_its_place() {
        let came =
            json!({ "status": "ok", "actions": [{ "alert": { "severity": "info" } }], "a/b": 1 });
        let rows = [
            (json!({ "status": "failing" }), vec!["/status"]),
            (json!({ "status": "failing", "a/b": 2 }), vec!["/status", "/a~1b"]),
            (json!({ "actions": [] }), vec!["/actions"]),
            (
                json!({ "actions": [{ "alert": { "severity": "critical" } }] }),
                vec!["/actions/0/alert/severity"],
            ),
            (json!({ "missing": 1 }), vec!["/missing"]),
            (json!("next"), vec![""]),
            (json!({ "status": null }), vec!["/status"]),
        ];
        for (expected, places) in rows {
            let found = differences(&expected, &came);
            assert_eq!(
                found.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(),
                places,
                "{expected}"
            );
        }
    }

    #[test]
    fn a_value_is_no_different_from_itself() {
        let value = json!({ "a": [1, { "b": null }, "x"], "c": true });
        assert_eq!(differences(&value, &value), []);
    }
}
