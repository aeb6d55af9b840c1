//! Builds Block Kit blocks as JSON within Slack's bounds and the gate's.

use json::quoted;

/// Blocks of one message, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    json: Vec<String>,
    bytes: usize,
}

/// Slack takes no more.
const BLOCKS_MAX: usize = 50;
/// Characters of a header, of a section's text and of a field.
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3000;
const FIELD_CHARS_MAX: usize = 200;
/// Of all blocks together: the gate takes 64 KiB for one value, and 256 KiB for a message with all its lines.
const BYTES_MAX: usize = 24_000;
/// Kept free for what comes after the list of issues.
const RESERVE_BYTES: usize = 900;

impl Blocks {
    pub(crate) fn header(&mut self, text: &str) {
        let text = quoted(&escaped(text, HEADER_CHARS_MAX));
        self.push(format!(r#"{{"type":"header","text":{{"type":"plain_text","text":{text}}}}}"#));
    }

    /// Calls people: `here` or `channel`.
    pub(crate) fn mention(&mut self, whom: &'static str) {
        self.push(section(&format!("<!{whom}>")));
    }

    pub(crate) fn section(&mut self, text: &str) {
        let room = self.room(RESERVE_BYTES);
        self.push_cut(text, room);
    }

    /// Facts side by side; ten at most.
    pub(crate) fn fields(&mut self, facts: &[(&'static str, String)]) {
        let field = |(name, value): &(&'static str, String)| {
            let text = format!("*{name}*\n{}", escaped(value, FIELD_CHARS_MAX));
            format!(r#"{{"type":"mrkdwn","text":{}}}"#, quoted(&text))
        };
        let fields: Vec<String> = facts.iter().take(10).map(field).collect();
        self.push(format!(r#"{{"type":"section","fields":[{}]}}"#, fields.join(",")));
    }

    /// A list; what finds no room is counted in its last line.
    pub(crate) fn bullets(&mut self, items: &[String]) {
        let mut text = String::new();
        for (index, item) in items.iter().enumerate() {
            let line = format!("• {}", escaped(item, FIELD_CHARS_MAX));
            let length = text.chars().count() + line.chars().count() + 1;
            let bytes = quoted(&text).len() + quoted(&line).len();
            if length > SECTION_CHARS_MAX - 30 || bytes > self.room(RESERVE_BYTES) {
                text.push_str(&format!("\n… and {} more", items.len() - index));
                break;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&line);
        }
        if !text.is_empty() {
            self.push(section(text.trim_start()));
        }
    }

    pub(crate) fn link(&mut self, url: &str, label: &'static str) {
        self.push(section(&format!("<{}|{label}>", escaped(url, FIELD_CHARS_MAX))));
    }

    /// Small print.
    pub(crate) fn context(&mut self, text: &str) {
        let text = quoted(&escaped(text, HEADER_CHARS_MAX));
        let element = format!(r#"{{"type":"mrkdwn","text":{text}}}"#);
        self.push(format!(r#"{{"type":"context","elements":[{element}]}}"#));
    }

    pub(crate) fn json(&self) -> String {
        format!("[{}]", self.json.join(","))
    }

    fn push_cut(&mut self, text: &str, bytes: usize) {
        let mut chars = SECTION_CHARS_MAX;
        let mut block = section(&escaped(text, chars));
        while block.len() > bytes && chars > 8 {
            chars /= 2;
            block = section(&escaped(text, chars));
        }
        self.push(block);
    }

    /// Bytes that are left when so many are kept free.
    fn room(&self, reserve: usize) -> usize {
        (BYTES_MAX - reserve).saturating_sub(self.bytes + 80)
    }

    /// What finds no room is left out: half a block would make Slack refuse the message.
    fn push(&mut self, block: String) {
        if self.json.len() < BLOCKS_MAX && self.bytes + block.len() < BYTES_MAX {
            self.bytes += block.len() + 1;
            self.json.push(block);
        }
    }
}

fn section(mrkdwn: &str) -> String {
    let text = quoted(mrkdwn);
    format!(r#"{{"type":"section","text":{{"type":"mrkdwn","text":{text}}}}}"#)
}

/// A text that Slack shows as it is, of at most so many characters (three or more) after escaping; a longer one ends with
/// an ellipsis.
pub(crate) fn escaped(text: &str, chars_max: usize) -> String {
    let mut cut = String::new();
    let mut chars = 0;
    // Where the text would have to end to leave room for the ellipsis.
    let mut end = 0;
    for character in text.chars() {
        let (piece, length) = match character {
            '&' => ("&amp;", 5),
            '<' => ("&lt;", 4),
            '>' => ("&gt;", 4),
            control if control.is_control() && control != '\n' => (" ", 1),
            _ => ("", 1),
        };
        if chars + length > chars_max {
            cut.truncate(end);
            cut.push('…');
            return cut;
        }
        match piece {
            "" => cut.push(character),
            piece => cut.push_str(piece),
        }
        chars += length;
        if chars < chars_max {
            end = cut.len();
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::{Blocks, escaped};

    #[test]
    fn a_text_is_escaped_and_cut_between_characters() {
        assert_eq!(escaped("a<b>&c", 99), "a&lt;b&gt;&amp;c");
        assert_eq!(escaped("abc", 3), "abc");
        assert_eq!(escaped("abcd", 3), "ab…");
        assert_eq!(escaped("🔥🔥🔥🔥", 3), "🔥🔥…");
        assert_eq!(escaped("ab&", 6), "ab…");
        assert_eq!(escaped("ab&", 7), "ab&amp;");
        assert_eq!(escaped("a&b", 6), "a…");
        assert_eq!(escaped("a\u{1}\nb", 9), "a \nb");
        for max in 3..40 {
            for text in ["<&>".repeat(20), "ä🔥&".repeat(9)] {
                let cut = escaped(&text, max);
                assert!(cut.chars().count() <= max, "{cut}");
                let unescaped = cut.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
                assert!(!unescaped.contains('&'), "no entity is cut: {cut}");
            }
        }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut blocks = Blocks::default();
        let items: Vec<String> = (0..64).map(|it| format!("{it} {}", "x".repeat(100))).collect();
        blocks.bullets(&items);
        blocks.context("end");
        let json = blocks.json();
        assert!(json.contains("… and "), "{json}");
        assert!(json.contains("\"end\""));
        assert!(json.len() <= 24_576);
    }
}
