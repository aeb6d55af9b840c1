//! Reads JSON (RFC 8259) step by step; the text may end anywhere.

/// Where a reading stands. Every step gives `None` where the text is not what it should be, or ends.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
}

/// Containers in one another that are followed.
pub(crate) const DEPTH_MAX: u32 = 32;

impl<'a> Scanner<'a> {
    /// At the begin of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text.as_bytes() }
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Passes over a whole value, `depth` containers deep.
    pub(crate) fn skip(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.text().map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'[' => self.skip_items(depth, b']'),
            b'{' => self.skip_items(depth, b'}'),
            _ => self.number().map(drop),
        }
    }

    fn skip_items(&mut self, depth: u32, end: u8) -> Option<()> {
        if depth == DEPTH_MAX {
            return None;
        }
        self.next()?;
        self.space();
        if self.peek()? == end {
            return self.expect(end);
        }
        loop {
            if end == b'}' {
                self.text()?;
                self.space();
                self.expect(b':')?;
                self.space();
            }
            self.skip(depth + 1)?;
            self.space();
            match self.next()? {
                b',' => self.space(),
                byte if byte == end => return Some(()),
                _ => return None,
            }
        }
    }

    /// A number as it is written, by the grammar of RFC 8259.
    pub(crate) fn number(&mut self) -> Option<&'a str> {
        let whole = self.rest;
        if self.peek()? == b'-' {
            self.next()?;
        }
        if self.peek()? == b'0' {
            self.next()?;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.next()?;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.next()?;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.next()?;
            }
            self.digits()?;
        }
        let length = whole.len() - self.rest.len();
        std::str::from_utf8(whole.get(..length)?).ok()
    }

    fn digits(&mut self) -> Option<()> {
        let length = self.rest.iter().take_while(|it| it.is_ascii_digit()).count();
        self.rest = self.rest.get(length..)?;
        (length > 0).then_some(())
    }

    /// A string, unescaped.
    pub(crate) fn text(&mut self) -> Option<String> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return String::from_utf8(text).ok(),
                b'\\' => {
                    let character = self.escape()?;
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                0..=0x1f => return None,
                byte => text.push(byte),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high);
                }
                self.expect(b'\\')?;
                self.expect(b'u')?;
                let low = self.hex()?;
                (0xdc00..0xe000).contains(&low).then_some(())?;
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = value * 16 + char::from(self.next()?).to_digit(16)?;
        }
        Some(value)
    }

    /// Exactly this word.
    pub(crate) fn word(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word.as_bytes())?;
        Some(())
    }

    /// Passes over white space.
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
    }

    /// Exactly this byte.
    pub(crate) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// The next byte, which stays.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next byte.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}
