//! Writes one access-log line, as JSON or as text, without allocating.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::model::{UnixMs, push_ipv4};
use crate::telemetry::access_log::Line;
use crate::telemetry::escape;

/// More than a usual line has.
const LINE_BYTES: usize = 512;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object per line.
    Json,
    /// `key=value` for people.
    Text,
}

/// Formats lines; keeps the text of the current second.
#[derive(Debug)]
pub(crate) struct Formatter {
    form: Form,
    second: u64,
    /// RFC 3339 up to the seconds.
    second_text: String,
}

/// The field's name with what stands around it, chosen by form.
macro_rules! key {
    ($form:expr, $name:literal) => {
        match $form {
            Form::Json => concat!(",\"", $name, "\":").as_bytes(),
            Form::Text => concat!(" ", $name, "=").as_bytes(),
        }
    };
}

impl Formatter {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, second: u64::MAX, second_text: String::new() }
    }

    /// Appends the line with its end.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, line: &Line<'_>) {
        let form = self.form;
        // Once for the whole line; only escapes can take more.
        out.reserve(LINE_BYTES);
        self.push_start(out, line.unix_ms);
        quoted(out, form, key!(form, "client"), |out| push_ip(out, line.client));
        push_text(out, form, key!(form, "method"), line.method);
        push_text(out, form, key!(form, "authority"), line.authority);
        push_text(out, form, key!(form, "path"), line.path);
        push_number(out, key!(form, "status"), u64::from(line.status));
        push_text(out, form, key!(form, "service"), line.service.as_bytes());
        if let Some(upstream) = line.upstream {
            quoted(out, form, key!(form, "upstream"), |out| push_address(out, upstream));
        }
        if let Some(key) = line.key {
            push_text(out, form, key!(form, "key"), key.as_bytes());
        }
        if let Some(refusal) = line.refusal {
            push_text(out, form, key!(form, "refusal"), refusal.as_bytes());
        }
        if let Some((filter, did)) = line.filter {
            push_text(out, form, key!(form, "filter"), filter.as_bytes());
            push_text(out, form, key!(form, "filter_did"), did.as_bytes());
        }
        if let Some(fault) = line.filter_fault {
            push_text(out, form, key!(form, "filter_fault"), fault.as_bytes());
        }
        push_text(out, form, key!(form, "request_id"), line.request_id);
        out.extend_from_slice(key!(form, "took_ms"));
        push_thousandths(out, u64::try_from(line.took.as_micros()).unwrap_or(u64::MAX));
        push_number(out, key!(form, "bytes_in"), line.bytes_in);
        push_number(out, key!(form, "bytes_out"), line.bytes_out);
        out.extend_from_slice(if form == Form::Json { b"}\n" } else { b"\n" });
    }

    fn push_start(&mut self, out: &mut Vec<u8>, unix_ms: u64) {
        let second = unix_ms / 1000;
        if second != self.second {
            self.second = second;
            self.second_text.clear();
            let whole = UnixMs(second.saturating_mul(1000)).rfc3339();
            let _ = write!(self.second_text, "{}", whole.split('.').next().unwrap_or_default());
        }
        out.extend_from_slice(if self.form == Form::Json { b"{\"time\":\"" } else { b"time=" });
        out.extend_from_slice(self.second_text.as_bytes());
        push_fraction(out, unix_ms % 1000);
        out.extend_from_slice(if self.form == Form::Json { b"Z\"" } else { b"Z" });
    }
}

/// A value of ours that needs quotes in JSON only.
fn quoted(out: &mut Vec<u8>, form: Form, key: &[u8], value: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(key);
    if form == Form::Json {
        out.push(b'"');
    }
    value(out);
    if form == Form::Json {
        out.push(b'"');
    }
}

/// A value that somebody else chose.
fn push_text(out: &mut Vec<u8>, form: Form, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    if form == Form::Text && value.len() <= escape::FIELD_BYTES_MAX && escape::is_bare(value) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    escape::push_quoted_bytes(out, value);
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    push_decimal(out, value);
}

fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        used += 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.split_at(digits.len() - used).1);
}

/// `value` thousandths, for example `1234` as `1.234`.
fn push_thousandths(out: &mut Vec<u8>, value: u64) {
    push_decimal(out, value / 1000);
    push_fraction(out, value % 1000);
}

/// `.` and three digits.
fn push_fraction(out: &mut Vec<u8>, value: u64) {
    let digit = |it: u64| b'0' + (it % 10) as u8;
    out.extend_from_slice(&[b'.', digit(value / 100), digit(value / 10), digit(value)]);
}

fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(it) => push_ipv4(out, it),
        IpAddr::V6(it) => {
            let _ = write!(out, "{it}");
        }
    }
}

fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(it) => {
            push_ipv4(out, *it.ip());
            out.push(b':');
            push_decimal(out, u64::from(it.port()));
        }
        SocketAddr::V6(it) => {
            let _ = write!(out, "{it}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn line<'a>(method: &'a str, authority: &'a str, path: &'a str) -> Line<'a> {
        let [method, authority, path] = [method, authority, path].map(str::as_bytes);
        Line {
            unix_ms: 1_795_502_400_007,
            client: IpAddr::from([192, 0, 2, 70]),
            method,
            path,
            authority,
            status: 200,
            service: "signal-engine",
            upstream: Some(SocketAddr::from(([127, 0, 0, 1], 8000))),
            key: None,
            refusal: None,
            filter: None,
            filter_fault: None,
            request_id: b"4f2a",
            took: Duration::from_micros(1_002_034),
            bytes_in: 0,
            bytes_out: 18_446_744_073_709_551_615,
        }
    }

    fn written(form: Form, line: &Line<'_>) -> String {
        let mut out = Vec::new();
        Formatter::new(form).push(&mut out, line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_json_line_says_what_happened() {
        let text = written(Form::Json, &line("GET", "gate.test", "/api/M%26M.NS"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2026-11-24T06:40:00.007Z", "client": "192.0.2.70", "method": "GET",
                "authority": "gate.test", "path": "/api/M%26M.NS", "status": 200,
                "service": "signal-engine", "upstream": "127.0.0.1:8000", "request_id": "4f2a",
                "took_ms": 1002.034, "bytes_in": 0, "bytes_out": 18_446_744_073_709_551_615_u64,
            })
        );
    }

    #[test]
    fn a_text_line_quotes_only_what_needs_it() {
        let mut wanted = line("GET", "gate.test", "/a b");
        wanted.key = Some("stockflow");
        wanted.upstream = Some("[::1]:80".parse().unwrap());
        wanted.client = "2001:db8::1".parse().unwrap();
        wanted.refusal = Some("x");
        wanted.filter = Some(("require-header", "failed-closed"));
        wanted.filter_fault = Some("trap");
        assert_eq!(
            written(Form::Text, &wanted),
            "time=2026-11-24T06:40:00.007Z client=2001:db8::1 method=GET authority=gate.test path=\"/a b\" status=200 \
             service=signal-engine upstream=[::1]:80 key=stockflow refusal=x filter=require-header \
             filter_did=failed-closed filter_fault=trap request_id=4f2a took_ms=1002.034 \
             bytes_in=0 bytes_out=18446744073709551615\n"
        );
    }

    fn is_one_valid_line(method: &str, authority: &str, path: &str) {
        let wanted = line(method, authority, path);
        let text = written(Form::Json, &wanted);
        let inside = text.strip_suffix('\n').unwrap();
        assert!(!inside.chars().any(escape::is_hidden), "{inside:?}");
        let value: serde_json::Value = serde_json::from_str(inside).unwrap();
        assert_eq!((&value["method"], &value["path"]), (&method.into(), &path.into()));
        assert_eq!(value["authority"], authority);
        let text = written(Form::Text, &wanted);
        assert!(!text.strip_suffix('\n').unwrap().chars().any(escape::is_hidden), "{text:?}");
    }

    #[test]
    fn every_byte_and_bidi_control_gives_one_valid_line() {
        for byte in 0..=255_u8 {
            let text = format!("a{}b", char::from(byte));
            is_one_valid_line(&text, &text, &text);
            let lossy = String::from_utf8_lossy(&[b'/', byte, b'"']).into_owned();
            is_one_valid_line(&lossy, &lossy, &lossy);
        }
        for bidi in
            ["\u{61c}", "\u{200e}", "\u{200f}", "\u{202a}", "\u{202e}", "\u{2066}", "\u{2069}"]
        {
            is_one_valid_line(bidi, bidi, bidi);
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_one_valid_line(method in ".{0,40}", authority in ".{0,40}", path in ".{0,200}") {
            is_one_valid_line(&method, &authority, &path);
        }

        #[test]
        fn numbers_are_written_as_std_writes_them(value: u64) {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn the_second_is_renewed_and_the_end_of_time_does_not_panic() {
        let mut formatter = Formatter::new(Form::Text);
        for (ms, start) in [
            (999, "time=1970-01-01T00:00:00.999Z "),
            (1000, "time=1970-01-01T00:00:01.000Z "),
            (1001, "time=1970-01-01T00:00:01.001Z "),
            (u64::MAX, "time=unknown.615Z "),
        ] {
            let mut out = Vec::new();
            formatter.push(&mut out, &Line { unix_ms: ms, ..line("GET", "a", "/") });
            assert!(out.starts_with(start.as_bytes()), "{}", String::from_utf8_lossy(&out));
        }
    }
}
