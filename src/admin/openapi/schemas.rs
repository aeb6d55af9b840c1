//! Schemas of the answers that tools read; the others are objects.

use serde_json::{Map, Value, json};

use crate::admin::endpoints::ENDPOINTS;

/// By name; every answer of the table has one.
pub(super) fn schemas() -> Value {
    let mut all: Map<String, Value> =
        ENDPOINTS.iter().map(|it| (it.answer.to_owned(), json!({ "type": "object" }))).collect();
    let parts = [problem(), of_health(), of_incidents(), of_outbox(), of_judging()];
    for part in parts {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn list(name: &str) -> Value {
    json!({ "type": "array", "items": reference(name) })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn maybe_text() -> Value {
    json!({ "type": ["string", "null"] })
}

fn number() -> Value {
    json!({ "type": "integer" })
}

fn maybe_number() -> Value {
    json!({ "type": ["integer", "null"] })
}

fn truth() -> Value {
    json!({ "type": "boolean" })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn pairs() -> Value {
    json!({ "type": "array", "items": { "type": "array", "prefixItems": [text(), text()], "minItems": 2, "maxItems": 2 } })
}

fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

fn problem() -> Value {
    let properties = json!({
        "type": text(), "title": text(), "status": number(), "detail": text(), "request_id": text(),
    });
    json!({ "Problem": object(&["type", "title", "status", "detail"], &properties) })
}

fn of_health() -> Value {
    let health = json!({
        "status": words(&["OK", "degraded"]),
        "version": text(), "started_at": text(), "uptime_seconds": number(),
        "generation": { "type": "object" }, "maintenance": { "type": "object" },
        "plugins": { "type": "object" }, "cores": { "type": "object" },
        "services": list("Service"), "stores": { "type": "object" },
        "sinks": list("Sink"), "troubles": list("Trouble"),
    });
    let service = json!({
        "name": text(), "maintenance": words(&["on", "off", "exempt"]), "window": { "type": ["object", "null"] },
        "in_flight": number(), "max_in_flight": number(), "upstreams": texts(),
        "endpoints": { "type": "array", "items": { "type": "object" } },
        "health": { "oneOf": [reference("ServiceHealth"), { "type": "null" }] },
    });
    let judged = json!({
        "service": text(), "health": reference("HealthWord"), "sinceMs": number(),
        "verdict": { "oneOf": [reference("Verdict"), { "type": "null" }] },
        "by": maybe_text(), "reason": maybe_text(), "flapping": truth(), "muted": truth(),
        "incident": maybe_text(), "endpoints": list("EndpointHealth"),
        "lastProbeMs": maybe_number(), "nextProbeMs": maybe_number(),
    });
    let endpoint = json!({
        "address": text(), "up": truth(), "sample": { "oneOf": [reference("Sample"), { "type": "null" }] },
    });
    let trouble = json!({
        "kind": words(&["service", "sink", "store", "kubesnap"]), "name": maybe_text(), "reason": text(),
        "since": maybe_text(), "next_try": maybe_text(),
    });
    json!({
        "Health": object(&["status", "services", "stores", "sinks", "troubles"], &health),
        "Service": object(&["name", "maintenance"], &service),
        "ServiceHealth": object(&["service", "health", "sinceMs"], &judged),
        "EndpointHealth": object(&["address", "up"], &endpoint),
        "Trouble": object(&["kind", "name", "reason"], &trouble),
    })
}

fn of_incidents() -> Value {
    let incident = json!({
        "id": text(), "service": reference("ServiceFacts"), "severity": reference("Severity"),
        "opened-ms": number(), "resolved-ms": maybe_number(), "health": reference("HealthWord"),
        "code": text(), "detail": text(), "issues": texts(), "channels": texts(), "by": maybe_text(),
        "flapping": truth(), "muted": truth(), "told": truth(), "snapshot": { "type": ["object", "null"] },
        "evidence": list("Sample"), "timeline": list("Moment"),
    });
    let moment = json!({
        "at-ms": number(), "what": text(), "health": reference("HealthWord"), "code": text(), "text": text(),
        "by": maybe_text(),
    });
    let incidents = json!({ "incidents": list("Incident"), "open": number(), "total": number() });
    json!({
        "Incident": object(&["id", "service", "severity", "opened-ms", "health", "code"], &incident),
        "Moment": object(&["at-ms", "what", "health", "code", "text"], &moment),
        "Incidents": object(&["incidents", "open", "total"], &incidents),
        "IncidentAnswer": object(&["incident"], &json!({ "incident": reference("Incident") })),
    })
}

fn of_outbox() -> Value {
    let sink = json!({
        "name": text(), "kind": words(&["event-dispatcher", "webhook", "slack", "gone"]),
        "waiting": number(), "dead": number(), "delivered": number(),
        "failingSinceMs": maybe_number(), "reason": maybe_text(), "nextTryMs": maybe_number(),
    });
    let parcel = json!({
        "number": number(), "sink": text(), "incidents": texts(), "phase": reference("Phase"), "key": text(),
        "created-ms": number(), "state": words(&["waiting", "dead"]), "attempts": number(),
        "next-try-ms": number(), "error": maybe_text(), "at-ms": number(), "reason": text(),
        "event": reference("Event"), "message": reference("Message"),
    });
    let outbox = json!({
        "sinks": list("Sink"), "parcels": list("Parcel"), "total": number(), "store": { "type": "object" },
    });
    let tested = json!({ "sink": text(), "accepted": truth(), "detail": text() });
    let test =
        json!({ "accepted": truth(), "tested": list("TestedSink"), "audit_warning": maybe_text() });
    let preview = json!({
        "event": reference("Event"), "parcels": list("Parcel"),
        "message": { "oneOf": [reference("Message"), { "type": "null" }] },
    });
    json!({
        "Sink": object(&["name", "kind", "waiting", "dead", "delivered"], &sink),
        "Parcel": object(&["number", "sink", "incidents", "phase", "key", "state"], &parcel),
        "Outbox": object(&["sinks", "parcels", "total"], &outbox),
        "TestedSink": object(&["sink", "accepted", "detail"], &tested),
        "Tested": object(&["accepted", "tested"], &test),
        "Preview": object(&["event", "message", "parcels"], &preview),
        "Acted": object(&["changed"], &json!({ "changed": truth(), "audit_warning": maybe_text() })),
        "Events": { "type": "string", "description":
            "Events `health`, `incident`, `outbox`, `snapshot`, `maintenance`, `generation`, and `lost`, each with JSON." },
    })
}

fn of_judging() -> Value {
    let sample = json!({
        "at-ms": number(), "source": words(&["probe", "traffic", "schedule", "peer"]), "kind": text(),
        "latency-us": number(), "outcome": text(), "status": maybe_number(), "body": maybe_text(), "extra": pairs(),
    });
    let facts = json!({
        "name": text(), "namespace": maybe_text(), "endpoint": text(), "ready": maybe_number(),
        "desired": maybe_number(), "labels": pairs(),
    });
    let verdict = json!({
        "status": reference("HealthWord"), "code": text(), "detail": text(),
        "actions": { "type": "array" }, "next-check-ms": maybe_number(), "state-bytes": number(), "extra": pairs(),
    });
    let window = json!({
        "now-ms": number(), "service": reference("ServiceFacts"), "current": reference("HealthWord"),
        "since-ms": number(), "samples": list("Sample"), "seed": number(), "extra": pairs(),
    });
    let event = json!({
        "now-ms": number(), "id": text(), "phase": reference("Phase"), "severity": reference("Severity"),
        "service": reference("ServiceFacts"), "old": reference("HealthWord"), "new": reference("HealthWord"),
        "code": text(), "detail": text(), "issues": texts(), "snapshot-id": maybe_text(), "gateway": text(),
        "extra": pairs(),
    });
    let message = json!({
        "issues": texts(), "channels": texts(), "channel": maybe_text(), "dedup-key": maybe_text(), "extra": pairs(),
    });
    let observation = json!({
        "at-ms": number(), "service": text(), "samples": list("Sample"), "status": reference("HealthWord"),
        "code": text(), "by": maybe_text(), "muted": truth(),
    });
    let page =
        json!({ "now_ms": number(), "observations": list("Observation"), "next": maybe_text() });
    let windows = json!({
        "service": text(), "policy": maybe_text(), "settings": { "type": "object" },
        "rules": { "type": "object" }, "windows": list("Window"),
    });
    json!({
        "Sample": object(&["at-ms", "source", "kind", "latency-us", "outcome"], &sample),
        "ServiceFacts": object(&["name"], &facts),
        "Verdict": object(&["status", "code", "detail"], &verdict),
        "Window": object(&["now-ms", "service", "current", "since-ms", "samples"], &window),
        "Windows": object(&["service", "windows"], &windows),
        "Event": object(&["now-ms", "id", "phase", "severity", "service", "old", "new", "code"], &event),
        "Message": object(&["issues", "channels"], &message),
        "Observation": object(&["at-ms", "service", "samples", "status", "code"], &observation),
        "Observations": object(&["now_ms", "observations", "next"], &page),
        "HealthWord": words(&["unknown", "ok", "degraded", "failing", "maintenance"]),
        "Severity": words(&["info", "warning", "critical"]),
        "Phase": words(&["opened", "updated", "resolved", "test"]),
    })
}
