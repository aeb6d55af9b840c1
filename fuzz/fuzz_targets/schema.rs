//! Any schema is refused or checks any settings within its bounds.
#![no_main]

use headgate::plugin::schema::validate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (schema, settings) = text.split_once('\0').unwrap_or((text, "{}"));
    let Ok(settings) = serde_json::from_str(settings) else { return };
    let _ = validate(schema, &settings);
});
