//! Looks at what a component says about itself; tells everything that is wrong with it at once.

use std::collections::HashSet;

use crate::plugin::host::bindings as wit;
use crate::plugin::host::checked::{Checked, TEXT_BYTES, invalid, most, pairs, short, text};
use crate::plugin::schema::validate;
use crate::plugin::{DeclaredMetric, Fault, Info, Refusal};

const NAME_BYTES: usize = 48;
const VERSION_BYTES: usize = 64;
const SENTENCE_BYTES: usize = 200;
const JSON_BYTES: usize = 64 * 1024;
const WANTS: usize = 32;
const WANT_BYTES: usize = 256;
const METRICS: usize = 16;

/// A description that can be shown and kept to.
pub(super) fn info(info: wit::Info) -> Result<Info, Vec<Refusal>> {
    let checks = [
        name("name", &info.name, b'-'),
        text("version", &info.version, VERSION_BYTES),
        text("summary", &info.summary, SENTENCE_BYTES),
        info.config_schema.as_deref().map_or(Ok(()), |it| json("config-schema", it)),
        info.example_config.as_deref().map_or(Ok(()), |it| json("example-config", it)),
        wants(&info.wants),
        metrics(&info.metrics),
        pairs("extra", &info.extra, TEXT_BYTES),
    ];
    let mut refused: Vec<Refusal> =
        checks.into_iter().filter_map(Result::err).map(refusal).collect();
    if refused.is_empty() {
        refused.extend(schema(&info));
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let metric =
        |it: wit::Metric| DeclaredMetric { name: it.name, help: it.help, kind: it.kind.into() };
    Ok(Info {
        name: info.name,
        version: info.version,
        summary: info.summary,
        config_schema: info.config_schema,
        example_config: info.example_config,
        state_version: info.state_version,
        wants: info.wants,
        metrics: info.metrics.into_iter().map(metric).collect(),
        extra: info.extra,
    })
}

/// What is wrong with the schema: with itself, or with the example that it should describe.
fn schema(info: &wit::Info) -> Option<Refusal> {
    let schema = info.config_schema.as_deref()?;
    let example = info.example_config.as_deref();
    let settings = example.and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
    match validate(schema, &settings) {
        Err(refusal) => Some(refusal),
        Ok(issues) => {
            let issue = issues.first().filter(|_| example.is_some())?;
            let (path, message) = (short(&issue.path), short(&issue.message));
            let what = format!("an example-config that its own schema refuses: {path:?} {message}");
            Some(refusal(Fault::Invalid { what }))
        }
    }
}

fn refusal(fault: Fault) -> Refusal {
    match fault {
        Fault::Invalid { what } => {
            Refusal::new("describe", format!("describes itself with {what}"))
        }
        other => Refusal::new("describe", other.to_string()),
    }
}

/// A letter, then letters, digits and the joint.
fn name(what: &str, value: &str, joint: u8) -> Checked<()> {
    let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == joint;
    let begins = value.bytes().next().is_some_and(|it| it.is_ascii_lowercase());
    if begins && value.len() <= NAME_BYTES && value.bytes().all(fits) {
        return Ok(());
    }
    let joint = char::from(joint);
    invalid(format!("a {what} that is not [a-z][a-z0-9{joint}]{{0,47}}: {:?}", short(value)))
}

fn json(what: &str, value: &str) -> Checked<()> {
    most(&format!("bytes of {what}"), value.len(), JSON_BYTES)?;
    match serde_json::from_str::<serde_json::Value>(value) {
        Ok(_) => Ok(()),
        Err(error) => invalid(format!("a {what} that is no JSON: {error}")),
    }
}

/// `word:parameter`, the parameter without a space.
fn wants(wants: &[String]) -> Checked<()> {
    most("wants", wants.len(), WANTS)?;
    for want in wants {
        most("bytes of a want", want.len(), WANT_BYTES)?;
        let (word, parameter) = want.split_once(':').unwrap_or((want, ""));
        let formed = !word.is_empty()
            && word.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')
            && !parameter.is_empty()
            && parameter.bytes().all(|it| it.is_ascii_graphic() && !it.is_ascii_uppercase());
        if !formed {
            return invalid(format!(
                "a want that is not `word:parameter` in lower case: {:?}",
                short(want)
            ));
        }
    }
    Ok(())
}

fn metrics(metrics: &[wit::Metric]) -> Checked<()> {
    most("metrics", metrics.len(), METRICS)?;
    let mut names = HashSet::new();
    for metric in metrics {
        name("name of a metric", &metric.name, b'_')?;
        text("help of a metric", &metric.help, SENTENCE_BYTES)?;
        if !names.insert(&metric.name) {
            return invalid(format!("the metric {:?} twice", metric.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{info, wit};

    fn good() -> wit::Info {
        let metric = |name: &str| wit::Metric {
            name: name.to_owned(),
            help: "what it counts".to_owned(),
            kind: wit::MetricKind::Counter,
        };
        wit::Info {
            name: "require-header".to_owned(),
            version: "1.2.3".to_owned(),
            summary: "asks for a header".to_owned(),
            config_schema: Some("{\"type\":\"object\"}".to_owned()),
            example_config: Some("{}".to_owned()),
            state_version: 1,
            wants: vec![
                "header:x-tenant".to_owned(),
                "header:*".to_owned(),
                "action:alert".to_owned(),
            ],
            metrics: vec![metric("seen"), metric("seen_2")],
            extra: vec![("license".to_owned(), "MIT".to_owned())],
        }
    }

    #[test]
    fn a_description_within_the_contract_passes_whole() {
        let found = info(good()).expect("a good description");
        assert_eq!(found.name, "require-header");
        assert_eq!(found.metrics.len(), 2);
        assert_eq!(found.wants.len(), 3);
        assert_eq!(found.extra, [("license".to_owned(), "MIT".to_owned())]);
    }

    #[test]
    fn each_breach_is_named() {
        type Breach = (&'static str, fn(&mut wit::Info));
        let breaches: [Breach; 16] = [
            ("name", |it| it.name = "Require".to_owned()),
            ("name", |it| it.name = String::new()),
            ("name", |it| it.name = "a".repeat(49)),
            ("name", |it| it.name = "1st".to_owned()),
            ("version", |it| it.version = "v".repeat(65)),
            ("version", |it| it.version = "1\n2".to_owned()),
            ("summary", |it| it.summary = "s".repeat(201)),
            ("config-schema", |it| it.config_schema = Some("{".to_owned())),
            ("example-config", |it| it.example_config = Some(" ".repeat(64 * 1024 + 1))),
            ("want", |it| it.wants = vec!["header:X-Tenant".to_owned()]),
            ("want", |it| it.wants = vec!["header".to_owned()]),
            ("want", |it| it.wants = vec!["a:b".to_owned(); 33]),
            ("metric", |it| it.metrics[1].name = "seen".to_owned()),
            ("metric", |it| it.metrics[1].name = "seen-2".to_owned()),
            ("metric", |it| it.metrics[0].help = "h\u{7}".to_owned()),
            ("extra", |it| it.extra = vec![(String::new(), String::new()); 33]),
        ];
        for (word, breach) in breaches {
            let mut described = good();
            breach(&mut described);

            let refused = info(described).expect_err(word);

            assert_eq!(refused.len(), 1, "{refused:?}");
            assert!(refused.iter().all(|it| it.message.contains(word)), "{word}: {refused:?}");
        }
    }

    #[test]
    fn all_breaches_are_told_at_once() {
        let mut described = good();
        described.name = "X".to_owned();
        described.summary = "s".repeat(500);
        described.wants = vec!["?".to_owned()];

        assert_eq!(info(described).expect_err("three breaches").len(), 3);
    }
}
