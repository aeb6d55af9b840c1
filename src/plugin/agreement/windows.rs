//! Random settings and windows, steered towards one verdict each, with bodies that are hard to read.

use serde_json::{Map, Value, json};

use crate::model::health::{Attrs, Health, Outcome, Sample, ServiceFacts, Source, Window};
use crate::plugin::agreement::Random;
use crate::plugin::agreement::bodies::{WRITTEN, bad_body, body};

const NOW: u64 = 1_790_000_000_000;
const WORD: &str = "Maintenance mode is enabled";

/// What the steering has to know of the settings.
pub(super) struct Known {
    pub(super) path: Option<String>,
    pub(super) expected: Value,
    word: Option<String>,
    statuses: Vec<(u16, u16)>,
    latency_ms: Option<u64>,
    timeouts: u64,
    stale_ms: u64,
}

/// Settings and a window whose verdict has (nearly always) this code.
pub(super) fn case(code: &str, random: &mut Random) -> (Value, Window) {
    let known = known(code, random);
    let settings = written(&known, random);
    let mut samples: Vec<Sample> = (0..random.below(6)).map(|_| any_sample(random)).collect();
    if code == "no-samples" {
        samples.iter_mut().for_each(|it| uncount(it, random));
    } else {
        samples.extend(aimed(code, &known, random));
    }
    if random.chance(30) {
        let mut last = any_sample(random);
        uncount(&mut last, random);
        samples.push(last);
    }
    if random.chance(3) {
        // Off the aim: whatever comes of it.
        samples.push(any_sample(random));
    }
    (settings, window(samples, random))
}

fn known(code: &str, random: &mut Random) -> Known {
    let paths = ["$.status", "$.status", "$.a.b", "$.x-y.Z_9.status", "$.a.a.a.a.a.a.a.a"];
    let path = (!random.chance(15)).then(|| random.pick(&paths).to_owned());
    let expected = [
        json!("OK"),
        json!("OK"),
        json!(""),
        json!("é\n\"\u{1}😀"),
        json!(7),
        json!(i64::MIN),
        json!(true),
        json!(false),
    ];
    let statuses = [
        vec![(200, 299)],
        vec![(200, 200)],
        vec![(200, 204), (404, 404)],
        vec![(503, 599), (100, 101)],
    ];
    let mut known = Known {
        path,
        expected: random.pick(&expected),
        word: (!random.chance(20)).then(|| random.pick(&[WORD, WORD, "down", "OK"]).to_owned()),
        statuses: random.pick(&statuses),
        latency_ms: random.chance(40).then(|| 1 + random.below(600_000)),
        timeouts: 1 + random.below(4),
        stale_ms: random.pick(&[1000, 5000, 300_000, 86_400_000]),
    };
    match code {
        "maintenance" => {
            known.path.get_or_insert_with(|| "$.status".to_owned());
            known.word.get_or_insert_with(|| WORD.to_owned());
        }
        "bad-body" => drop(known.path.get_or_insert_with(|| "$.status".to_owned())),
        "late" => known.timeouts += 1,
        "slow" => known.latency_ms = Some(1 + random.below(4000)),
        _ => {}
    }
    if code != "maintenance" && known.word.as_deref() == known.expected.as_str() {
        known.word = None;
    }
    known
}

/// What is as the default is sometimes left out.
fn written(known: &Known, random: &mut Random) -> Value {
    let range = |(from, to): &(u16, u16)| {
        if from == to { json!(from.to_string()) } else { json!(format!("{from}-{to}")) }
    };
    let statuses: Vec<Value> = known.statuses.iter().map(range).collect();
    let mut settings = Map::new();
    for (name, value, preset) in [
        ("staleMs", json!(known.stale_ms), json!(300_000)),
        ("statuses", json!(statuses), json!(["200-299"])),
        ("path", json!(known.path), json!("$.status")),
        ("expected", known.expected.clone(), json!("OK")),
        ("maintenanceWord", json!(known.word), json!(WORD)),
        ("latencyMs", json!(known.latency_ms), json!(null)),
        ("timeouts", json!(known.timeouts), json!(2)),
    ] {
        if value != preset || random.chance(50) {
            settings.insert(name.to_owned(), value);
        }
    }
    Value::Object(settings)
}

