//! The functions that a guest may call: `telemetry` for all, `request` for filters, nothing else.

use std::sync::Arc;

use wasmtime::component::{Linker, WasmStr};
use wasmtime::{Engine, StoreContextMut};

use crate::plugin::Kind;
use crate::plugin::facts::{Fact, Facts};
use crate::plugin::host::bindings as wit;
use crate::plugin::host::state::State;

const TELEMETRY: &str = "headgate:plugin/telemetry@0.1.0";
const REQUEST: &str = "headgate:plugin/request@0.1.0";

/// A filter's question when there is no request.
#[derive(Debug, thiserror::Error)]
#[error("asked about the request outside on-request")]
pub(super) struct NoRequest;

type Context<'a> = StoreContextMut<'a, State>;

/// What components of a kind are linked with.
pub(super) fn linker(engine: &Engine, kind: Kind) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    telemetry(&mut linker)?;
    if kind == Kind::Filter {
        request(&mut linker)?;
    }
    Ok(linker)
}

fn telemetry(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut telemetry = linker.instance(TELEMETRY)?;
    telemetry.func_wrap("log", |mut cx: Context<'_>, (level, text): (wit::Level, WasmStr)| {
        if cx.data_mut().takes_line() {
            let line = cx.data().line(level.into(), &text.to_str(&cx)?);
            cx.data_mut().said.lines.push(line);
        }
        Ok(())
    })?;
    telemetry.func_wrap("record-metric", |mut cx: Context<'_>, it: (WasmStr, f64)| {
        let metric = cx.data().metric(&it.0.to_str(&cx)?);
        cx.data_mut().record(metric, it.1);
        Ok(())
    })
}

fn request(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut request = linker.instance(REQUEST)?;
    let always = [
        ("method", Fact::Method),
        ("path", Fact::Path),
        ("authority", Fact::Authority),
        ("client", Fact::Client),
        ("route", Fact::Route),
        ("id", Fact::Id),
    ];
    for (name, fact) in always {
        request.func_wrap(name, move |mut cx: Context<'_>, (): ()| {
            Ok((text(cx.data_mut(), fact)?.unwrap_or_default(),))
        })?;
    }
    request.func_wrap("query", |mut cx: Context<'_>, (): ()| {
        Ok((text(cx.data_mut(), Fact::Query)?,))
    })?;
    request.func_wrap("now-ms", |cx: Context<'_>, (): ()| Ok((asked(cx.data())?.now_ms,)))?;
    request
        .func_wrap("header", |cx: Context<'_>, (name,): (WasmStr,)| Ok((header(cx, &name)?,)))?;
    request.func_wrap("attr", |mut cx: Context<'_>, (name,): (WasmStr,)| {
        let known = name.to_str(&cx)?.as_ref() == "key-name";
        Ok((if known { text(cx.data_mut(), Fact::KeyName)? } else { None },))
    })
}

fn asked(state: &State) -> Result<&Facts, NoRequest> {
    if state.asked { Ok(&state.facts) } else { Err(NoRequest) }
}

/// A fact as text, in the store's own buffer: the last answer is gone by now, so nothing is copied to make it ours.
fn text(state: &mut State, fact: Fact) -> Result<Option<Arc<String>>, NoRequest> {
    let mut shared = state.text.take().unwrap_or_default();
    let Some(value) = asked(state)?.get(fact) else { return Ok(None) };
    let buffer = Arc::make_mut(&mut shared);
    buffer.clear();
    match std::str::from_utf8(value) {
        Ok(value) => buffer.push_str(value),
        Err(_) => buffer.push_str(&String::from_utf8_lossy(value)),
    }
    state.text = Some(Arc::clone(&shared));
    Ok(Some(shared))
}

/// All values of a header joined as HTTP allows (RFC 9110 section 5.3; RFC 6265 section 5.4 for cookies).
fn header(mut cx: Context<'_>, name: &WasmStr) -> wasmtime::Result<Option<Arc<Vec<u8>>>> {
    let mut shared = cx.data_mut().bytes.take().unwrap_or_default();
    let buffer = Arc::make_mut(&mut shared);
    buffer.clear();
    let found = join(asked(cx.data())?, &name.to_str(&cx)?, buffer);
    cx.data_mut().bytes = Some(Arc::clone(&shared));
    Ok(found.then_some(shared))
}

fn join(facts: &Facts, name: &str, into: &mut Vec<u8>) -> bool {
    let separator: &[u8] = if name.eq_ignore_ascii_case("cookie") { b"; " } else { b", " };
    let mut found = false;
    for value in facts.header(name) {
        if found {
            into.extend_from_slice(separator);
        }
        into.extend_from_slice(value.trim_ascii());
        found = true;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::join;
    use crate::plugin::facts::Facts;

    #[test]
    fn values_of_a_header_are_joined_as_http_allows() {
        let mut facts = Facts::default();
        let lines: [(&str, &str); 6] = [
            ("X-Tenant", " a "),
            ("cookie", "x=1"),
            ("x-tenant", "b"),
            ("Cookie", "y=2"),
            ("empty", ""),
            ("X-TENANT", "c, d\t"),
        ];
        for (name, value) in lines {
            facts.add_header(name.as_bytes(), value.as_bytes());
        }
        let cases = [
            ("x-tenant", Some("a, b, c, d")),
            ("X-Tenant", Some("a, b, c, d")),
            ("COOKIE", Some("x=1; y=2")),
            ("empty", Some("")),
            ("absent", None),
            ("", None),
        ];
        for (name, expected) in cases {
            let mut joined = Vec::new();

            let found = join(&facts, name, &mut joined);

            assert_eq!(found.then_some(joined.as_slice()), expected.map(str::as_bytes), "{name}");
        }
    }
}
