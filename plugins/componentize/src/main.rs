//! Wraps core modules as components: `componentize MODULE COMPONENT [MODULE COMPONENT]...`

use std::process::ExitCode;

use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (pairs, rest) = arguments.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        eprintln!("usage: componentize MODULE COMPONENT [MODULE COMPONENT]...");
        return ExitCode::from(2);
    }
    for [module, component] in pairs {
        if let Err(error) = wrap(module, component) {
            eprintln!("componentize: {module}: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The interface stands in a custom section of the module, where the bindings left it. The names of functions stay, so
/// that a trap can tell where it happened.
fn wrap(module: &str, component: &str) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = std::fs::read(module)?;
    let encoded = ComponentEncoder::default().validate(true).module(&bytes)?.encode()?;
    std::fs::write(component, encoded)?;
    Ok(())
}
