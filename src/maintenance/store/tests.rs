//! The file cut at every byte, replaced, taken away; what a restart makes of it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::maintenance::audit::Action;

/// An empty folder that goes with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("headgate-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn window(since: u64) -> Window {
    Window {
        since: UnixMs(since),
        until: Some(UnixMs(since + 1)),
        reason: Some("a \"reason\"\u{2028}".to_owned()),
        by: "ci".to_owned(),
        until_healthy: true,
        follows: vec!["a".to_owned()].into(),
    }
}

fn state(since: u64) -> State {
    State {
        modes: Modes {
            all: Some(window(since)),
            services: vec![("a".to_owned(), window(since)), ("b".to_owned(), window(since))],
            ending: vec![("c".to_owned(), window(since))],
        },
        last_change: Some(Entry::new(Action::MaintenanceOn, "ci", UnixMs(since))),
    }
}

fn file(dir: &Folder) -> PathBuf {
    dir.path().join("maintenance.json")
}

fn names(dir: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).unwrap();
    entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_saved_is_loaded() {
    let dir = Folder::new();
    assert_eq!(load(&file(&dir)).unwrap(), Loaded::default());
    for it in [state(1), State::default(), state(u64::MAX - 1)] {
        save(&file(&dir), &it).unwrap();
        assert_eq!(load(&file(&dir)).unwrap(), Loaded { state: it, found: true, warning: None });
    }
    let mut names = names(&dir);
    names.sort();
    assert_eq!(names, ["maintenance.json", "maintenance.json.prev"], "nothing is left over");
}

#[test]
fn a_file_torn_at_any_byte_is_never_believed() {
    let dir = Folder::new();
    save(&file(&dir), &state(7)).unwrap();
    let whole = std::fs::read(file(&dir)).unwrap();
    for cut in 0..whole.len() - 1 {
        std::fs::write(file(&dir), &whole[..cut]).unwrap();
        let loaded = load(&file(&dir)).unwrap();
        assert_eq!(loaded.state, state(7), "the copy, at {cut}");
        let warning = loaded.warning.expect("loud");
        assert!(warning.contains("broken") && warning.contains(".corrupt-"), "{warning}");
        assert_eq!(load(&file(&dir)).unwrap().warning, None, "healed");
    }
    assert!(names(&dir).iter().any(|it| it.contains(".corrupt-")));
}

#[test]
fn torn_temporary_files_are_passed_over() {
    let dir = Folder::new();
    save(&file(&dir), &state(1)).unwrap();
    let next = serde_json::to_vec_pretty(&FileForm::from(&state(2))).unwrap();
    for cut in 0..=next.len() {
        std::fs::write(beside(&file(&dir), ".tmp"), &next[..cut]).unwrap();
        std::fs::write(beside(&file(&dir), ".prev.tmp"), &next[..cut]).unwrap();
        assert_eq!(load(&file(&dir)).unwrap().state, state(1));
    }
    std::fs::rename(beside(&file(&dir), ".prev.tmp"), beside(&file(&dir), ".prev")).unwrap();
    let loaded = load(&file(&dir)).unwrap();
    assert_eq!(
        (loaded.state, loaded.warning),
        (state(1), None),
        "the copy may be ahead, and is not asked"
    );
    save(&file(&dir), &state(3)).unwrap();
    assert_eq!(load(&file(&dir)).unwrap().state, state(3));
}

#[test]
fn foreign_contents_are_off_when_there_is_no_good_copy() {
    let rows: &[&[u8]] = &[
        b"",
        b"{}",
        b"null",
        b"on",
        b"{\"version\":1}",
        br#"{"version":2,"all":null,"services":{},"last_change":null}"#,
        br#"{"version":1,"all":null,"services":{},"last_change":null,"more":1}"#,
        br#"{"version":1,"all":{"since_ms":-1,"until_ms":null,"reason":null,"by":"x"},"services":{},"last_change":null}"#,
        &[0xff; 100],
        &[b' '; (1 << 20) + 1],
    ];
    for text in rows {
        let dir = Folder::new();
        std::fs::write(file(&dir), text).unwrap();
        let loaded = load(&file(&dir)).unwrap();
        assert_eq!(loaded.state, State::default());
        assert!(loaded.warning.unwrap().contains("maintenance is off"));
        let kept = names(&dir).into_iter().find(|it| it.contains(".corrupt-")).unwrap();
        assert_eq!(std::fs::read(dir.path().join(kept)).unwrap(), *text);
    }
}

