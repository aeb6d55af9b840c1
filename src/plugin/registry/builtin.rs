//! The reference components, as they are built and committed in `plugins/dist`.

use crate::plugin::Kind;

/// A component in the binary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) wasm: &'static [u8],
}

/// What operators need not configure to use; they stand for themselves, so that all that they want is granted.
pub(crate) const BUILTINS: [Builtin; 5] = [
    Builtin {
        name: "threshold",
        kind: Kind::Policy,
        wasm: include_bytes!("../../../plugins/dist/threshold.wasm"),
    },
    Builtin {
        name: "latency-slo",
        kind: Kind::Policy,
        wasm: include_bytes!("../../../plugins/dist/latency-slo.wasm"),
    },
    Builtin {
        name: "plain",
        kind: Kind::Formatter,
        wasm: include_bytes!("../../../plugins/dist/plain.wasm"),
    },
    Builtin {
        name: "slack-blocks",
        kind: Kind::Formatter,
        wasm: include_bytes!("../../../plugins/dist/slack-blocks.wasm"),
    },
    Builtin {
        name: "require-header",
        kind: Kind::Filter,
        wasm: include_bytes!("../../../plugins/dist/require-header.wasm"),
    },
];

pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|it| it.name == name)
}
