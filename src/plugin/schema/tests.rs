//! Tests of the schema check: what it says, and that no schema hangs or ends the process.

use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof, proptest};
use serde_json::json;

use super::*;

/// Issues as "path: message".
fn issues(schema: &Value, settings: &Value) -> Vec<String> {
    let found = validate(&schema.to_string(), settings).unwrap();
    found.into_iter().map(|it| format!("{}: {}", it.path, it.message)).collect()
}

fn refusal(schema: &str) -> String {
    let refusal = validate(schema, &json!({})).unwrap_err();
    assert_eq!(refusal.code, "describe");
    let start = "its settings schema cannot be used: ";
    refusal.message.strip_prefix(start).unwrap().to_owned()
}

/// Schema, what fits, what does not, and what is said of it.
type Case = (Value, Value, Value, &'static str);

fn each(cases: &[Case]) {
    for (schema, good, bad, expected) in cases {
        assert_eq!(issues(schema, good), [""; 0], "{schema}");
        assert_eq!(issues(schema, bad), [format!(": {expected}")], "{schema}");
    }
}

#[test]
fn each_keyword_of_plain_values_says_what_is_wrong() {
    each(&[
        (json!({"type": "string"}), json!("a"), json!(1), "must be a string, not a number"),
        (
            json!({"type": ["integer", "null"]}),
            json!(1.0),
            json!(1.5),
            "must be an integer or null, not a number",
        ),
        (json!({"type": "number"}), json!(1), json!([]), "must be a number, not an array"),
        (json!({"type": "boolean"}), json!(true), json!({}), "must be a boolean, not an object"),
        (
            json!({"enum": [1, "a", [1.0]]}),
            json!([1]),
            json!("b"),
            r#"must be one of 1, "a", [1.0]"#,
        ),
        (json!({"const": "a"}), json!("a"), json!("b"), r#"must be "a""#),
        (json!({"minimum": 1}), json!(1), json!(0), "must be at least 1"),
        (
            json!({"maximum": 9007199254740993_u64}),
            json!(9007199254740993_u64),
            json!(9007199254740994_u64),
            "must be at most 9007199254740993",
        ),
        (json!({"exclusiveMinimum": 0}), json!(0.5), json!(0), "must be more than 0"),
        (json!({"exclusiveMaximum": 2}), json!(1), json!(2.0), "must be less than 2"),
        (
            json!({"minLength": 2}),
            json!("éé"),
            json!("é"),
            "must have at least 2 characters, not 1",
        ),
        (
            json!({"maxLength": 2}),
            json!("éé"),
            json!("abc"),
            "must have at most 2 characters, not 3",
        ),
        (json!({"pattern": "^a+$"}), json!("aa"), json!("ab"), "does not match the pattern ^a+$"),
    ]);
}

#[test]
fn each_keyword_of_composed_values_says_what_is_wrong() {
    each(&[
        (json!({"minItems": 1}), json!([1]), json!([]), "must have at least 1 items, not 0"),
        (json!({"maxItems": 1}), json!([1]), json!([1, 2]), "must have at most 1 items, not 2"),
        (
            json!({"minProperties": 1}),
            json!({"a": 1}),
            json!({}),
            "must have at least 1 members, not 0",
        ),
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
            json!(2),
            json!(3),
            "must be at most 2",
        ),
        (
            json!({"oneOf": [{"minimum": 1}, {"maximum": 2}]}),
            json!(3),
            json!(2),
            "fits 2 of the alternatives, but must fit one alone",
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"maximum": 2}]}),
            json!("a"),
            json!(3),
            "must be a string, not a number",
        ),
    ]);
    assert_eq!(issues(&json!(false), &json!(null)), [": is not allowed here"]);
}

#[test]
fn all_issues_come_with_pointers_in_the_order_of_the_settings() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a", "description": "b", "default": {}, "examples": [1],
        "type": "object", "required": ["must"], "additionalProperties": false,
        "properties": {
            "must": {}, "list": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/n"}},
            "a/b~c": {"type": "string"},
        },
        "$defs": {"n": {"type": "integer", "format": "uint8", "maximum": 9}},
    });
    let settings = json!({"list": [1, "x", 10, 1.0], "a/b~c": null, "lost": 1});
    assert_eq!(
        issues(&schema, &settings),
        [
            "/must: is missing",
            "/list/1: must be an integer, not a string",
            "/list/2: must be at most 9",
            "/list/3: is there twice: 1.0",
            "/a~1b~0c: must be a string, not null",
            "/lost: is unknown; known are must, list, a/b~c",
        ]
    );
}

#[test]
fn of_alternatives_the_nearest_speaks() {
    // As schemars writes an optional struct and an enum with data.
    let schema = json!({"anyOf": [
        {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}, "n": {"type": "integer"}}},
        {"type": "null"},
    ]});
    assert_eq!(issues(&schema, &json!({"url": 1})), ["/url: must be a string, not a number"]);
    assert_eq!(issues(&schema, &json!(null)), [""; 0]);
}

#[test]
fn additional_members_can_have_a_schema() {
    let schema = json!({"additionalProperties": {"type": "integer"}, "properties": {"a": true}});
    assert_eq!(
        issues(&schema, &json!({"a": "x", "b": 1, "c": "x"})),
        ["/c: must be an integer, not a string"]
    );
}

