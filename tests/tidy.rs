//! Rules the compiler cannot state: who may import whom, how long a file may be, that every file says what it is.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it may import. A room not named here may import nothing.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "alert",
            "health",
            "store",
            "app",
            "demo",
            "proxy",
            "generation",
            "plugin",
            "auth",
            "maintenance",
            "config",
            "wire",
            "telemetry",
            "linux",
            "semantics",
            "model",
        ],
    ),
    ("demo", &["app", "alert", "health", "plugin", "config", "wire", "telemetry", "model"]),
    (
        "app",
        &[
            "alert",
            "health",
            "store",
            "proxy",
            "admin",
            "ops",
            "generation",
            "plugin",
            "maintenance",
            "auth",
            "config",
            "wire",
            "telemetry",
            "semantics",
            "linux",
            "model",
        ],
    ),
    (
        "alert",
        &["health", "generation", "plugin", "store", "config", "telemetry", "semantics", "model"],
    ),
    (
        "health",
        &[
            "generation",
            "plugin",
            "store",
            "maintenance",
            "config",
            "wire",
            "telemetry",
            "semantics",
            "model",
        ],
    ),
    ("store", &["linux", "model"]),
    ("ops", &["generation", "maintenance", "wire", "telemetry", "model"]),
    (
        "proxy",
        &[
            "admin",
            "generation",
            "plugin",
            "maintenance",
            "auth",
            "config",
            "wire",
            "telemetry",
            "semantics",
            "model",
        ],
    ),
    (
        "admin",
        &[
            "alert",
            "health",
            "store",
            "generation",
            "plugin",
            "maintenance",
            "auth",
            "config",
            "wire",
            "telemetry",
            "semantics",
            "model",
        ],
    ),
    (
        "generation",
        &["plugin", "maintenance", "auth", "config", "wire", "telemetry", "semantics", "model"],
    ),
    ("plugin", &["store", "telemetry", "linux", "model"]),
    ("maintenance", &["model"]),
    ("auth", &["model"]),
    ("wire", &["telemetry", "semantics", "linux", "model"]),
    ("telemetry", &["linux", "model"]),
    ("config", &["semantics", "model"]),
    ("semantics", &["model"]),
    ("linux", &[]),
    ("model", &[]),
    ("lib", &[]),
];

const LINES_MAX: usize = 400;

#[test]
fn imports_follow_the_layers() {
    let breaches: Vec<String> = sources().iter().flat_map(|file| breaches(file)).collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn layers_have_no_cycle() {
    let mut placed: Vec<&str> = Vec::new();
    while placed.len() < MAY_IMPORT.len() {
        let before = placed.len();
        for (room, below) in MAY_IMPORT {
            if !placed.contains(room) && below.iter().all(|it| placed.contains(it)) {
                placed.push(room);
            }
        }
        assert!(before < placed.len(), "a cycle among the rooms not in {placed:?}");
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("readable source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(text.starts_with("//! "), "{} has no module doc", file.display());
        assert!(code.lines().count() <= LINES_MAX, "{} is too long", file.display());
    }
}

/// Bytes become code in one file, which says why it may; nowhere else is the compiler's denial of `unsafe` lifted.
#[test]
fn unsafe_code_stands_in_one_file() {
    let lifted = |text: &str| {
        let attributes = text.match_indices("unsafe_code").count();
        (attributes, text.match_indices("unsafe {").count())
    };
    for file in sources() {
        let text = fs::read_to_string(&file).expect("readable source");
        let is_home = file.ends_with("plugin/host/cache.rs");
        let expected = if is_home { (1, 1) } else { (0, 0) };
        assert_eq!(lifted(&text), expected, "{}", file.display());
    }
}

/// What another platform would have to bring stands in one room, and `anyhow` stays at the command line.
#[test]
fn some_words_stay_in_their_room() {
    let table: [(&[&str], &[&str]); 2] = [
        (&["/proc/self", "target_os", "sockopt", "attach_filter"], &["linux"]),
        (&["anyhow::", "use anyhow"], &["cli", "main"]),
    ];
    for file in sources() {
        let text = fs::read_to_string(&file).expect("readable source");
        for (words, rooms) in table {
            let found = words.iter().find(|it| text.contains(**it));
            let at_home = rooms.contains(&room_of(&file).as_str());
            assert!(
                found.is_none() || at_home,
                "{}: {found:?} belongs to {rooms:?}",
                file.display()
            );
        }
    }
}

fn breaches(file: &Path) -> Vec<String> {
    let room = room_of(file);
    let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, it)| it);
    let text = fs::read_to_string(file).expect("readable source");
    text.match_indices("crate::")
        .filter(|(at, _)| !text[..*at].ends_with(|it: char| it.is_alphanumeric() || it == '_'))
        .map(|(at, it)| &text[at + it.len()..])
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
        })
        .filter(|target| *target != room && !allowed.contains(target))
        .map(|target| format!("{}: {room} may not import {target:?}", file.display()))
        .collect()
}

fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(src()).expect("under src");
    let first = inside.iter().next().and_then(|it| it.to_str()).expect("utf-8 path");
    first.trim_end_matches(".rs").to_owned()
}

fn sources() -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![src()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("readable folder") {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
