//! Signal Engine: signals by stock id; errors come as 200.

use serde_json::json;

use super::respond;
use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

/// Stocks that the stand-in knows, by id.
const STOCKS: &[(&str, bool, u32)] = &[
    ("RELIANCE.NS", true, 81),
    ("TCS.NS", false, 34),
    ("INFY.NS", true, 66),
    ("M&M.NS", true, 72),
];

/// Any prefix stands before `/api`: the service itself answers on the prefixed path.
pub(super) fn answer(asked: &Asked, is_maintained: bool) -> Answer {
    if is_maintained {
        return respond::in_maintenance();
    }
    let segments = respond::segments(asked);
    let path: Vec<&str> =
        segments.iter().map(String::as_str).skip_while(|it| *it != "api").collect();
    match path.as_slice() {
        ["api", .., ""] => {
            respond::without_trailing_slash(asked).unwrap_or_else(respond::not_found)
        }
        ["api", _] | ["api", _, _] if !["GET", "HEAD"].contains(&asked.method.as_str()) => {
            respond::method_not_allowed("GET")
        }
        ["api", "health"] => respond::healthy(&respond::timestamp()),
        ["api", stock] => signal(stock, None),
        ["api", stock, option] => signal(stock, Some(option)),
        _ => respond::not_found(),
    }
}

fn signal(stock: &str, option: Option<&str>) -> Answer {
    let Some((id, buy, score)) = STOCKS.iter().find(|it| it.0 == stock) else {
        return Answer::json(
            200,
            &json!({ "error": "Incorrect Stock ID. Please check and try again." }),
        );
    };
    let strength = if *score > 70 { "strong" } else { "moderate" };
    let mut body = json!({
        "stock_id": id,
        "buy": buy,
        "signals": { "rsi": buy, "macd": buy, "volume": score % 2 == 0 },
        "reason": "stand-in data, not advice",
        "strength": strength,
        "score": score,
    });
    if let Some(option) = option {
        body["option"] = option.into();
    }
    Answer::json(200, &body)
}
