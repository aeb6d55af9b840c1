//! `headgate/openapi.json`: this API in OpenAPI 3.1, made of the table that dispatch goes by.

mod schemas;

use serde_json::{Map, Value, json};

use crate::admin::Call;
use crate::admin::endpoints::{Body, ENDPOINTS, EVENTS, Endpoint, STATUS};
use crate::admin::openapi::schemas::schemas;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::generation::live::Live;

/// The document; nothing in it depends on the config but the prefix.
pub(super) fn document(call: &Call, live: &Live) -> Result<Value, Problem> {
    Query::parse(call.query.as_deref())?.only(&[])?;
    let base = live.load().generation.admin.prefix.clone();
    Ok(described(&base))
}

fn described(base: &str) -> Value {
    let paths = ENDPOINTS.iter().map(|it| (format!("/{}", it.path), operations(it)));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headgate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "On the data listener below the admin prefix, and on the admin listener. Errors are \
                problems (RFC 9457). A parameter that is not known is refused.",
        },
        "servers": [{ "url": base }],
        "security": [{ "key": [] }],
        "paths": paths.collect::<Map<_, _>>(),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-KEY",
                    "description": "A key with the scope `admin`. The admin listener may be open to its own machine.",
                },
            },
            "schemas": schemas(),
        },
    })
}

/// By method. HEAD goes without saying.
fn operations(endpoint: &Endpoint) -> Value {
    let methods = endpoint.methods.iter().filter(|it| **it != "HEAD");
    let operation = |method: &&str| (method.to_ascii_lowercase(), operation(endpoint, method));
    Value::Object(methods.map(operation).collect())
}

fn operation(endpoint: &Endpoint, method: &str) -> Value {
    let kind = if endpoint.path == EVENTS { "text/event-stream" } else { "application/json" };
    let answer = json!({ "$ref": format!("#/components/schemas/{}", endpoint.answer) });
    let mut form = json!({
        "operationId": format!("{}-{}", method.to_ascii_lowercase(), slug(endpoint.path)),
        "summary": endpoint.summary,
        "parameters": parameters(endpoint),
        "responses": {
            "200": { "description": "Done.", "content": { kind: { "schema": answer } } },
            "default": {
                "description": "A refusal.",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
        },
    });
    if endpoint.path == STATUS {
        // Without a key unless the config says otherwise.
        form["security"] = json!([{}, { "key": [] }]);
    }
    let content = match endpoint.body {
        Body::None => return form,
        Body::Wasm => {
            json!({ "application/wasm": { "schema": { "type": "string", "format": "binary" } } })
        }
        Body::Json(schema) => {
            json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
        }
    };
    form["requestBody"] = json!({ "content": content });
    form
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let in_query = endpoint.parameters.iter().map(|it| {
        json!({ "name": it.name, "in": "query", "description": it.what, "schema": { "type": it.kind } })
    });
    let in_path = endpoint.path.ends_with("{id}").then(
        || json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }),
    );
    in_path.into_iter().chain(in_query).collect()
}

fn slug(path: &str) -> String {
    path.replace(['/', '.'], "-").replace(['{', '}'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, it) in members {
                    if let (true, Some(text)) = (name == "$ref", it.as_str()) {
                        found.push(text.to_owned());
                    }
                    references(it, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|it| references(it, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = described("/dev/api/admin");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > ENDPOINTS.len());
        for it in found {
            let pointer = it.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{it}");
        }
    }

    #[test]
    fn operations_are_told_apart() {
        let document = described("");
        let mut ids = Vec::new();
        for operations in document["paths"].as_object().unwrap().values() {
            for operation in operations.as_object().unwrap().values() {
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
                assert!(operation["summary"].as_str().unwrap().ends_with('.'));
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert_eq!(document["paths"].as_object().unwrap().len(), ENDPOINTS.len());
    }
}
