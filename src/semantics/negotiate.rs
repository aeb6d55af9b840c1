//! Which form of an answer the client prefers, by `Accept`.

use crate::semantics::fields::list;

/// Forms of the answers that the gate makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    Json,
    /// `application/problem+json`.
    Problem,
    /// `text/html`; only when named, never for `*/*`.
    Html,
}

/// The best of the three for `accept` (RFC 9110 §12.5.1, with q-values); `default` when nothing decides.
///
/// Of equal weights the one that was named goes before one that a wildcard covers, then `default`, then the earlier, then `Json`.
pub fn form(accept: Option<&[u8]>, default: Form) -> Form {
    let Some(accept) = accept else { return default };
    let ranked = [Form::Html, Form::Problem, Form::Json]
        .into_iter()
        .filter_map(|it| Some((rank(accept, it)?, it)))
        .max_by_key(|(rank, it)| (rank.weight, rank.named, *it == default, rank.earlier));
    ranked.map_or(default, |it| it.1)
}

/// How well a form fits.
#[derive(Clone, Copy)]
struct Rank {
    /// 1..=1000.
    weight: u16,
    /// 2 by its own name, 1 by `type/*`, 0 by `*/*`.
    named: u8,
    /// The fewer elements before it, the greater.
    earlier: isize,
}

/// Rank by the most specific range that covers `form`; `None` when none does or it is refused with `q=0`.
fn rank(accept: &[u8], form: Form) -> Option<Rank> {
    let mut best: Option<Rank> = None;
    for (at, element) in list(accept).enumerate() {
        let mut parts = element.split(|it| *it == b';').map(<[u8]>::trim_ascii);
        let Some(named) = parts.next().and_then(|range| specificity(range, form)) else { continue };
        let weight = parts.find_map(weight).unwrap_or(1000);
        if best.is_none_or(|it| named > it.named) {
            best = Some(Rank { weight, named, earlier: -at.cast_signed() });
        }
    }
    best.filter(|it| it.weight > 0)
}

fn specificity(range: &[u8], form: Form) -> Option<u8> {
    let (own, wide): (&[u8], Option<&[u8]>) = match form {
        Form::Json => (b"application/json", Some(b"application/*")),
        Form::Problem => (b"application/problem+json", Some(b"application/*")),
        Form::Html => (b"text/html", None),
    };
    if range.eq_ignore_ascii_case(own) {
        return Some(2);
    }
    let wide = wide?;
    if range.eq_ignore_ascii_case(wide) {
        return Some(1);
    }
    (range == b"*/*").then_some(0)
}

/// Thousandths of a `q` parameter; one that is malformed counts as 0.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    Some(match value {
        [b'1'] | [b'1', b'.', ..] => 1000,
        [b'0', b'.', digits @ ..] if digits.len() <= 3 => {
            let mut thousandths = 0;
            for at in 0..3 {
                let digit = digits.get(at).copied().unwrap_or(b'0');
                if !digit.is_ascii_digit() {
                    return Some(0);
                }
                thousandths = thousandths * 10 + u16::from(digit - b'0');
            }
            thousandths
        }
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::{Form, form};

    #[test]
    fn the_client_decides_by_accept_and_the_default_breaks_ties() {
        use Form::{Html, Json, Problem};
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        let table = [
            ("", Json, Json),
            ("*/*", Json, Json),
            ("*/*", Problem, Problem),
            ("*/*", Html, Json),
            ("application/json, text/plain, */*", Problem, Json),
            ("application/json", Problem, Json),
            ("APPLICATION/JSON", Problem, Json),
            ("application/json;charset=utf-8", Problem, Json),
            ("application/problem+json", Json, Problem),
            ("application/problem+json, application/json", Json, Json),
            ("application/problem+json, application/json", Problem, Problem),
            ("application/problem+json, application/json", Html, Problem),
            ("application/json, application/problem+json", Html, Json),
            ("application/problem+json;q=0.5, application/json;q=0.4", Json, Problem),
            ("application/*", Json, Json),
            ("application/*", Problem, Problem),
            ("application/*, application/json;q=0.1", Json, Problem),
            (chrome, Json, Html),
            ("text/html", Json, Html),
            ("text/html;q=0.5, application/json", Html, Json),
            ("text/html;q=0.5, */*", Json, Json),
            ("text/*", Json, Json),
            ("text/html;level=1;q=0.2, application/json;q=0.1", Json, Html),
            ("text/html;q=0", Json, Json),
            ("application/json;q=0, */*", Json, Problem),
            ("application/json; Q=0.3 , text/html ; q=0.300", Json, Json),
            ("text/html;q=0.301, application/json;q=0.3", Json, Html),
            ("text/html;q=1.0, application/json;q=0.999", Json, Html),
            ("text/html;q=nonsense, application/json;q=0.1", Html, Json),
            ("text/html;q=0.1234, application/json;q=0.1", Html, Json),
            ("image/png", Problem, Problem),
            (",, ,", Problem, Problem),
        ];
        for (accept, default, expected) in table {
            assert_eq!(form(Some(accept.as_bytes()), default), expected, "{accept:?} {default:?}");
        }
        assert_eq!(form(None, Html), Html);
    }
}
