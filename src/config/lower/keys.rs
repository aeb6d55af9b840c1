//! Keys: names, references, scopes and times.

use super::super::raw;
use super::super::shapes::At;
use super::super::{Key, KeySource};
use super::{Cx, words};

pub(super) fn keys(raw: &raw::Document, cx: &Cx<'_>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for at in raw.keys.as_ref().and_then(|it| it.value.as_ref()).into_iter().flatten() {
        let Some(raw) = at.value.as_ref() else { continue };
        let Some(key) = key(at, raw, cx) else { continue };
        refuse_double(raw, &key, &keys, cx);
        keys.push(key);
    }
    keys
}

fn key(at: &At<raw::Key>, raw: &raw::Key, cx: &Cx<'_>) -> Option<Key> {
    let name = cx.required(at.id, &raw.name, ("name", "a name for logs and the audit"));
    let source = cx.required(at.id, &raw.key, ("key", "`env:NAME`, `file:PATH` or `sha256:HEX`"));
    let scopes = scopes(at, raw, cx);
    let not_before = raw.not_before.as_ref().and_then(|at| cx.word(at, words::time));
    let expires_at = raw.expires_at.as_ref().and_then(|at| cx.word(at, words::time));
    if let (Some(from), Some(to), Some(at)) = (not_before, expires_at, &raw.expires_at)
        && from >= to
    {
        let message = "the key expires before it becomes valid";
        cx.push(cx.error(at.id, message).expected("`expiresAt` after `notBefore`"));
    }
    // Both are read before one is missed, so that both mistakes show.
    let name = name.and(raw.name.as_ref()).and_then(|at| cx.word(at, words::key_name));
    let source = source
        .and(raw.key.as_ref())
        .and_then(|at| cx.word(at, |text| words::key_source(text, cx.folder)));
    // A key with a mistake still has its scopes: a route to them is not a second mistake.
    Some(Key {
        name: name.unwrap_or_default(),
        source: source.unwrap_or(KeySource::Digest([0; 32])),
        scopes,
        not_before,
        expires_at,
    })
}

fn scopes(at: &At<raw::Key>, raw: &raw::Key, cx: &Cx<'_>) -> Vec<String> {
    let says = ("scopes", "what the key opens, for example `scopes: [admin]`");
    let Some((id, list)) = cx.required(at.id, &raw.scopes, says) else { return Vec::new() };
    if list.0.is_empty() {
        cx.push(cx.error(id, "a key without scopes opens nothing").expected(says.1));
    }
    let mut scopes: Vec<String> = Vec::new();
    for at in &list.0 {
        let Some(scope) = cx.word(at, words::scope) else { continue };
        if scopes.contains(&scope) {
            cx.push(cx.warning(at.id, format!("scope `{scope}` stands here twice")));
        }
        scopes.push(scope);
    }
    scopes
}

fn refuse_double(raw: &raw::Key, key: &Key, before: &[Key], cx: &Cx<'_>) {
    let name = raw.name.as_ref().filter(|_| !key.name.is_empty());
    if let Some(at) = name.filter(|_| before.iter().any(|it| it.name == key.name)) {
        let message = format!("there are two keys `{}`", key.name);
        cx.push(cx.error(at.id, message).expected("a name of its own for each key"));
    }
    let placeholder = KeySource::Digest([0; 32]);
    let source = raw.key.as_ref().filter(|_| key.source != placeholder);
    let twin = before.iter().find(|it| it.source == key.source);
    if let (Some(at), Some(twin)) = (source, twin) {
        let message =
            format!("this is the same key as `{}`; only the first of them counts", twin.name);
        cx.push(cx.error(at.id, message).expected("one entry with the scopes of both"));
    }
}
