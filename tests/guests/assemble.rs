//! Assembles small components from text, function by function: shapes that no compiler makes.
//!
//! A [`Guest`] begins as a plugin that does everything right; a test replaces one function or one answer. The layouts
//! are those of the component model's canonical ABI for the records of `wit/`.

#![allow(dead_code, reason = "the tests and the benchmark use different words of it")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// Static data begins here; what lies before is scratch.
const DATA: u32 = 1024;

/// Values in the canonical ABI's memory layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cells(Vec<u8>);

impl Cells {
    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u16(mut self, value: u16) -> Self {
        self = self.align(2);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self = self.align(4);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Address and length of a string or a list.
    pub(crate) fn slice(self, (at, len): (u32, u32)) -> Self {
        self.u32(at).u32(len)
    }

    /// An `option` of a string or a list.
    pub(crate) fn option(self, slice: Option<(u32, u32)>) -> Self {
        let some = u8::from(slice.is_some());
        self.align(4).u8(some).slice(slice.unwrap_or_default())
    }

    fn align(mut self, to: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self
    }
}

/// The static part of a guest's memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data(Vec<u8>);

impl Data {
    /// Puts bytes there; address and length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> (u32, u32) {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = DATA + size(self.0.len());
        self.0.extend_from_slice(bytes);
        (at, size(bytes.len()))
    }

    pub(crate) fn text(&mut self, text: &str) -> (u32, u32) {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn cells(&mut self, cells: Cells) -> u32 {
        self.bytes(&cells.align(8).0).0
    }

    /// A list of elements that were laid out alike; address and count.
    pub(crate) fn list(&mut self, elements: Vec<Cells>) -> (u32, u32) {
        let count = size(elements.len());
        let mut all = Vec::new();
        for element in elements {
            all.extend(element.align(4).0);
        }
        (self.bytes(&all).0, count)
    }

    pub(crate) fn texts(&mut self, texts: &[String]) -> (u32, u32) {
        let cells = texts.iter().map(|it| Cells::default().slice(self.text(it))).collect();
        self.list(cells)
    }

    pub(crate) fn pairs(&mut self, pairs: &[(String, String)]) -> (u32, u32) {
        let cells = pairs.iter().map(|(key, value)| {
            let (key, value) = (self.text(key), self.text(value));
            Cells::default().slice(key).slice(value)
        });
        let cells = cells.collect();
        self.list(cells)
    }
}

/// What `describe` answers.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) name: Vec<u8>,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) schema: Option<String>,
    pub(crate) example: Option<String>,
    pub(crate) state_version: u32,
    pub(crate) wants: Vec<String>,
    /// Name, help and kind (0 counter, 1 gauge, 2 histogram).
    pub(crate) metrics: Vec<(String, String, u8)>,
    pub(crate) extra: Vec<(String, String)>,
}

impl Info {
    fn lay(&self, data: &mut Data) -> u32 {
        let cells = Cells::default()
            .slice(data.bytes(&self.name))
            .slice(data.text(&self.version))
            .slice(data.text(&self.summary))
            .option(self.schema.as_ref().map(|it| data.text(it)))
            .option(self.example.as_ref().map(|it| data.text(it)))
            .u32(self.state_version)
            .slice(data.texts(&self.wants));
        let metrics = self.metrics.iter().map(|(name, help, kind)| {
            let (name, help) = (data.text(name), data.text(help));
            Cells::default().slice(name).slice(help).u8(*kind)
        });
        let metrics = metrics.collect();
        let cells = cells.slice(data.list(metrics)).slice(data.pairs(&self.extra));
        data.cells(cells)
    }
}

/// What `evaluate` answers.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// Number of the case of `health`: 0 unknown, 1 ok, 2 degraded, 3 failing, 4 maintenance.
    pub(crate) status: u8,
    pub(crate) code: String,
    pub(crate) detail: Vec<u8>,
    /// Namespaces of snapshots.
    pub(crate) snapshots: Vec<String>,
    pub(crate) state: Option<Vec<u8>>,
    pub(crate) extra: Vec<(String, String)>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            status: 1,
            code: "fine".to_owned(),
            detail: b"all is well".to_vec(),
            snapshots: Vec::new(),
            state: None,
            extra: Vec::new(),
        }
    }
}

impl Verdict {
    fn lay(&self, data: &mut Data) -> u32 {
        let actions = self.snapshots.iter().map(|it| {
            // The largest case (an alert) has 20 bytes after the case's number.
            let text = data.text(it);
            let action = Cells::default().u8(0).slice(text);
            action.u32(0).u32(0).u32(0)
        });
        let actions = actions.collect();
        let cells = Cells::default()
            .u32(0) // ok
            .u8(self.status)
            .slice(data.text(&self.code))
            .slice(data.bytes(&self.detail))
            .slice(data.list(actions))
            .u32(0) // next-check-ms: none
            .u32(0)
            .option(self.state.as_ref().map(|it| data.bytes(it)))
            .slice(data.pairs(&self.extra));
        data.cells(cells)
    }
}