/// The newest samples that count, shaped for one verdict.
fn aimed(code: &str, known: &Known, random: &mut Random) -> Vec<Sample> {
    let (status, _) = random.pick(&known.statuses);
    let mut good = Sample {
        kind: "http".to_owned(),
        at_ms: NOW - random.below(known.stale_ms),
        source: random.pick(&[Source::Probe, Source::Probe, Source::Schedule]),
        latency_us: known
            .latency_ms
            .map_or(5000, |it| u32::try_from(it * 1000 - random.below(2) * 999).unwrap()),
        outcome: random.pick(&[Outcome::Ok, Outcome::Ok, Outcome::BadStatus]),
        status: Some(status),
        body: Some(body(known, &known.expected.to_string(), random)),
        ..any_sample(random)
    };
    let failed = |outcome, random: &mut Random| Sample {
        outcome,
        body: random.chance(20).then(|| "{}".to_owned()),
        ..any_sample(random)
    };
    let (at_ms, source) = (good.at_ms, good.source);
    let one = match code {
        "stale" => {
            Sample { at_ms: NOW - known.stale_ms - 1 - random.below(100_000), ..any_probe(random) }
        }
        "maintenance" => {
            let word = json!(known.word).to_string();
            let body = Some(body(known, &word, random));
            Sample { kind: "http".to_owned(), body, at_ms, ..any_probe(random) }
        }
        "late" => return late(1 + random.below(known.timeouts - 1), at_ms, random),
        "timeout" => return late(known.timeouts + random.below(3), at_ms, random),
        "refused" => failed(Outcome::Refused, random),
        "reset" => failed(Outcome::Reset, random),
        "dns" => failed(Outcome::Dns, random),
        "tls" => failed(Outcome::Tls, random),
        "protocol" => failed(Outcome::Protocol, random),
        "probe-error" => silent(failed(Outcome::Other, random)),
        "unexpected" => outspoken(failed(Outcome::Other, random), random),
        "bad-status" if random.chance(20) => {
            Sample { outcome: Outcome::BadStatus, status: None, ..good }
        }
        "bad-status" if random.chance(40) => grpc_bad(good, random),
        "bad-status" => Sample { status: Some(random.pick(&[199, 205, 302, 403, 500])), ..good },
        "bad-body" => {
            good.body = bad_body(known, random);
            good
        }
        "slow" => {
            let bound = u32::try_from(known.latency_ms.unwrap_or(0) * 1000).unwrap();
            let more = u32::try_from(1 + random.below(5_000_000)).unwrap();
            Sample { latency_us: random.pick(&[bound + 1, bound + more, u32::MAX]), ..good }
        }
        _ => fine(good, random),
    };
    let at_ms = if code == "stale" { one.at_ms } else { at_ms };
    vec![Sample { at_ms, source, ..one }]
}

/// Without a sentence on what was expected.
fn silent(mut sample: Sample) -> Sample {
    sample.extra.retain(|(name, _)| name != "expect");
    sample
}

/// With one, perhaps before others that do not count.
fn outspoken(mut sample: Sample, random: &mut Random) -> Sample {
    let sentence = random.pick(&["$.a is 1, not \"2\"", "", "zu spät: 😀"]);
    sample.extra.insert(0, ("expect".to_owned(), sentence.to_owned()));
    sample
}

/// As expected, also from what has neither status nor body.
fn fine(mut good: Sample, random: &mut Random) -> Sample {
    if random.chance(10) && good.outcome == Outcome::Ok {
        good.status = None;
    }
    let kind = random.pick(&["http", "http", "tcp", "grpc", "cronjob", "later"]);
    kind.clone_into(&mut good.kind);
    if kind == "grpc" {
        good.outcome = Outcome::Ok;
        good.status = random.chance(80).then_some(0);
    }
    if kind != "http" {
        good.body = random.chance(30).then(|| random.pick(&WRITTEN).to_owned());
    }
    if kind == "tcp" {
        good.outcome = Outcome::Ok;
        good.status = None;
    }
    good
}

