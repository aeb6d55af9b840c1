//! Makes untrusted text harmless in logs: one line, visible characters, bounded length.

/// Longest untrusted field of a log line in bytes; the rest is cut and marked with `…`.
pub const FIELD_BYTES_MAX: usize = 1024;

/// Bytes that stand for themselves inside a JSON string and on a terminal.
const PLAIN: [bool; 256] = plain();

const fn plain() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
}

/// Whether a character could break a line, steer a terminal or reorder what a person reads:
/// C0, DEL, C1, bidi controls (Unicode TR 9), invisible format characters, tags.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether every byte is plain; without early exit, so that it compiles to vector instructions.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .fold(true, |plain, it| plain & (0x20..0x7f).contains(it) & (*it != b'"') & (*it != b'\\'))
}

/// Whether `text` stands for itself everywhere: no quoting, no escape, not empty.
pub fn is_bare(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|it| PLAIN[usize::from(*it)] && !matches!(it, b' ' | b'='))
}

/// The same as [`push_quoted`] for bytes that should be text; what is none becomes U+FFFD.
pub fn push_quoted_bytes(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() <= FIELD_BYTES_MAX && is_plain(text) {
        out.extend_from_slice(text);
    } else {
        push_quoted(out, &String::from_utf8_lossy(text));
    }
}

/// Appends `text`, cut at [`FIELD_BYTES_MAX`], as the inside of a JSON string.
pub fn push_quoted(out: &mut Vec<u8>, text: &str) {
    let kept = text.split_at(text.floor_char_boundary(FIELD_BYTES_MAX)).0;
    let mut rest = kept;
    while let Some(at) = rest.bytes().position(|it| !PLAIN[usize::from(it)]) {
        let (plain, odd) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = odd.chars();
        match chars.next() {
            Some(c @ ('"' | '\\')) => out.extend_from_slice(&[b'\\', c as u8]),
            Some(c) => push_visible(out, c),
            None => {}
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    if kept.len() < text.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Appends `text` with hidden characters as `\u` escapes; quotes and backslashes stay, nothing is cut.
pub fn push_visible_text(out: &mut Vec<u8>, text: &str) {
    text.chars().for_each(|it| push_visible(out, it));
}

fn push_visible(out: &mut Vec<u8>, c: char) {
    if !is_hidden(c) {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            let digit = u32::from(*unit >> shift) & 0xf;
            out.push(char::from_digit(digit, 16).map_or(b'0', |it| it as u8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        push_quoted_bytes(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_character_survives_a_json_parser_and_none_stays_hidden() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let inside = quoted(&c.to_string());
            assert!(!inside.chars().any(is_hidden), "{c:?} stayed hidden");
            if (c as u32) < 0x3000 || c.is_control() || is_hidden(c) {
                let back: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
                assert_eq!(back, c.to_string());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut out = Vec::new();
        push_quoted_bytes(&mut out, b"a\xff\"");
        assert_eq!(String::from_utf8(out).unwrap(), "a\u{fffd}\\\"");
    }

    #[test]
    fn a_long_field_is_cut_between_characters_and_marked() {
        let long = "é".repeat(1000);
        let cut = quoted(&long);
        assert_eq!(cut, format!("{}…", "é".repeat(512)));
        assert_eq!(quoted(&"a".repeat(1024)).len(), 1024);
        let odd = format!("a{}", "é".repeat(1000));
        assert_eq!(quoted(&odd), format!("a{}…", "é".repeat(511)));
    }

    #[test]
    fn only_harmless_words_are_bare() {
        for (text, bare) in [
            ("GET", true),
            ("/api/M%26M.NS", true),
            ("", false),
            ("a b", false),
            ("a=b", false),
            ("a\"b", false),
            ("a\nb", false),
            ("é", false),
            ("\u{7f}", false),
        ] {
            assert_eq!(is_bare(text.as_bytes()), bare, "{text:?}");
        }
    }
}
