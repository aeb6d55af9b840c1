//! Recognises what people hand over in the place of a component by its first bytes.

use crate::plugin::{Class, Refusal};

const MAGIC: &[u8] = b"\0asm";
/// After the magic: version and layer of a core module; components have layer 1.
const MODULE: &[u8] = b"\x01\0\0\0";
const COMPONENT_LAYER: &[u8] = b"\x01\0";
const HEADER: usize = 8;

/// Reads like the beginning of WebAssembly text.
const TEXT: [&str; 3] = ["(module", "(component", ";;"];

/// Why these bytes cannot be a component, by size and beginning alone.
pub(super) fn refuse_foreign(wasm: &[u8], class: Class, limit: usize) -> Option<Refusal> {
    if wasm.len() > limit {
        return Some(too_large(wasm.len(), class, limit));
    }
    if let Some(rest) = wasm.strip_prefix(MAGIC) {
        return refuse_layer(rest, wasm.len());
    }
    let (what, advice) = recognise(wasm);
    let code = if wasm.starts_with(b"\x7fELF") { "precompiled" } else { "not-a-component" };
    Some(Refusal::new(code, what).advice(advice))
}

fn too_large(len: usize, class: Class, limit: usize) -> Refusal {
    let what = format!("it has {len} bytes; at most {limit} are taken");
    Refusal::new("too-large", what).advice(match class {
        Class::Default => {
            "Build it smaller (release, strip, wasm-opt -Os), or grant the plugin `class: large` (Python, JavaScript)."
        }
        Class::Large => "Build it smaller: release, without debug information.",
    })
}

fn refuse_layer(rest: &[u8], len: usize) -> Option<Refusal> {
    let refuse =
        |what: &str, advice: &str| Some(Refusal::new("not-a-component", what).advice(advice));
    match rest.get(..MODULE.len()) {
        None => refuse(&format!("it is cut off after {len} of {HEADER} header bytes"), AGAIN),
        Some(MODULE) => refuse(
            "it is a core module, not a component",
            "`headgate plugin build` wraps it; so does `wasm-tools component new`.",
        ),
        Some(head) if head.ends_with(COMPONENT_LAYER) => None,
        Some(_) => refuse("its WebAssembly version is unknown", "Build it with current tools."),
    }
}

const AGAIN: &str = "Copy or build it again; write under another name first, then rename.";
const UNPACK: &str = "Unpack it first and name the .wasm file inside.";

/// What the bytes are, and what to do.
fn recognise(bytes: &[u8]) -> (&'static str, &'static str) {
    match bytes {
        [] => ("the file is empty", AGAIN),
        [0x7f, b'E', b'L', b'F', ..] => (
            "it is machine code, not a component",
            "Give the .wasm itself: the gate compiles it and keeps the result.",
        ),
        [0x1f, 0x8b, ..] => ("it is packed with gzip", UNPACK),
        [b'P', b'K', 3 | 5, ..] => ("it is a zip archive", UNPACK),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("it is packed with zstd", UNPACK),
        _ if MAGIC.starts_with(bytes) => ("it is cut off before its header ends", AGAIN),
        _ => recognise_text(bytes),
    }
}

fn recognise_text(bytes: &[u8]) -> (&'static str, &'static str) {
    // The end of the first kilobyte may cut a character; what stands before it decides.
    let start = bytes.get(..bytes.len().min(1024)).unwrap_or_default();
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) => {
            let valid = start.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if TEXT.iter().any(|it| text.starts_with(it)) {
        return (
            "it is WebAssembly text (.wat), not the binary form",
            "Turn it into the binary form: `wasm-tools parse FILE.wat -o FILE.wasm`.",
        );
    }
    match text.as_bytes().first() {
        Some(b'<') => (
            "it is a web page or XML, not a component",
            "The download answered with a page: look at its address and its log-in.",
        ),
        Some(b'{' | b'[') => {
            ("it is JSON, not a component", "Name the .wasm file itself, not its manifest.")
        }
        _ if text.starts_with("version https://git-lfs") => {
            ("it is a Git LFS pointer, not the file", "Run `git lfs pull`.")
        }
        _ => ("it is no WebAssembly", "Give a component as `headgate plugin build` makes it."),
    }
}
