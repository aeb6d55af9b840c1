//! Whether every scope that is asked for is held, and every scope that is held is asked for.

use super::super::Config;
use super::super::raw;
use super::{Cx, nearest, words};
use crate::model::{Coverage, SCOPE_ADMIN, SCOPE_BYPASS};

pub(super) fn check(raw: &raw::Document, cx: &Cx<'_>, config: &Config) {
    warn_unopenable(raw, cx, config);
    warn_admin(raw, cx, config);
    warn_unused(raw, cx);
}

/// Routes that nobody can pass.
fn warn_unopenable(raw: &raw::Document, cx: &Cx<'_>, config: &Config) {
    let held: Vec<&str> =
        config.keys.iter().flat_map(|key| &key.scopes).map(String::as_str).collect();
    for at in raw.routes.as_ref().and_then(|it| it.value.as_ref()).into_iter().flatten() {
        let Some(at) = at.value.as_ref().and_then(|it| it.access.as_ref()) else { continue };
        let Some(scope) = at.value.as_deref().and_then(|it| it.strip_prefix("key:")) else {
            continue;
        };
        if !held.contains(&scope) && words::scope(scope).is_ok() {
            let near = nearest(scope, held.iter().copied()).map(|it| format!("key:{it}"));
            let message = format!("no key has scope `{scope}`: nobody can pass");
            let expected = "a key with this scope under `keys`";
            cx.push(cx.warning(at.id, message).expected(expected).nearest(near));
        }
    }
}

fn warn_admin(raw: &raw::Document, cx: &Cx<'_>, config: &Config) {
    let at = raw.admin.as_ref().and_then(|it| it.value.as_ref()).and_then(|it| it.service.as_ref());
    let held = config.keys.iter().any(|key| key.scopes.iter().any(|it| it == SCOPE_ADMIN));
    if let (Some(at), false) = (at, held) {
        let message = "no key has scope `admin`: nobody can reach this service's admin paths";
        cx.push(cx.warning(at.id, message).expected("a key with scope `admin` under `keys`"));
    }
    let service = config.admin_service.and_then(|id| config.services.get(id.0));
    let covered = service.filter(|it| it.coverage == Coverage::Covered);
    if let (Some(at), Some(service)) = (at, covered) {
        let message =
            format!("`{}` is covered: in maintenance its admin paths are closed too", service.name);
        cx.push(cx.warning(at.id, message).expected("`maintenance: exempt` on that service"));
    }
}

/// Scopes that open nothing: most often a word that is spelt otherwise in the routes.
fn warn_unused(raw: &raw::Document, cx: &Cx<'_>) {
    let mut asked: Vec<&str> = vec![SCOPE_ADMIN, SCOPE_BYPASS];
    // From the text, because a route with another mistake still asks for its scope.
    for route in raw.routes.as_ref().and_then(|it| it.value.as_ref()).into_iter().flatten() {
        let access = route.value.as_ref().and_then(|it| it.access.as_ref());
        asked.extend(access.and_then(|at| at.value.as_deref()?.strip_prefix("key:")));
    }
    let keys = raw.keys.as_ref().and_then(|it| it.value.as_ref()).into_iter().flatten();
    let lists = keys.filter_map(|at| at.value.as_ref()?.scopes.as_ref()?.value.as_ref());
    for at in lists.flat_map(|it| &it.0) {
        let Some(scope) = at.value.as_deref() else { continue };
        if !asked.contains(&scope) && words::scope(scope).is_ok() {
            let message = format!("scope `{scope}` opens nothing");
            let near = nearest(scope, asked.iter().copied());
            let expected = "a scope that a route names, `admin` or `maintenance:bypass`";
            cx.push(cx.warning(at.id, message).expected(expected).nearest(near));
        }
    }
}