/// What `format` answers.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) issues: Vec<String>,
    pub(crate) channels: Vec<String>,
    pub(crate) channel: Option<String>,
    pub(crate) dedup_key: Option<String>,
    pub(crate) extra: Vec<(String, String)>,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            issues: vec!["said by the component".to_owned()],
            channels: Vec::new(),
            channel: None,
            dedup_key: None,
            extra: Vec::new(),
        }
    }
}

impl Message {
    fn lay(&self, data: &mut Data) -> u32 {
        let cells = Cells::default()
            .u32(0) // ok
            .u32(1) // some
            .slice(data.texts(&self.issues))
            .slice(data.texts(&self.channels))
            .option(self.channel.as_ref().map(|it| data.text(it)))
            .option(self.dedup_key.as_ref().map(|it| data.text(it)))
            .slice(data.pairs(&self.extra));
        data.cells(cells)
    }
}

/// One edit or one header line of a reply.
pub(crate) type Field = (&'static str, Vec<u8>, Vec<u8>);

/// What `on-request` answers.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    Next,
    /// `set`, `append` or `remove`, then name and value.
    Edit(Vec<Field>),
    Reply {
        status: u16,
        headers: Vec<(Vec<u8>, Vec<u8>)>,
        body: Vec<u8>,
    },
    Ext(&'static str),
}

impl Decision {
    fn lay(&self, data: &mut Data) -> u32 {
        let cells = match self {
            Self::Next => Cells::default().u32(0),
            Self::Edit(edits) => {
                let ops = edits.iter().map(|(how, name, value)| {
                    let case = ["set", "append", "remove"].iter().position(|it| it == how);
                    let (name, value) = (data.bytes(name), data.bytes(value));
                    let case = u8::try_from(case.expect("a case")).expect("few cases");
                    Cells::default().u8(case).slice(name).slice(value)
                });
                let ops = ops.collect();
                Cells::default().u32(1).slice(data.list(ops))
            }
            Self::Reply { status, headers, body } => {
                let lines = headers.iter().map(|(name, value)| {
                    let (name, value) = (data.bytes(name), data.bytes(value));
                    Cells::default().slice(name).slice(value)
                });
                let lines = lines.collect();
                let cells = Cells::default().u32(2).u16(*status);
                cells.slice(data.list(lines)).slice(data.bytes(body))
            }
            Self::Ext(kind) => Cells::default().u32(3).slice(data.text(kind)).u32(0).u32(0),
        };
        data.cells(cells.u32(0).u32(0).u32(0).u32(0))
    }
}

/// A plugin in the making: right in everything but for what a test has changed.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// World that it is wrapped for; one of `wit/worlds.wit` or of [`STRANGE`].
    pub(crate) world: &'static str,
    pub(crate) info: Info,
    /// Golden cases: name, passed.
    pub(crate) checks: Vec<(String, bool)>,
    pub(crate) verdict: Verdict,
    pub(crate) message: Message,
    pub(crate) decision: Decision,
    pub(crate) data: Data,
    bodies: BTreeMap<&'static str, String>,
    start: Option<String>,
    fields: String,
    pages: u32,
}

/// Worlds that are none of ours.
const STRANGE: &str = r#"
package test:strange;
world both {
  export headgate:plugin/plugin@0.1.0;
  export headgate:plugin/health-policy@0.1.0;
  export headgate:plugin/request-filter@0.1.0;
}
world neither {
  export headgate:plugin/plugin@0.1.0;
}
world silent {
  export headgate:plugin/health-policy@0.1.0;
}
world clocked {
  import wasi:clocks/wall-clock@0.2.6;
  export headgate:plugin/plugin@0.1.0;
  export headgate:plugin/health-policy@0.1.0;
}
world lost {
  import wasi:clocks/wall-clock@0.2.6;
  export headgate:plugin/plugin@0.1.0;
}
world policy-that-reads-requests {
  import headgate:plugin/request@0.1.0;
  export headgate:plugin/plugin@0.1.0;
  export headgate:plugin/health-policy@0.1.0;
}
"#;

const WASI: &str = "
package wasi:clocks@0.2.6;
interface wall-clock { seconds: func() -> u64; }
";

impl Guest {
    /// A health policy that finds everything fine.
    pub(crate) fn policy() -> Self {
        Self::of("health-policy-plugin", "tame-policy")
    }