/// A gRPC health check that says no.
fn grpc_bad(good: Sample, random: &mut Random) -> Sample {
    let (outcome, status) = random.pick(&[
        (Outcome::BadStatus, Some(0)),
        (Outcome::BadStatus, Some(12)),
        (Outcome::Ok, Some(14)),
        (Outcome::Ok, Some(200)),
        (Outcome::BadStatus, None),
    ]);
    Sample { kind: "grpc".to_owned(), outcome, status, ..good }
}

/// An answer, then so many time-outs with samples between them that do not count.
fn late(count: u64, at_ms: u64, random: &mut Random) -> Vec<Sample> {
    let mut samples = vec![Sample { outcome: Outcome::Ok, ..any_probe(random) }];
    for _ in 0..count {
        let mut between = any_sample(random);
        uncount(&mut between, random);
        samples.push(between);
        samples.push(Sample { at_ms, outcome: Outcome::Timeout, body: None, ..any_probe(random) });
    }
    samples
}

fn any_sample(random: &mut Random) -> Sample {
    let outcomes = [
        Outcome::Ok,
        Outcome::BadStatus,
        Outcome::Timeout,
        Outcome::Refused,
        Outcome::Reset,
        Outcome::Dns,
        Outcome::Tls,
        Outcome::Protocol,
        Outcome::Skipped,
        Outcome::Other,
    ];
    let outcome = random.pick(&outcomes);
    Sample {
        at_ms: NOW - random.below(200_000) + random.below(20_000),
        source: random.pick(&[Source::Probe, Source::Traffic, Source::Schedule, Source::Peer]),
        kind: random.pick(&["http", "http", "tcp", "grpc", "cronjob", "later"]).to_owned(),
        latency_us: u32::try_from(random.below(1 << 32)).unwrap(),
        outcome,
        status: random.chance(60).then(|| random.pick(&[100, 200, 204, 299, 404, 503, 599])),
        body: random.chance(60).then(|| random.pick(&WRITTEN).to_owned()),
        extra: extra(random),
    }
}

fn extra(random: &mut Random) -> Attrs {
    let mut pairs = Vec::new();
    for (name, value) in [("endpoint", "10.0.0.1:80"), ("expect", "it is slow"), ("expect", "no")] {
        if random.chance(10) {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    pairs
}

/// One that counts.
fn any_probe(random: &mut Random) -> Sample {
    let mut sample = Sample { source: Source::Probe, ..any_sample(random) };
    if sample.outcome == Outcome::Skipped {
        sample.outcome = Outcome::Ok;
    }
    sample
}

fn uncount(sample: &mut Sample, random: &mut Random) {
    match random.below(3) {
        0 => sample.outcome = Outcome::Skipped,
        1 => sample.source = Source::Traffic,
        _ => sample.source = Source::Peer,
    }
}

fn window(samples: Vec<Sample>, random: &mut Random) -> Window {
    let healths =
        [Health::Unknown, Health::Ok, Health::Degraded, Health::Failing, Health::Maintenance];
    Window {
        now_ms: NOW,
        service: ServiceFacts {
            name: random.pick(&["signal-engine", "a", "dienst-ä"]).to_owned(),
            namespace: random.chance(60).then(|| random.pick(&["dev", "default"]).to_owned()),
            endpoint: "http://engine:8000/health".to_owned(),
            ready: random.chance(50).then_some(1),
            desired: random.chance(50).then_some(2),
            labels: Vec::new(),
        },
        current: random.pick(&healths),
        since_ms: NOW - random.below(1_000_000),
        samples: samples.into_iter().map(std::sync::Arc::new).collect(),
        seed: random.next(),
        extra: Vec::new(),
    }
}
