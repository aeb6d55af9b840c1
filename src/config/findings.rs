//! What is wrong with a config, where, and what was expected.

use std::cell::RefCell;
use std::fmt;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config works, but probably not as meant.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding in a config. Never holds the value of a secret: the snippet masks what could be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub severity: Severity,
    /// The config as the caller named it.
    pub file: String,
    /// Counts from 1; 0: the file as a whole.
    pub line: usize,
    /// Counts characters from 1; 0: the file or the line as a whole.
    pub column: usize,
    /// Characters to underline.
    #[serde(skip)]
    pub width: usize,
    /// What is wrong, lower-case, without full stop.
    pub message: String,
    /// What would be right.
    pub expected: Option<String>,
    /// The valid word that looks most like the one found.
    pub nearest: Option<String>,
    /// The line, cut around the column; empty when the finding is about the file or the line as a whole.
    pub snippet: String,
    /// Where in the document, for example `routes[2].path`; empty at the top.
    pub path: String,
    /// Column of `column` in `snippet`.
    #[serde(skip)]
    pub snippet_column: usize,
}

impl Finding {
    /// An error about the file as a whole (unreadable, too large).
    pub fn whole(origin: &Path, message: String, expected: &str) -> Self {
        Problem::error(Spot::default(), message).expected(expected).at(&Source::new("", origin))
    }

    /// Text for people: message, place, line with caret, hints; ends with a newline.
    pub fn render(&self) -> String {
        let mut text = format!("{}: {}\n", self.severity.word(), self.message);
        if self.line == 0 {
            let _ = writeln!(text, " --> {}", self.file);
        } else if self.snippet.is_empty() {
            let gutter = " ".repeat(self.line.to_string().len());
            let _ = writeln!(text, "{gutter}--> {}:{}", self.file, self.line);
        } else {
            self.render_snippet(&mut text);
        }
        let gutter = " ".repeat(self.line.to_string().len());
        if !self.path.is_empty() {
            let _ = writeln!(text, "{gutter} = at: {}", self.path);
        }
        if let Some(expected) = &self.expected {
            let _ = writeln!(text, "{gutter} = expected: {expected}");
        }
        if let Some(nearest) = self.nearest.as_ref().filter(|_| self.snippet.is_empty()) {
            let _ = writeln!(text, "{gutter} = did you mean `{nearest}`?");
        }
        text
    }

    fn render_snippet(&self, text: &mut String) {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let before = self.snippet_column.saturating_sub(1);
        // Tabs are kept so that the caret stands under the character on every terminal.
        let pad: String =
            self.snippet.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let rest = self.snippet.chars().count().saturating_sub(before);
        let carets = "^".repeat(self.width.clamp(1, rest.max(1)));
        let hint =
            self.nearest.as_ref().map_or_else(String::new, |it| format!(" did you mean `{it}`?"));
        let _ = writeln!(text, "{gutter}--> {}:{}:{}", self.file, self.line, self.column);
        let _ = writeln!(text, "{gutter} |");
        let _ = writeln!(text, "{number} | {}", self.snippet);
        let _ = writeln!(text, "{gutter} | {pad}{carets}{hint}");
    }
}

/// On one line, for logs and status.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        write!(f, ": {}: ", self.severity.word())?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.nearest {
            Some(it) => write!(f, " (did you mean `{it}`?)"),
            None => Ok(()),
        }
    }
}

/// All findings as text, a blank line between them.
pub fn render(findings: &[Finding]) -> String {
    findings.iter().map(Finding::render).collect::<Vec<_>>().join("\n")
}

/// A place in the text: counts lines and characters from 1; line 0 is the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// Characters on that line, at least 1.
    pub(super) width: usize,
}

/// A place in the text and its path in the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) path: String,
}

/// A finding before it is joined with the text.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    severity: Severity,
    spot: Spot,
    message: String,
    expected: Option<String>,
    nearest: Option<String>,
}

