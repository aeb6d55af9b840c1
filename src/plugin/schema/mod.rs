//! Holds a component's settings against its JSON Schema, within bounds that no schema can pass.
//!
//! The documented subset of JSON Schema 2020-12 below, in a validator of our own: schemas come from components that are not
//! trusted yet, and a general one follows references, backtracks in patterns and multiplies alternatives without a bound on
//! its work. What is not in the subset is refused by name when the component is loaded, never passed over.
//!
//! | | keywords |
//! |---|---|
//! | any value | `type`, `enum`, `const`, `allOf`, `anyOf`, `oneOf`, `$ref` to `#/$defs/NAME` |
//! | object | `properties`, `required`, `additionalProperties`, `minProperties`, `maxProperties` |
//! | array | `items`, `minItems`, `maxItems`, `uniqueItems` |
//! | string | `minLength`, `maxLength`, `pattern` |
//! | number | `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum` |
//! | for people | `$schema`, `$id`, `$comment`, `title`, `description`, `default`, `examples`, `format`, `deprecated`, `readOnly`, `writeOnly` |

mod shape;
mod walk;

use serde_json::Value;

use crate::plugin::schema::shape::Schema;
use crate::plugin::schema::walk::Walk;
use crate::plugin::{Issue, Refusal};

/// Bytes of a schema.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// Issues that are told; a person corrects no more at once.
const ISSUES_MAX: usize = 64;

/// Everything that is wrong with the settings, in the schema's order; empty when they fit.
///
/// # Errors
/// When the schema is none, is outside of the subset, or checking it would take too much.
pub fn validate(schema: &str, settings: &Value) -> Result<Vec<Issue>, Refusal> {
    let schema = Schema::read(schema)?;
    let mut walk = Walk::new(&schema);
    let mut issues = walk.check(settings).map_err(|_| {
        refuse("it takes too many steps to check the settings")
            .advice("Nest fewer `anyOf`, `oneOf` and `allOf`, or keep `enum` and arrays short.")
    })?;
    issues.truncate(ISSUES_MAX);
    Ok(issues)
}

fn refuse(what: impl AsRef<str>) -> Refusal {
    Refusal::new("describe", format!("its settings schema cannot be used: {}", what.as_ref()))
}

#[cfg(test)]
mod tests;