#[test]
fn what_is_outside_of_the_subset_is_refused_by_name() {
    for (schema, expected) in [
        ("", "it is no JSON: "),
        ("[]", "# is no schema (an object or a boolean)"),
        (r#"{"if": {}}"#, "#/if is outside of the supported subset"),
        (r#"{"patternProperties": {}}"#, "#/patternProperties is outside"),
        (r#"{"properties": {"a": {"not": {}}}}"#, "#/properties/a/not is outside"),
        (r##"{"$dynamicRef": "#"}"##, "#/$dynamicRef is outside"),
        (r#"{"type": "text"}"#, "#/type is not one or more of the seven types"),
        (r#"{"type": []}"#, "#/type is not"),
        (r#"{"minimum": "1"}"#, "#/minimum is no number"),
        (r#"{"minLength": -1}"#, "#/minLength is no whole number"),
        (r#"{"required": [1]}"#, "#/required is no list of strings"),
        (r#"{"items": [{}]}"#, "#/items is no schema"),
        (r#"{"anyOf": []}"#, "#/anyOf is no list of schemas"),
        (r#"{"pattern": "("}"#, "#/pattern is no pattern that is taken"),
        (r#"{"pattern": "(?=a)"}"#, "#/pattern is no pattern that is taken"),
        (r#"{"properties": {"a": {"$defs": {}}}}"#, "#/properties/a/$defs stands inside"),
    ] {
        let what = refusal(schema);
        assert!(what.starts_with(expected), "{schema}: {what}");
    }
}

#[test]
fn references_stay_inside_and_end() {
    for reference in [
        "#",
        "https://example.org/schema",
        "file:///etc/passwd",
        "other.json",
        "#/properties/a",
        "#/$defs/none",
        "#/$defs/a/properties/b",
    ] {
        let schema = json!({"properties": {"a": {"$ref": reference}}, "$defs": {"a": {}}});
        assert!(refusal(&schema.to_string()).contains("names no definition"), "{reference}");
    }
    let own = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
    assert!(refusal(&own.to_string()).contains("refers to itself"));
    let round = json!({"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}});
    assert!(refusal(&round.to_string()).contains("refers to itself"));
}

#[test]
fn a_web_of_references_is_refused() {
    let mut defs = serde_json::Map::new();
    for at in 0..12 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        defs.insert(format!("d{at}"), json!({"allOf": [next, next, next]}));
    }
    defs.insert("d12".to_owned(), json!({}));
    let schema = json!({"$ref": "#/$defs/d0", "$defs": defs});
    assert!(refusal(&schema.to_string()).contains("more than 2000 parts"));
}

#[test]
fn size_and_depth_are_bounded() {
    assert!(refusal(&" ".repeat(65 * 1024)).contains("at most 65536"));
    for deep in [40, 120, 5000] {
        let schema = format!("{}{}{}", r#"{"items":"#.repeat(deep), "true", "}".repeat(deep));
        let what = refusal(&schema);
        assert!(what.contains("deeper than 32") || what.contains("recursion limit"), "{what}");
    }
    let wide = format!(r#"{{"allOf": [{}{{}}]}}"#, "{},".repeat(3000));
    assert!(refusal(&wide).contains("more than 2000 parts"));
}

#[test]
fn patterns_are_bounded() {
    for pattern in
        ["a".repeat(300), "((a{100}){100}){100}".to_owned(), "(".repeat(40) + &")".repeat(40)]
    {
        assert!(
            refusal(&json!({"pattern": pattern}).to_string()).contains("#/pattern"),
            "{pattern}"
        );
    }
    let many: Vec<_> = (0..65).map(|it| json!({"pattern": format!("a{it}")})).collect();
    assert!(refusal(&json!({"allOf": many}).to_string()).contains("more than 64 patterns"));
}

/// Each takes for ever in some validator.
#[test]
fn costly_checks_give_up_soon() {
    let text = "a".repeat(60 * 1024) + "!";
    let list: Vec<_> = (0..20_000).map(|it| json!({"a": it})).collect();
    let long: Vec<_> = (0..5000).collect();
    let nested =
        (0..10).fold(json!({"type": "string"}), |inner, _| json!({"anyOf": [inner, inner]}));
    let enums = json!({"items": {"enum": (0..5000).collect::<Vec<_>>()}});
    for (schema, settings) in [
        (json!({"pattern": "^(a|a)*$"}), json!(text)),
        (json!({"pattern": "^((a{1,50}){1,8}){1,4}$"}), json!(text)),
        (json!({"uniqueItems": true}), json!(list)),
        (nested, json!(1)),
        (json!({"items": {"anyOf": vec![json!({"type": "string"}); 1000]}}), json!(long)),
        (enums, json!(vec![json!("x"); 20_000])),
    ] {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let schema = schema.to_string();
        std::thread::spawn(move || tell.send(validate(&schema, &settings).map(|it| it.len())));
        let came = told.recv_timeout(Duration::from_secs(20)).expect("an end");
        if let Err(refusal) = came {
            assert!(
                refusal.message.contains("too many steps")
                    || refusal.message.contains("more than 2000"),
                "{refusal}"
            );
        }
    }
}

#[test]
fn issues_are_as_many_as_a_person_reads() {
    let settings = json!(vec![json!("x"); 500]);
    assert_eq!(issues(&json!({"items": {"type": "integer"}}), &settings).len(), ISSUES_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any composition of keywords with any values ends in issues or a refusal.
    #[test]
    fn any_schema_ends(schema in anything(), settings in anything()) {
        let _ = validate(&schema.to_string(), &settings);
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let keyword = proptest::sample::select(vec![
        "type",
        "enum",
        "const",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "uniqueItems",
        "pattern",
        "minLength",
        "maximum",
        "$defs",
        "a",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(1)),
        Just(json!(-1.5)),
        Just(json!("string")),
        Just(json!("#/$defs/a")),
        Just(json!("#")),
        Just(json!("a{3}")),
        Just(json!([])),
        Just(json!({})),
    ];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((keyword.clone(), inner), 0..5).prop_map(
                |all| Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            ),
        ]
    })
}
