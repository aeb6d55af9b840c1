//! Makes of the engine's error the fault that it stands for.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::plugin::host::clock::OutOfTime;
use crate::plugin::host::limiter::OverMemory;
use crate::plugin::host::state::State;
use crate::plugin::host::words::escaped;
use crate::plugin::{Fault, Level};

/// Bytes of the words about a trap.
const MESSAGE_BYTES: usize = 1024;

/// Functions of a trap that are named.
const FUNCTIONS: usize = 8;

/// What the engine says when a guest hands over too much; it has no public type (wasmtime 48, `HostcallFuelExhausted`).
const TOO_MUCH_DATA: &str = "fuel allocated for hostcalls has been exhausted";

/// Functions of Rust's runtime between a panic and the code that panicked.
const RUNTIME: [&str; 8] = [
    "__rustc",
    "rust_",
    "std::panicking",
    "core::panicking",
    "std::sys::backtrace",
    "std::process::abort",
    "std::alloc",
    "abort",
];

/// Where an error came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// While the instance was made.
    Start,
    /// In a call: what is no trap is an answer that cannot be read.
    Call,
}

/// The fault behind an error.
pub(super) fn of(error: &wasmtime::Error, at: At, state: &State) -> Fault {
    let limits = &state.sandbox.limits;
    if error.is::<OutOfTime>() {
        return Fault::Timeout { budget: state.meter.budget() };
    }
    if let Some(over) = error.downcast_ref::<OverMemory>() {
        return Fault::Memory { limit: over.limit };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Busy;
    }
    let root = error.root_cause().to_string();
    if root.contains(TOO_MUCH_DATA) {
        return Fault::Data { limit: limits.data_bytes };
    }
    let trap = error.downcast_ref::<Trap>();
    let stack = error.downcast_ref::<WasmBacktrace>();
    if at == At::Call && trap.is_none() && stack.is_none() {
        return Fault::Invalid { what: escaped(&root, MESSAGE_BYTES) };
    }
    let reason = trap.map_or(root, |it| reason(*it));
    let panic = state.said.lines.last().filter(|it| it.level == Level::Error);
    let mut message = reason + &functions(stack);
    if let Some(panic) = panic {
        message.push_str("; it said: ");
        message.push_str(&panic.text);
    }
    Fault::Trap { message: escaped(&message, MESSAGE_BYTES) }
}

fn reason(trap: Trap) -> String {
    match trap {
        Trap::UnreachableCodeReached => "it gave up (`unreachable`, as a panic ends)".to_owned(),
        other => other.to_string().trim_start_matches("wasm trap: ").to_owned(),
    }
}

/// ` in a, called by b, ...`: innermost first, without the panic's own machinery.
fn functions(stack: Option<&WasmBacktrace>) -> String {
    let frames = stack.map_or(&[][..], WasmBacktrace::frames);
    let names: Vec<String> = frames
        .iter()
        .map(|it| it.func_name().map_or_else(|| format!("function {}", it.func_index()), plain))
        .collect();
    let own = names.iter().position(|it| !is_runtime(it)).unwrap_or(0);
    let shown: Vec<&str> = names.iter().skip(own).take(FUNCTIONS).map(String::as_str).collect();
    if shown.is_empty() { String::new() } else { format!(" in {}", shown.join(" < ")) }
}

/// A function's name as its author wrote it, without the compiler's hash.
fn plain(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn is_runtime(name: &str) -> bool {
    RUNTIME.iter().any(|it| name.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::{is_runtime, plain};

    #[test]
    fn names_are_those_of_the_source() {
        let cases = [
            ("_ZN7example4pick17h0123456789abcdefE", "example::pick"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("main", "main"),
            ("headgate:plugin/plugin@0.1.0#describe", "headgate:plugin/plugin@0.1.0#describe"),
        ];
        for (name, expected) in cases {
            assert_eq!(plain(name), expected);
        }
    }

    #[test]
    fn the_machinery_of_a_panic_is_not_the_place_of_the_panic() {
        for name in ["core::panicking::panic_fmt", "rust_begin_unwind", "__rustc::rust_panic"] {
            assert!(is_runtime(name), "{name}");
        }
        assert!(!is_runtime("threshold::evaluate"));
    }
}