    /// An alert formatter with one fixed text.
    pub(crate) fn formatter() -> Self {
        Self::of("alert-formatter-plugin", "tame-formatter")
    }

    /// A filter that lets everything pass.
    pub(crate) fn filter() -> Self {
        Self::of("request-filter-plugin", "tame-filter")
    }

    fn of(world: &'static str, name: &str) -> Self {
        Self {
            world,
            info: Info {
                name: name.as_bytes().to_vec(),
                version: "1.0.0".to_owned(),
                summary: "A guest of the tests".to_owned(),
                schema: None,
                example: None,
                state_version: 0,
                wants: Vec::new(),
                metrics: Vec::new(),
                extra: Vec::new(),
            },
            checks: vec![("golden".to_owned(), true)],
            verdict: Verdict::default(),
            message: Message::default(),
            decision: Decision::Next,
            data: Data::default(),
            bodies: BTreeMap::new(),
            start: None,
            fields: String::new(),
            pages: 4,
        }
    }

    /// Replaces a function: `describe`, `configure`, `self-test`, `evaluate`, `format`, `on-request`, `realloc`. The text
    /// leaves an address on the stack; parameters are `$a`, `$b`, `$c`, `$d`, a spare local is `$i`; `$right` is the
    /// address of the answer that the guest would have given.
    pub(crate) fn body(mut self, function: &'static str, text: &str) -> Self {
        self.bodies.insert(function, text.to_owned());
        self
    }

    /// Runs this when the module is instantiated.
    pub(crate) fn start(mut self, text: &str) -> Self {
        self.start = Some(text.to_owned());
        self
    }

    /// One more field of the core module (a table, a global, a function).
    pub(crate) fn field(mut self, text: &str) -> Self {
        self.fields.push_str(text);
        self
    }

    /// Pages of memory from the beginning.
    pub(crate) fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// Changes what `describe` answers.
    pub(crate) fn describes(mut self, change: impl FnOnce(&mut Info)) -> Self {
        change(&mut self.info);
        self
    }

    /// Changes what `evaluate` answers.
    pub(crate) fn judges(mut self, change: impl FnOnce(&mut Verdict)) -> Self {
        change(&mut self.verdict);
        self
    }

    /// Changes what `format` answers.
    pub(crate) fn says(mut self, change: impl FnOnce(&mut Message)) -> Self {
        change(&mut self.message);
        self
    }

    /// What `on-request` answers.
    pub(crate) fn decides(mut self, decision: Decision) -> Self {
        self.decision = decision;
        self
    }

    /// The golden cases.
    pub(crate) fn checks(mut self, checks: Vec<(String, bool)>) -> Self {
        self.checks = checks;
        self
    }

    /// In another world.
    pub(crate) fn in_world(mut self, world: &'static str) -> Self {
        self.world = world;
        self
    }

    /// The core module as text.
    fn text(&self) -> String {
        let mut data = self.data.clone();
        let checks = self.checks.iter().map(|(name, passed)| {
            let (name, said) = (data.text(name), data.text("went wrong"));
            Cells::default().slice(name).u8(u8::from(*passed)).slice(said)
        });
        let checks = checks.collect();
        let checks = data.list(checks);
        let answers = [
            ("describe", self.info.lay(&mut data)),
            ("configure", data.cells(Cells::default().u32(0).u32(0).u32(0))),
            ("self-test", data.cells(Cells::default().slice(checks))),
            ("evaluate", self.verdict.lay(&mut data)),
            ("format", self.message.lay(&mut data)),
            ("on-request", self.decision.lay(&mut data)),
        ];
        let heap = (DATA + size(data.0.len())).next_multiple_of(16);
        let pages = self.pages.max(heap / 65_536 + 2);
        let mut text = format!(
            "(module\n{}\n(memory (export \"memory\") {pages})\n(global $heap (mut i32) (i32.const {heap}))\n\
             (data (i32.const {DATA}) \"{}\")\n{}\n{}\n",
            self.imports(),
            escaped(&data.0),
            self.realloc(),
            self.fields,
        );
        for (function, answer) in answers {
            let Some((export, parameters)) = self.export(function) else { continue };
            let right = format!("i32.const {answer}");
            let body = self.bodies.get(function).unwrap_or(&right).replace("$right", &right);
            let name = function.replace('-', "_");
            let _ = writeln!(
                text,
                "(func ${name} (export \"{export}\") {parameters} (result i32) (local $i i32)\n{body})"
            );
        }
        if let Some(start) = &self.start {
            let _ = writeln!(text, "(func $begin (local $i i32) {start})\n(start $begin)");
        }
        text.push(')');
        text
    }

