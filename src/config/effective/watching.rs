//! How services are watched and where alerts go, in the words of the config file.

use serde_json::{Map, Value, json};

use super::or_none;
use crate::config::alerts::{AlertRoute, Alerts, Kubesnap, Quiet, SecretRef, SinkConfig, SinkKind};
use crate::config::health::{Expect, Probe, ProbeKind, ProbeTls, Watching};
use crate::config::{Config, units};
use crate::model::health::Severity;

pub(super) fn health(it: &Watching, policy: &Value) -> Value {
    json!({
        "policy": policy,
        "probe": it.probe.as_ref().map(probe),
        "rise": it.rise,
        "fall": it.fall,
        "flap": { "window": it.flap.window, "high": it.flap.high, "low": it.flap.low },
        "severity": severity(it.severity),
        "namespace": it.namespace,
        "followsMaintenance": it.follows_maintenance,
        "passesInMaintenance": it.passes_in_maintenance,
        "labels": pairs(&it.labels),
    })
}

fn probe(it: &Probe) -> Value {
    let mut map = match &it.kind {
        ProbeKind::Http(http) => object(json!({
            "http": http.path,
            "method": http.method,
            "host": http.host,
            "headers": pairs(&http.headers),
            "port": http.port,
            "tls": tls(http.tls.as_ref()),
            "expect": expect(&http.expect),
        })),
        ProbeKind::Tcp => object(json!({ "tcp": true })),
        ProbeKind::Grpc(grpc) => object(json!({
            "grpc": grpc.service,
            "port": grpc.port,
            "tls": tls(grpc.tls.as_ref()),
        })),
    };
    map.extend(object(json!({
        "interval": units::duration(it.interval),
        "unhealthyInterval": units::duration(it.unhealthy_interval),
        "timeout": units::duration(it.timeout),
    })));
    Value::Object(map)
}

fn tls(it: Option<&ProbeTls>) -> Value {
    match it {
        None => json!(false),
        Some(it) if *it == ProbeTls::default() => json!(true),
        Some(it) => json!({
            "serverName": it.server_name,
            "ca": it.ca.as_ref().map(|it| it.display().to_string()),
            "insecure": it.insecure,
        }),
    }
}

fn expect(it: &Expect) -> Value {
    let status = |(from, to): &(u16, u16)| match from == to {
        true => json!(from),
        false => json!(format!("{from}-{to}")),
    };
    let place = |(path, value): &(String, Value)| -> Value {
        Value::Object([(path.clone(), value.clone())].into_iter().collect())
    };
    json!({
        "status": it.statuses.iter().map(status).collect::<Vec<_>>(),
        "json": it.json.as_ref().map(place),
        "body": it.body,
        "latency": it.latency.map(units::duration),
    })
}

fn pairs(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) fn alerts(config: &Config, formatter: &Value) -> Value {
    let it = &config.alerts;
    json!({
        "formatter": formatter,
        "gateway": it.gateway,
        "sinks": it.sinks.iter().map(sink).collect::<Vec<_>>(),
        "routes": routes(it),
        "groupWait": units::duration(it.group_wait),
        "remindAfter": or_none(it.remind_after.map(units::duration)),
        "quietHours": it.quiet.as_ref().map(quiet),
        "giveUp": units::duration(it.give_up),
        "outboxRows": it.outbox_rows,
        "staleMaintenance": units::duration(it.stale_maintenance),
    })
}

fn sink(it: &SinkConfig) -> Value {
    let kind = match &it.kind {
        SinkKind::EventDispatcher { url, channels, channel, allowed } => json!({
            "eventDispatcher": url,
            "channels": channels,
            "channel": channel,
            "allowedChannels": allowed,
        }),
        SinkKind::Webhook { url, secrets } => json!({
            "webhook": url,
            "secret": secrets.iter().map(reference).collect::<Vec<_>>(),
        }),
        SinkKind::Slack { url } => json!({ "slack": reference(url) }),
    };
    let mut map = object(json!({ "name": it.name }));
    map.extend(object(kind));
    map.extend(object(json!({ "timeout": units::duration(it.timeout) })));
    Value::Object(map)
}

fn routes(alerts: &Alerts) -> Vec<Value> {
    let name = |index: &usize| alerts.sinks.get(*index).map(|it| it.name.as_str());
    let route = |it: &AlertRoute| {
        let services = Some(&it.services).filter(|it| !it.is_empty());
        json!({
            "services": services,
            "severity": severity(it.severity),
            "sinks": it.sinks.iter().filter_map(name).collect::<Vec<_>>(),
        })
    };
    alerts.routes.iter().map(route).collect()
}

fn quiet(it: &Quiet) -> Value {
    let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    json!({
        "from": clock(it.from),
        "to": clock(it.to),
        "zone": it.zone,
        "below": severity(it.from_severity),
    })
}

pub(super) fn kubesnap(it: &Kubesnap) -> Value {
    json!({
        "url": it.url,
        "key": reference(&it.key),
        "timeout": units::duration(it.timeout),
        "wait": units::duration(it.wait),
        "cooldown": units::duration(it.cooldown),
        "budget": it.budget,
    })
}

fn reference(it: &SecretRef) -> String {
    match it {
        SecretRef::Env(name) => format!("env:{name}"),
        SecretRef::File(path) => format!("file:{}", path.display()),
    }
}

fn severity(it: Severity) -> &'static str {
    match it {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}
