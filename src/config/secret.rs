//! Reads keys from where the config says they are, into a type that cannot be printed.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretBox};

use crate::config::KeySource;

/// Bytes of a key file at most.
pub const SECRET_BYTES_MAX: usize = 4096;

/// Bytes that are wiped when they are dropped. No `Display`, no `Serialize`, and `Debug` shows nothing of them.
pub struct Secret(SecretBox<[u8]>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        // A boxed slice of exact size: growing would leave a copy behind.
        Self(SecretBox::new(bytes.into_boxed_slice()))
    }

    /// The bytes, for digesting them.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a reference leads to.
#[derive(Debug)]
pub enum Resolved {
    /// The key itself, to be digested.
    Key(Secret),
    /// Its SHA-256 digest.
    Digest([u8; 32]),
}

/// Why a reference leads nowhere. Names the reference and the next step, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("environment variable {name} is not set; set it, or name another source")]
    NotSet { name: String },
    #[error("file {} cannot be read; check that it exists and that the gate may read it", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{reference} is not a regular file; name the file that holds the key")]
    NotAFile { reference: String },
    #[error("{reference} is empty; put the key there")]
    Empty { reference: String },
    #[error("{reference} has more than {SECRET_BYTES_MAX} bytes; put nothing but the key there")]
    TooLarge { reference: String },
    #[error(
        "{reference} has a byte that no header can carry (byte {at}); a key is one word of visible ASCII"
    )]
    NotVisible {
        reference: String,
        /// Counts from 1.
        at: usize,
    },
}

/// Reads a key. Blocks on the file system.
///
/// # Errors
/// When there is no key, or when it could never stand in a header.
pub fn read(source: &KeySource) -> Result<Resolved, SecretError> {
    resolve(source, |name| std::env::var_os(name))
}

fn resolve(
    source: &KeySource,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Resolved, SecretError> {
    let (reference, bytes) = match source {
        KeySource::Digest(digest) => return Ok(Resolved::Digest(*digest)),
        KeySource::Env(name) => {
            let value = env(name).ok_or_else(|| SecretError::NotSet { name: name.clone() })?;
            (format!("environment variable {name}"), value.into_vec())
        }
        KeySource::File(path) => (format!("file {}", path.display()), read_file(path)?),
    };
    key(bytes, reference).map(Resolved::Key)
}

/// At most one byte more than allowed, so that too large a file is noticed and not read.
fn read_file(path: &Path) -> Result<Vec<u8>, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(SecretError::NotAFile { reference: format!("file {}", path.display()) });
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity(SECRET_BYTES_MAX + 64);
    let most = u64::try_from(SECRET_BYTES_MAX + 1).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The key in these bytes: one trailing newline cut, visible ASCII only.
fn key(mut bytes: Vec<u8>, reference: String) -> Result<Secret, SecretError> {
    let outcome = check(&bytes, reference)
        .map(|length| Secret::new(bytes.get(..length).unwrap_or_default().to_vec()));
    bytes.zeroize();
    outcome
}

/// The length of the key.
fn check(bytes: &[u8], reference: String) -> Result<usize, SecretError> {
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(SecretError::TooLarge { reference });
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").filter(|_| line.len() < bytes.len()).unwrap_or(line);
    if line.is_empty() {
        return Err(SecretError::Empty { reference });
    }
    match line.iter().position(|byte| !byte.is_ascii_graphic()) {
        Some(index) => Err(SecretError::NotVisible { reference, at: index + 1 }),
        None => Ok(line.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Resolved, Secret, SecretError, key, resolve};
    use crate::config::KeySource;
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn read(bytes: &[u8]) -> Result<Vec<u8>, SecretError> {
        key(bytes.to_vec(), String::from("file /k")).map(|it| it.expose().to_vec())
    }

    #[test]
    fn one_trailing_newline_is_cut() {
        for (bytes, expected) in
            [(&b"abc"[..], &b"abc"[..]), (b"abc\n", b"abc"), (b"abc\r\n", b"abc"), (b"!~", b"!~")]
        {
            assert_eq!(read(bytes).unwrap(), expected);
        }
    }

    #[test]
    fn what_no_header_can_carry_is_refused_without_showing_it() {
        let large = vec![b'a'; 4097];
        for bytes in [
            &b""[..],
            b"\n",
            b"\r\n",
            b"hunter 2",
            b"hunter\n\n",
            b"hunter\r",
            b"h\xc3\xa9",
            b"\0",
            &large,
        ] {
            let error = read(bytes).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("/k") && !shown.contains("hunter"), "{shown}");
        }
    }

    #[test]
    fn the_environment_is_read_by_name() {
        let env = |name: &str| (name == "SET").then(|| OsString::from("hunter2"));
        let set = resolve(&KeySource::Env(String::from("SET")), env).unwrap();
        assert!(matches!(&set, Resolved::Key(it) if it.expose() == b"hunter2"));
        assert!(!format!("{set:?}").contains("hunter2"));
        let error = resolve(&KeySource::Env(String::from("UNSET")), env).unwrap_err();
        assert!(error.to_string().contains("UNSET is not set; set it"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_one_is_refused() {
        for path in ["/nonexistent/key", "/", "/dev/zero"] {
            let error = resolve(&KeySource::File(PathBuf::from(path)), |_| None).unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
        }
    }

    #[test]
    fn a_digest_passes_through() {
        let found = resolve(&KeySource::Digest([7; 32]), |_| None).unwrap();
        assert!(matches!(found, Resolved::Digest(it) if it == [7; 32]));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret");
    }
}