impl Problem {
    pub(super) fn error(spot: Spot, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity: Severity::Error, spot, message, expected: None, nearest: None }
    }

    pub(super) fn warning(spot: Spot, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(spot, message) }
    }

    pub(super) fn expected(mut self, what: impl Into<String>) -> Self {
        self.expected = Some(what.into());
        self
    }

    pub(super) fn nearest(mut self, word: Option<String>) -> Self {
        self.nearest = word;
        self
    }

    pub(super) fn at(self, source: &Source<'_>) -> Finding {
        let Place { line, column, width } = self.spot.place;
        let (snippet, snippet_column) = source.window(line, column);
        Finding {
            severity: self.severity,
            file: source.file.clone(),
            line,
            column,
            width,
            message: self.message.chars().map(tame).collect(),
            expected: self.expected,
            nearest: self.nearest,
            snippet,
            path: self.spot.path,
            snippet_column,
        }
    }
}

/// Collects problems while a tree is read; shared by reader and lowering.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: RefCell<Vec<Problem>>,
}

impl Problems {
    pub(super) fn push(&self, problem: Problem) {
        self.list.borrow_mut().push(problem);
    }

    /// In the order of the text, joined with it.
    pub(super) fn findings(self, source: &Source<'_>) -> Vec<Finding> {
        let mut list: Vec<Finding> =
            self.list.into_inner().into_iter().map(|it| it.at(source)).collect();
        list.sort_by_key(|it| (it.line, it.column, it.severity));
        list
    }
}

/// The config's text with everything masked that could be a secret.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: String,
    lines: Vec<&'a str>,
    masked: Vec<Place>,
}

/// Characters of a line that a snippet shows at most.
const WINDOW: usize = 140;

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, origin: &Path) -> Self {
        let lines = text.lines().collect();
        Self { file: origin.display().to_string(), lines, masked: Vec::new() }
    }

    /// Hides these places from every snippet.
    pub(super) fn mask(&mut self, places: Vec<Place>) {
        self.masked = places;
    }

    /// The line, cut to a window around the column, and the column in it.
    fn window(&self, line: usize, column: usize) -> (String, usize) {
        let Some(text) = line.checked_sub(1).and_then(|it| self.lines.get(it)) else {
            return (String::new(), 0);
        };
        let length = text.chars().count();
        let start = if length <= WINDOW { 0 } else { column.saturating_sub(WINDOW / 2) };
        let start = start.min(length.saturating_sub(WINDOW));
        let window: String = text
            .chars()
            .enumerate()
            .skip(start)
            .take(WINDOW)
            .map(|(index, c)| if self.hides(line, index + 1) { '*' } else { tame(c) })
            .collect();
        (window.trim_end().to_owned(), column.saturating_sub(start))
    }

    fn hides(&self, line: usize, column: usize) -> bool {
        self.masked.iter().any(|it| {
            it.line == line && (it.column..it.column.saturating_add(it.width)).contains(&column)
        })
    }
}

/// Control characters could steer the reader's terminal.
fn tame(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }
}

/// The candidate that looks most like `word`, if any is near enough to be meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let plain = |it: &str| it.replace(['_', '-', ' '], "").to_lowercase();
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|it| (strsim::damerau_levenshtein(&wanted, &plain(it)), it))
        .filter(|(distance, it)| *distance <= (it.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Place, Problem, Source, Spot, nearest};
    use std::path::Path;

    #[test]
    fn the_nearest_word_is_near_or_none() {
        let words = ["trustedProxies", "routes", "keys", "services"];
        for (word, expected) in [
            ("trusted_proxies", Some("trustedProxies")),
            ("trustedProxys", Some("trustedProxies")),
            ("route", Some("routes")),
            ("serivces", Some("services")),
            ("kesy", Some("keys")),
            ("upstream", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words).as_deref(), expected, "{word}");
        }
    }

    #[test]
    fn a_snippet_is_cut_tamed_and_masked() {
        let text = format!("{}secret\u{1b}[31m tail {}", " ".repeat(300), "x".repeat(300));
        let mut source = Source::new(&text, Path::new("f.yaml"));
        source.mask(vec![Place { line: 1, column: 301, width: 6 }]);
        let spot =
            Spot { place: Place { line: 1, column: 301, width: 6 }, path: String::from("a") };
        let found = Problem::error(spot, "odd\u{7}").expected("even").at(&source);
        assert_eq!(found.message, "odd\u{FFFD}");
        assert_eq!(found.to_string(), "f.yaml:1:301: error: a: odd\u{FFFD}");
        assert!(found.snippet.contains("******\u{FFFD}[31m tail"), "{}", found.snippet);
        let under: String = found.snippet.chars().skip(found.snippet_column - 1).take(6).collect();
        assert_eq!(under, "******");
    }
}
