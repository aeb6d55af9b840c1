//! Makes a component of a core module, and advice of what stands in the way.

use wit_component::ComponentEncoder;

/// The component, or what is wrong and how to build it right.
pub(super) fn wrap(module: &[u8]) -> Result<Vec<u8>, String> {
    if wasmparser::Parser::is_component(module) {
        return Ok(module.to_vec());
    }
    let encoded =
        ComponentEncoder::default().validate(true).module(module).and_then(|mut it| it.encode());
    encoded.map_err(|error| {
        let cause = format!("{error:#}");
        let text = format!("the module cannot be made a component: {cause}");
        match advice(module, &cause) {
            Some(advice) => format!("{text}\n{advice}"),
            None => text,
        }
    })
}

fn advice(module: &[u8], cause: &str) -> Option<&'static str> {
    let (imports, described) = glance(module);
    if imports.iter().any(|it| it.starts_with("wasi")) {
        return Some(
            "it imports WASI, which a gate does not give: build for wasm32-unknown-unknown (not wasm32-wasip1 or \
             wasm32-wasip2), and use no files, clocks, environment or random numbers",
        );
    }
    if imports.iter().any(|it| it.contains("wbindgen")) {
        return Some(
            "it imports JavaScript by wasm-bindgen: a dependency has a feature for browsers (often `js` of getrandom, \
             `wasmbind` of chrono); turn it off",
        );
    }
    if !described {
        return Some(
            "it says nothing of its interface: call wit_bindgen::generate! with the world and export! with the type, \
             and keep `crate-type = [\"cdylib\"]` in Cargo.toml",
        );
    }
    if cause.contains("export") {
        return Some(
            "an export of the world is missing: implement every Guest trait and name the type in export!",
        );
    }
    None
}

/// Modules that it imports from, and whether it carries a description of its interface.
fn glance(module: &[u8]) -> (Vec<String>, bool) {
    let mut imports = Vec::new();
    let mut described = false;
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        match payload {
            Ok(wasmparser::Payload::ImportSection(section)) => {
                for group in section.into_imports().flatten() {
                    imports.push(group.module.to_owned());
                }
            }
            Ok(wasmparser::Payload::CustomSection(section)) => {
                described |= section.name().starts_with("component-type");
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    (imports, described)
}
