//! Makes a guest's words fit for logs and terminals.

use std::fmt::Write as _;

/// The text with control characters escaped, as whole characters within so many bytes.
pub(super) fn escaped(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for char in text.chars() {
        let before = out.len();
        if is_unfit(char) {
            // A String takes everything.
            let _ = write!(out, "{}", char.escape_default());
        } else {
            out.push(char);
        }
        if out.len() > bytes_max {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Control characters, and those that turn the direction of text or break a line unseen.
pub(super) fn is_unfit(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn control_characters_are_shown_and_lines_end_at_a_whole_character() {
        let cases = [
            ("plain", 10, "plain"),
            ("two\nlines\t", 20, "two\\nlines\\t"),
            ("\u{1b}[31mred", 20, "\\u{1b}[31mred"),
            ("a\u{202e}b", 20, "a\\u{202e}b"),
            ("grün", 3, "gr"),
            ("grün", 4, "grü"),
            ("ab\n", 3, "ab"),
            ("\u{0}", 4, ""),
            ("anything", 0, ""),
        ];
        for (text, max, expected) in cases {
            assert_eq!(escaped(text, max), expected, "{text:?} within {max}");
        }
    }
}