    /// Imports that the text uses.
    fn imports(&self) -> String {
        let mut used: String = self.bodies.values().map(String::as_str).collect();
        used.push_str(self.start.as_deref().unwrap_or_default());
        used.push_str(&self.fields);
        let known = [
            ("$log", "telemetry@0.1.0\" \"log", "(param i32 i32 i32)"),
            ("$record", "telemetry@0.1.0\" \"record-metric", "(param i32 i32 f64)"),
            ("$path", "request@0.1.0\" \"path", "(param i32)"),
            ("$header", "request@0.1.0\" \"header", "(param i32 i32 i32)"),
        ];
        let mut text = String::new();
        for (name, import, kind) in known {
            if used.contains(&format!("call {name}")) {
                let _ =
                    writeln!(text, "(import \"headgate:plugin/{import}\" (func {name} {kind}))");
            }
        }
        if ["clocked", "lost"].contains(&self.world) {
            text.push_str(
                "(import \"wasi:clocks/wall-clock@0.2.6\" \"seconds\" (func $seconds (result i64)))\n",
            );
        }
        if self.world == "policy-that-reads-requests" {
            text.push_str(
                "(import \"headgate:plugin/request@0.1.0\" \"path\" (func $path (param i32)))\n",
            );
        }
        text
    }

    /// Hands out memory and never takes it back.
    fn realloc(&self) -> String {
        let usual = "(local.set $i (i32.and \
             (i32.add (global.get $heap) (i32.sub (local.get $c) (i32.const 1))) \
             (i32.sub (i32.const 0) (local.get $c))))\n\
             (global.set $heap (i32.add (local.get $i) (local.get $d)))\n\
             (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))\n\
              (then (drop (memory.grow (i32.add (i32.const 1) \
               (i32.div_u (local.get $d) (i32.const 65536)))))))\n\
             local.get $i";
        let body = self.bodies.get("realloc").map_or(usual, String::as_str);
        format!(
            "(func $realloc (export \"cabi_realloc\") (param $a i32) (param $b i32) (param $c i32) \
             (param $d i32) (result i32) (local $i i32)\n{body})"
        )
    }

    /// Name of an export and its parameters, where the world has it.
    fn export(&self, function: &str) -> Option<(String, &'static str)> {
        let (interface, parameters) = match function {
            "describe" | "self-test" => ("plugin", ""),
            "configure" => ("plugin", "(param $a i32) (param $b i32)"),
            "evaluate" => ("health-policy", "(param $a i32)"),
            "format" => ("alert-formatter", "(param $a i32)"),
            _ => ("request-filter", ""),
        };
        let has: &[&str] = match self.world {
            "health-policy-plugin" | "clocked" | "policy-that-reads-requests" => {
                &["plugin", "health-policy"]
            }
            "alert-formatter-plugin" => &["plugin", "alert-formatter"],
            "request-filter-plugin" => &["plugin", "request-filter"],
            "both" => &["plugin", "health-policy", "request-filter"],
            "silent" => &["health-policy"],
            _ => &["plugin"],
        };
        let export = format!("headgate:plugin/{interface}@0.1.0#{function}");
        has.contains(&interface).then_some((export, parameters))
    }

    /// The component.
    #[track_caller]
    pub(crate) fn build(&self) -> Vec<u8> {
        let text = self.text();
        let mut module = match wat::parse_str(&text) {
            Ok(module) => module,
            Err(error) => panic!("{error}\n{text}"),
        };
        let (resolve, world) = world(self.world);
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the world fits");
        let encoder = ComponentEncoder::default().validate(true).module(&module);
        encoder.and_then(|mut it| it.encode()).expect("a component")
    }

    /// The core module, not wrapped.
    #[track_caller]
    pub(crate) fn module(&self) -> Vec<u8> {
        wat::parse_str(self.text()).expect("text of a module")
    }
}

fn world(name: &str) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let (ours, _) = resolve.push_dir(wit).expect("our WIT");
    resolve.push_str("wasi.wit", WASI).expect("a WIT package");
    let strange = resolve.push_str("strange.wit", STRANGE).expect("a WIT package");
    let world = resolve
        .select_world(&[ours], Some(name))
        .or_else(|_| resolve.select_world(&[strange], Some(name)))
        .expect("a world of that name");
    (resolve, world)
}

/// Appends a custom section: the same component with other bytes.
pub(crate) fn stamped(component: &[u8], stamp: &[u8]) -> Vec<u8> {
    let mut section = leb(5 + stamp.len());
    section.extend_from_slice(&[4]);
    section.extend_from_slice(b"mark");
    section.extend_from_slice(stamp);
    [component, &[0], &section].concat()
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 3), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    })
}

fn size(len: usize) -> u32 {
    u32::try_from(len).expect("a small guest")
}
