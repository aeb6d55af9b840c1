//! Every kind of HTTP answer in one table, each with its outcome and its words.

use super::{PATIENT, Then, extra, http, of_http, says};
use crate::health::probe::tests::http::{OK, whole};
use crate::model::health::{Outcome, Sample};

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// A row: what the server sends, how it ends, the outcome, the status, and words of `phase`, `expect` or `error`.
type Row = (&'static str, Vec<u8>, Then, Outcome, Option<u16>, &'static str);

fn row(
    name: &'static str,
    bytes: impl Into<Vec<u8>>,
    then: Then,
    (outcome, status, words): (Outcome, Option<u16>, &'static str),
) -> Row {
    (name, bytes.into(), then, outcome, status, words)
}

fn heads() -> Vec<Row> {
    use Outcome::{Ok, Protocol, Reset};
    use Then::{Close, Hold};
    let field = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    let long = |bytes: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(bytes));
    let storm = "HTTP/1.1 100 Continue\r\n\r\n";
    vec![
        row("a good answer", OK, Close, (Ok, Some(200), "")),
        row("a good answer, connection left open", OK, Hold, (Ok, Some(200), "")),
        row("old HTTP", OK.replace("/1.1", "/1.0"), Close, (Ok, Some(200), "")),
        row("one informational response", format!("{storm}{OK}"), Close, (Ok, Some(200), "")),
        row(
            "early hints",
            format!("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n{OK}"),
            Close,
            (Ok, Some(200), ""),
        ),
        row("a storm of them", storm.repeat(100_000), Hold, (Protocol, None, "head")),
        row("nothing", "", Close, (Protocol, None, "head")),
        row("a reset at once", "", Then::Reset, (Reset, None, "head")),
        row("half a head", "HTTP/1.1 200 OK\r\nContent-", Close, (Protocol, None, "head")),
        row("garbage", "hello, who is there?\r\n\r\n", Close, (Protocol, None, "head")),
        row("HTTP/0.9", "<html>OK</html>", Close, (Protocol, None, "head")),
        row("HTTP/2 unasked", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Close, (Protocol, None, "head")),
        row("HTTP/3.7", OK.replace("/1.1", "/3.7"), Close, (Protocol, None, "head")),
        row("a status with letters", OK.replace("200", "2OO"), Close, (Protocol, None, "head")),
        row("a status of two digits", OK.replace("200", "20"), Close, (Protocol, None, "head")),
        row("a status of four digits", OK.replace("200", "2000"), Close, (Protocol, None, "head")),
        row("NUL in the head", OK.replace("Content", "Con\0tent"), Close, (Protocol, None, "head")),
        row("NUL bytes", vec![0; 1000], Close, (Protocol, None, "head")),
        row("a name with a space", OK.replace("h:", "h :"), Close, (Protocol, None, "head")),
        row(
            "a folded field",
            OK.replace("OK\r\n", "OK\r\n more\r\n"),
            Close,
            (Protocol, None, "head"),
        ),
        row("too many fields", field(200), Close, (Protocol, None, "head")),
        row("a field too long", long(20_000), Close, (Protocol, None, "head")),
        row(
            "a head without end",
            "HTTP/1.1 200 OK\r\nA: ".to_owned() + &"a".repeat(10 << 20),
            Hold,
            (Protocol, None, "head"),
        ),
        row(
            "TLS on a plain port",
            b"\x15\x03\x03\x00\x02\x02\x46".to_vec(),
            Close,
            (Protocol, None, "head"),
        ),
    ]
}

fn framing() -> Vec<Row> {
    use Outcome::{Ok, Protocol, Reset};
    use Then::Close;
    vec![
        row(
            "no length, ended by the close",
            "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"OK\"}",
            Close,
            (Ok, Some(200), ""),
        ),
        row(
            "chunks",
            chunked("7\r\n{\"statu\r\n8\r\ns\":\"OK\"}\r\n0\r\n\r\n"),
            Close,
            (Ok, Some(200), ""),
        ),
        row(
            "chunks with a trailer",
            chunked("f\r\n{\"status\":\"OK\"}\r\n0\r\nA: b\r\n\r\n"),
            Close,
            (Ok, Some(200), ""),
        ),
        row(
            "half a body",
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"stat",
            Close,
            (Protocol, Some(200), "body"),
        ),
        row(
            "a reset in the body",
            "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"stat",
            Then::Reset,
            (Reset, Some(200), "body"),
        ),
        row(
            "more than said",
            format!("{OK}HTTP/1.1 500 Later\r\n\r\n"),
            Close,
            (Ok, Some(200), ""),
        ),
        row(
            "a length of 2^64",
            OK.replace("15", "18446744073709551616"),
            Close,
            (Protocol, None, "head"),
        ),
        row("a negative length", OK.replace("15", "-1"), Close, (Protocol, None, "head")),
        row(
            "two lengths",
            OK.replace("15\r\n", "15\r\nContent-Length: 16\r\n"),
            Close,
            (Protocol, None, "head"),
        ),
    ]
}

