//! From the config's text to a valid config, or to everything that is wrong with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::findings::{Finding, Place, Problems, Severity, Source};
use super::tree::{Tree, Value};
use super::{Config, decode, lower, units};

/// Bytes of a config file at most.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A config that was found valid, and what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub config: Config,
    /// In the order of the text; none is an error.
    pub warnings: Vec<Finding>,
    /// SHA-256 of the text.
    pub text_hash: [u8; 32],
    /// Which line gives which value.
    pub origins: Origins,
}

/// Where the values of a config come from.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// The file as the caller named it.
    pub file: String,
    /// Line (from 1) of each path that the text gives, for example `routes[0].path`.
    pub lines: BTreeMap<String, usize>,
}

impl Origins {
    /// Gives a finding about no line the line of the nearest value that the text gives at or above its path.
    pub fn locate(&self, finding: &mut Finding) {
        let mut path = finding.path.as_str();
        while finding.line == 0 && !path.is_empty() {
            if let Some(line) = self.lines.get(path) {
                finding.line = *line;
            }
            path = path.rfind(['.', '[']).and_then(|at| path.get(..at)).unwrap_or_default();
        }
    }
}

/// Reads a config. `origin` names the file in findings, and relative paths start at its folder.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text, warnings among it. Only a syntax error hides what comes
/// behind it.
pub fn parse(text: &str, origin: &Path) -> Result<Parsed, Vec<Finding>> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes", text.len());
        let expected = format!("at most {}", units::size(TEXT_BYTES_MAX as u64));
        return Err(vec![Finding::whole(origin, message, &expected)]);
    }
    let problems = Problems::default();
    let tree = Tree::read(text, origin, &problems).map_err(|it| vec![*it])?;
    let document = decode::decode(&tree, &problems);
    let folder = origin.parent().unwrap_or_else(|| Path::new(""));
    let cx = lower::Cx { tree: &tree, problems: &problems, folder };
    let config = lower::lower(&document, &cx);
    let mut source = Source::new(text, origin);
    source.mask(secret_places(&tree));
    let findings = problems.findings(&source);
    let refused = findings.iter().any(|it| it.severity == Severity::Error);
    match config.filter(|_| !refused) {
        Some(config) => Ok(Parsed {
            config,
            warnings: findings,
            text_hash: Sha256::digest(text.as_bytes()).into(),
            origins: origins(&tree, origin),
        }),
        None => Err(findings),
    }
}

fn origins(tree: &Tree, origin: &Path) -> Origins {
    let lines = tree.nodes().iter().map(|it| (it.path.clone(), it.place.line)).collect();
    Origins { file: origin.display().to_string(), lines }
}

/// Places whose text may be a secret that stands in the file by mistake: everything below `keys` but names, scopes,
/// times and references; whatever is called a key, a secret, a password or a token elsewhere; a URL that opens something.
fn secret_places(tree: &Tree) -> Vec<Place> {
    let secret = |path: &str, text: &str| {
        let reference = text.starts_with("env:") || text.starts_with("file:");
        let below_keys = path.starts_with("keys") && !is_plain_field(path);
        (!reference && (below_keys || is_called_secret(path))) || is_opening_url(path, text)
    };
    tree.nodes()
        .iter()
        .filter(|it| match &it.value {
            // A key of a mapping has the path of its value; its text is the path's end.
            Value::Text(text) => !it.path.ends_with(text.as_str()) && secret(&it.path, text),
            Value::Count(_) | Value::Int(_) | Value::Float(_) => secret(&it.path, ""),
            _ => false,
        })
        .map(|it| it.place)
        .collect()
}

/// Fields of a key that are no secret.
fn is_plain_field(path: &str) -> bool {
    let field = path.split_once("].").map(|it| it.1.split('[').next().unwrap_or_default());
    field.is_some_and(|it| ["name", "scopes", "notBefore", "expiresAt"].contains(&it))
}

/// Fields of ours that only sound like a secret.
const HARMLESS: [&str; 4] =
    ["forwardKey", "statusNeedsKey", "listenerNeedsKey", "badKeysPerMinute"];

/// A user name in an upstream, or a URL of a receiver that has one, a query or a fragment.
fn is_opening_url(path: &str, text: &str) -> bool {
    let outside = path.starts_with("alerts") || path.starts_with("kubesnap");
    (path.starts_with("services") && text.contains('@'))
        || (outside && text.contains("://") && text.contains(['@', '?', '#']))
}

/// Words in the names of fields whose value is a secret.
const SECRET_WORDS: [&str; 6] = ["key", "secret", "password", "token", "authorization", "cookie"];

fn is_called_secret(path: &str) -> bool {
    let field = path.rsplit('.').next().unwrap_or_default();
    if HARMLESS.contains(&field) {
        return false;
    }
    let field = field.to_ascii_lowercase();
    // The URL of a Slack webhook is all that one needs to post there.
    let webhook = path.starts_with("alerts.sinks") && field.starts_with("slack");
    webhook || SECRET_WORDS.iter().any(|it| field.contains(it))
}

/// Reads a config file's text, at most [`TEXT_BYTES_MAX`] and one byte (which [`parse`] refuses). Blocks.
///
/// # Errors
/// A finding about the file as a whole, with the next step, when it cannot be read or is not UTF-8.
pub fn read(path: &Path) -> Result<String, Box<Finding>> {
    let most = u64::try_from(TEXT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let outcome = File::open(path).and_then(|it| it.take(most).read_to_end(&mut bytes));
    if let Err(error) = outcome {
        let expected = match error.kind() {
            io::ErrorKind::NotFound => {
                "a config file at this path; `examples/` has some to start from"
            }
            io::ErrorKind::PermissionDenied => "a file that this user may read (chmod, chown)",
            _ => "a config file that can be read",
        };
        let message = format!("the file cannot be read: {error}");
        return Err(Box::new(Finding::whole(path, message, expected)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        let message = format!("byte {at} is not UTF-8");
        Box::new(Finding::whole(path, message, "a text file in UTF-8"))
    })
}