#[test]
fn a_failure_leaves_the_old_state() {
    let dir = Folder::new();
    save(&file(&dir), &state(1)).unwrap();
    for blocked in [".tmp", ".prev.tmp"] {
        std::fs::create_dir(beside(&file(&dir), blocked)).unwrap();
        let error = save(&file(&dir), &state(2)).unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }), "{error}");
        assert_eq!(load(&file(&dir)).unwrap().state, state(1));
        std::fs::remove_dir(beside(&file(&dir), blocked)).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_off() {
    let dir = Folder::new();
    std::fs::create_dir(file(&dir)).unwrap();
    assert!(matches!(load(&file(&dir)), Err(StoreError::Read { .. })));
    assert!(matches!(
        FileStore::in_dir(Path::new("/proc/nowhere")),
        Err(StoreError::Folder { .. })
    ));
}

#[tokio::test]
async fn both_stores_keep_what_the_trait_says() {
    let dir = Folder::new();
    let nested = dir.path().join("a/b");
    let stores: [Box<dyn Store>; 2] =
        [Box::new(MemoryStore::default()), Box::new(FileStore::in_dir(&nested).unwrap())];
    for store in stores {
        assert_eq!(store.load().await.unwrap(), Loaded::default());
        store.save(state(5)).await.unwrap();
        let loaded = store.load().await.unwrap();
        assert_eq!((loaded.state, loaded.found), (state(5), true));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told_at_the_start() {
    let dir = Folder::new();
    let store = FileStore::in_dir(dir.path()).unwrap();
    assert_eq!(store.obstacle(), None);
    assert!(names(&dir).is_empty());
    std::fs::create_dir(beside(&file(&dir), ".probe")).unwrap();
    assert!(store.obstacle().unwrap().contains("cannot be switched"));
}

#[test]
fn a_broken_file_that_cannot_be_replaced_is_kept_once_and_does_not_stop_the_start() {
    let dir = Folder::new();
    save(&file(&dir), &state(3)).unwrap();
    std::fs::write(file(&dir), b"{").unwrap();
    std::fs::create_dir(beside(&file(&dir), ".tmp")).unwrap();
    for _ in 0..5 {
        let loaded = load(&file(&dir)).unwrap();
        assert_eq!(loaded.state, state(3));
        assert!(loaded.warning.unwrap().contains("could not be replaced"));
    }
    assert_eq!(names(&dir).iter().filter(|it| it.contains(".corrupt-")).count(), 1);
}

#[test]
fn what_an_older_gate_wrote_is_read_and_it_reads_what_says_nothing_new() {
    let old = r#"{"version":1,"all":{"since_ms":1,"until_ms":null,"reason":null,"by":"ci"},"services":{},"last_change":null}"#;
    let state = decode(old.as_bytes()).unwrap();
    let all = state.modes.all.as_ref().unwrap();
    assert!(!all.until_healthy && all.follows.is_empty() && state.modes.ending.is_empty());
    assert_eq!(serde_json::to_string(&FileForm::from(&state)).unwrap(), old);
}

proptest::proptest! {
    #[test]
    fn any_state_comes_back_as_it_was(
        all in proptest::option::of((0_u64..u64::MAX, proptest::option::of(0_u64..u64::MAX), proptest::option::of(".{0,40}"))),
        services in proptest::collection::btree_map("[a-z0-9-]{1,12}", (0_u64..9, proptest::option::of(0_u64..9), proptest::option::of(".{0,9}")), 0..6),
        by in ".{0,20}",
    ) {
        let window = |it: (u64, Option<u64>, Option<String>)| Window {
            since: UnixMs(it.0),
            until: it.1.map(UnixMs),
            until_healthy: it.0.is_multiple_of(2),
            follows: it.2.iter().cloned().collect(),
            reason: it.2,
            by: by.clone(),
        };
        let modes = Modes {
            ending: all.clone().into_iter().map(|it| (by.clone(), window(it))).collect(),
            all: all.map(window),
            services: services.into_iter().map(|(name, it)| (name, window(it))).collect(),
        };
        let state = State { modes, last_change: None };
        let text = serde_json::to_vec(&FileForm::from(&state)).unwrap();
        proptest::prop_assert_eq!(decode(&text).unwrap(), state);
    }
}