fn chunks() -> Vec<Row> {
    use Outcome::Protocol;
    use Then::{Close, Hold};
    vec![
        row(
            "chunk sizes that are none",
            chunked("zz\r\nabc\r\n0\r\n\r\n"),
            Close,
            (Protocol, Some(200), "body"),
        ),
        row(
            "a chunk size without end",
            chunked(&"1".repeat(100_000)),
            Hold,
            (Protocol, Some(200), "body"),
        ),
        row(
            "a chunk extension without end",
            chunked(&("1;".to_owned() + &"a".repeat(1_000_000))),
            Hold,
            (Protocol, Some(200), "body"),
        ),
        row(
            "chunks without end of one byte",
            chunked(&"1\r\na\r\n".repeat(200_000)),
            Hold,
            (Protocol, Some(200), "body"),
        ),
        row("chunks cut off", chunked("7\r\n{\"statu\r\n"), Close, (Protocol, Some(200), "body")),
        row(
            "trailers without end",
            chunked(
                &("f\r\n{\"status\":\"OK\"}\r\n0\r\n".to_owned() + &"A: b\r\n".repeat(100_000)),
            ),
            Hold,
            (Protocol, Some(200), "body"),
        ),
    ]
}

fn bodies() -> Vec<Row> {
    use Outcome::{Ok, Other};
    use Then::Close;
    let deep = "{\"status\":".to_owned() + &"[".repeat(10_000);
    let huge = format!("{{\"status\":\"OK\",\"fill\":\"{}\"}}", "a".repeat(100_000));
    let near = format!("{{\"fill\":\"{}\",\"status\":\"OK\"}}", "a".repeat(60_000));
    vec![
        row("the word behind 60 KB", whole(200, &near), Close, (Ok, Some(200), "")),
        row(
            "a byte order mark",
            whole(200, "\u{feff}{\"status\":\"OK\"}"),
            Close,
            (Other, Some(200), "no JSON"),
        ),
        row("no body", whole(200, ""), Close, (Other, Some(200), "no body")),
        row("204", "HTTP/1.1 204 No Content\r\n\r\n", Close, (Other, Some(204), "no body")),
        row(
            "a body that is no JSON",
            whole(200, "<html>OK</html>"),
            Close,
            (Other, Some(200), "no JSON"),
        ),
        row("a body of NUL", whole(200, &"\0".repeat(100)), Close, (Other, Some(200), "no JSON")),
        row(
            "another type",
            whole(200, r#"{"status":["OK"]}"#),
            Close,
            (Other, Some(200), "$.status is an array, not \"OK\""),
        ),
        row(
            "another name",
            whole(200, r#"{"Status":"OK"}"#),
            Close,
            (Other, Some(200), "no value at $.status"),
        ),
        row("a list", whole(200, r#"["OK"]"#), Close, (Other, Some(200), "no value at $.status")),
        row("ten thousand levels", whole(200, &deep), Close, (Other, Some(200), "recursion limit")),
        row(
            "too long",
            whole(200, &huge),
            Close,
            (Other, Some(200), "longer than the 65536 bytes"),
        ),
    ]
}

fn statuses() -> Vec<Row> {
    use Outcome::BadStatus;
    use Then::Close;
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let upgraded =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    vec![
        row(
            "500",
            whole(500, r#"{"status":"OK"}"#),
            Close,
            (BadStatus, Some(500), "status 500 is not expected"),
        ),
        row("a redirect", moved, Close, (BadStatus, Some(302), "status 302 is not expected")),
        row(
            "304",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Close,
            (BadStatus, Some(304), "status 304"),
        ),
        row("999", whole(999, ""), Close, (BadStatus, Some(999), "status 999 is not expected")),
        row("an upgrade that nobody wants", upgraded, Close, (BadStatus, Some(101), "status 101")),
    ]
}

fn agrees((name, _, _, outcome, status, words): &Row, sample: &Sample) -> Result<(), String> {
    let said = ["phase", "error", "expect"].map(|it| extra(sample, it)).join("|");
    let same = sample.outcome == *outcome && sample.status == *status && said.contains(words);
    if same { Ok(()) } else { Err(format!("{name}: {sample:?}")) }
}

#[tokio::test]
async fn each_answer_has_its_outcome_and_its_words() {
    let rows: Vec<Row> =
        [heads(), framing(), chunks(), bodies(), statuses()].into_iter().flatten().collect();
    assert!(rows.len() >= 50);
    let mut wrong = Vec::new();
    for row in &rows {
        let address = says(row.1.clone(), row.2).await;
        let sample = of_http(http(), PATIENT).check(address).await;
        wrong.extend(agrees(row, &sample).err());
        let body = sample.body.as_deref().unwrap_or_default();
        assert!(body.len() <= 2048 && !body.contains('\0'), "{}", row.0);
        assert!(sample.extra.iter().all(|(_, it)| it.len() <= 300), "{}", row.0);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
