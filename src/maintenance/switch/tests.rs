//! Durable before published, in one order, healed after a crash.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::maintenance::store::tests::Folder;
use crate::maintenance::store::{BoxFuture, Loaded};

fn asker(name: &str) -> Asker {
    Asker { actor: name.to_owned(), request_id: format!("r-{name}") }
}

fn on(scope: Scope, until: Option<u64>) -> On {
    On {
        scope,
        until: until.map(UnixMs),
        until_healthy: false,
        follows: Vec::new(),
        reason: Some("move".to_owned()),
    }
}

fn one(name: &str) -> Scope {
    Scope::Services(vec![name.to_owned()])
}

fn nowhere() -> Publish {
    Arc::new(|_| ())
}

/// Keeps what was published.
fn recorder() -> (Publish, Arc<StdMutex<Vec<Arc<Modes>>>>) {
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    (Arc::new(move |it| into.lock().unwrap().push(it)), seen)
}

/// Fails while told to.
#[derive(Debug, Default)]
struct Failing {
    inner: MemoryStore,
    broken: std::sync::atomic::AtomicBool,
}

impl Store for Failing {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        self.inner.load()
    }

    fn save(&self, state: State) -> BoxFuture<'_, Result<(), StoreError>> {
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            let source = std::io::Error::from_raw_os_error(28);
            return Box::pin(async { Err(StoreError::Write { path: "x".into(), source }) });
        }
        self.inner.save(state)
    }
}

#[tokio::test]
async fn a_toggle_survives_the_process_and_says_who_and_why() {
    let dir = Folder::new();
    let (switch, warnings) = Switch::in_dir(dir.path()).await.unwrap();
    assert!(warnings.is_empty());
    let (publish, seen) = recorder();
    let done = switch.on(on(Scope::All, None), asker("ci"), publish).await.unwrap();
    assert!(done.changed && done.warning.is_none());
    assert_eq!(seen.lock().unwrap().as_slice(), [Arc::clone(&done.modes)]);
    drop(switch);

    let (switch, warnings) = Switch::in_dir(dir.path()).await.unwrap();
    assert!(warnings.is_empty());
    assert_eq!(switch.current(), done.modes);
    let entries = switch.audit(10).await.unwrap();
    assert_eq!(entries.len(), 1, "healing adds nothing that is there");
    assert_eq!(entries[0].by, "ci");
    assert_eq!(entries[0].reason.as_deref(), Some("move"));
    assert_eq!(entries[0].request_id.as_deref(), Some("r-ci"));
}

#[tokio::test]
async fn a_crash_between_state_and_audit_is_healed() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    switch.on(on(one("a"), None), asker("ci"), nowhere()).await.unwrap();
    std::fs::remove_file(dir.path().join("audit.jsonl")).unwrap();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let entries = switch.audit(10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].services, ["a"]);
}

#[tokio::test]
async fn a_store_that_fails_changes_nothing() {
    let store = Arc::new(Failing::default());
    let (switch, _) = Switch::open(Arc::clone(&store) as _, Audit::in_memory()).await.unwrap();
    store.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let (publish, seen) = recorder();
    let error = switch.on(on(Scope::All, None), asker("ci"), publish).await.unwrap_err();
    assert!(chain(&error).contains("No space left"), "{}", chain(&error));
    assert!(seen.lock().unwrap().is_empty());
    assert_eq!(*switch.current(), Modes::default());
    assert!(switch.audit(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_audit_that_fails_is_a_warning_and_the_toggle_stands() {
    let store = Arc::new(MemoryStore::default());
    let audit = Audit::in_dir(Path::new("/proc/nowhere"));
    let (switch, _) = Switch::open(store, audit).await.unwrap();
    let done = switch.on(on(Scope::All, None), asker("ci"), nowhere()).await.unwrap();
    assert!(done.warning.unwrap().contains("audit"));
    assert!(switch.current().all.is_some());
}

#[tokio::test]
async fn a_repeat_changes_nothing_but_is_entered() {
    let switch = Switch::in_memory();
    let first = switch.on(on(Scope::All, None), asker("a"), nowhere()).await.unwrap();
    let again = switch.on(on(Scope::All, None), asker("b"), nowhere()).await.unwrap();
    assert!(!again.changed);
    assert_eq!(again.modes, first.modes);
    let entries = switch.audit(9).await.unwrap();
    assert_eq!(entries.iter().map(|it| it.changed).collect::<Vec<_>>(), [false, true]);
    let off = switch.off((Scope::All, Vec::new()), asker("a"), nowhere()).await.unwrap();
    assert!(off.changed);
    assert!(!switch.off((Scope::All, Vec::new()), asker("a"), nowhere()).await.unwrap().changed);
}

#[tokio::test]
async fn an_expired_window_is_taken_away_once_and_entered() {
    let switch = Switch::in_memory();
    let end = UnixMs::now().0 + 60_000;
    switch.on(on(one("a"), Some(end)), asker("ci"), nowhere()).await.unwrap();
    switch.on(on(one("b"), None), asker("ci"), nowhere()).await.unwrap();
    assert_eq!(switch.next_expiry(), Some(UnixMs(end)));
    assert!(switch.expire_due(UnixMs(end - 1), nowhere()).await.unwrap().is_none());
    let (publish, seen) = recorder();
    let done = switch.expire_due(UnixMs(end), publish.clone()).await.unwrap().unwrap();
    assert_eq!(done.modes.services.len(), 1);
    assert!(switch.expire_due(UnixMs(end), publish).await.unwrap().is_none());
    assert_eq!(seen.lock().unwrap().len(), 1);
    let entry = switch.audit(1).await.unwrap().remove(0);
    assert_eq!(entry.action, Action::MaintenanceExpired);
    assert_eq!((entry.by.as_str(), entry.reason.as_deref()), ("headgate", Some("ttl")));
    assert_eq!(entry.services, ["a"]);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_stop_a_toggle() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let mut follow = switch.follow();
    {
        let toggle = switch.on(on(Scope::All, None), asker("ci"), nowhere());
        let mut toggle = std::pin::pin!(toggle);
        // One look starts it, then it is dropped.
        assert!(
            std::future::poll_fn(|it| std::task::Poll::Ready(toggle.as_mut().poll(it)))
                .await
                .is_pending()
        );
    }
    tokio::time::timeout(std::time::Duration::from_secs(20), follow.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(switch.current().all.is_some());
}

#[tokio::test]
async fn toggles_at_once_are_published_in_the_order_in_which_they_were_saved() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let (publish, seen) = recorder();
    let toggles: Vec<_> = (0..16)
        .map(|it| {
            let (switch, publish) = (Arc::clone(&switch), publish.clone());
            tokio::spawn(async move {
                let scope = one(&format!("s{it}"));
                switch.on(on(scope, None), asker("ci"), publish).await.unwrap();
            })
        })
        .collect();
    for it in toggles {
        it.await.unwrap();
    }
    let sizes: Vec<usize> = seen.lock().unwrap().iter().map(|it| it.services.len()).collect();
    assert_eq!(sizes, (1..=16).collect::<Vec<_>>());
    let (again, _) = Switch::in_dir(dir.path()).await.unwrap();
    assert_eq!(again.current(), switch.current());
}

#[tokio::test]
async fn a_refresh_takes_what_another_process_saved() {
    let dir = Folder::new();
    let (old, _) = Switch::in_dir(dir.path()).await.unwrap();
    let (new, _) = Switch::in_dir(dir.path()).await.unwrap();
    old.on(on(Scope::All, None), asker("ci"), nowhere()).await.unwrap();
    let (publish, seen) = recorder();
    new.refresh(&publish).await.unwrap();
    new.refresh(&publish).await.unwrap();
    assert_eq!(new.current(), old.current());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn two_processes_do_not_undo_each_other() {
    let dir = Folder::new();
    let (old, _) = Switch::in_dir(dir.path()).await.unwrap();
    let (new, _) = Switch::in_dir(dir.path()).await.unwrap();
    old.on(on(one("a"), None), asker("ci"), nowhere()).await.unwrap();
    let done = new.on(on(one("b"), None), asker("ci"), nowhere()).await.unwrap();
    assert_eq!(done.modes.services.len(), 2);
}

#[tokio::test]
async fn a_running_gate_does_not_lose_its_mode_with_its_file() {
    let dir = Folder::new();
    let path = dir.path().join("maintenance.json");
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let done = switch.on(on(Scope::All, None), asker("ci"), nowhere()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(switch.refresh(&nowhere()).await.unwrap(), None);
    std::fs::write(&path, b"{").unwrap();
    assert!(switch.refresh(&nowhere()).await.unwrap().unwrap().contains("broken"));
    assert_eq!(switch.current(), done.modes);
    assert_eq!(switch.refresh(&nowhere()).await.unwrap(), None);
    let (again, warnings) = Switch::in_dir(dir.path()).await.unwrap();
    assert!(warnings.is_empty());
    assert_eq!(again.current(), done.modes);
}

#[tokio::test]
async fn an_ending_survives_the_process_and_is_entered_as_an_off_alone() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let follows = vec![String::from("f")];
    let wish = On { follows: follows.clone(), ..on(Scope::All, None) };
    switch.on(wish, asker("ci"), nowhere()).await.unwrap();
    let off = switch.off((Scope::All, follows.clone()), asker("ci"), nowhere()).await.unwrap();
    assert!(off.changed);
    drop(switch);

    let (switch, warnings) = Switch::in_dir(dir.path()).await.unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(switch.current(), off.modes);
    assert_eq!(off.modes.all_ending(UnixMs::now()), follows);
    let (publish, seen) = recorder();
    assert!(switch.release(follows.clone(), publish.clone()).await.unwrap().unwrap().changed);
    assert!(switch.release(follows, publish).await.unwrap().is_none());
    assert_eq!(**seen.lock().unwrap().last().unwrap(), Modes::default());
    let actions: Vec<_> = switch.audit(9).await.unwrap().iter().map(|it| it.action).collect();
    assert_eq!(actions, [Action::MaintenanceOff, Action::MaintenanceOn]);
}

#[tokio::test]
async fn an_ending_that_nobody_released_is_over_after_a_minute() {
    let switch = Switch::in_memory();
    let follows = vec![String::from("f")];
    switch.on(on(Scope::All, None), asker("ci"), nowhere()).await.unwrap();
    switch.off((Scope::All, follows), asker("ci"), nowhere()).await.unwrap();
    let end = switch.next_expiry().unwrap();
    assert!(switch.expire_due(UnixMs(end.0 - 1), nowhere()).await.unwrap().is_none());
    let over = switch.expire_due(end, nowhere()).await.unwrap().unwrap();
    assert_eq!(*over.modes, Modes::default());
    assert_eq!(switch.audit(9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_window_until_healthy_survives_the_process_and_its_end_is_entered() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let wish = On { until_healthy: true, ..on(one("a"), None) };
    switch.on(wish, asker("ci"), nowhere()).await.unwrap();
    drop(switch);

    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let (_, window) = switch.current().services[0].clone();
    assert!(window.until_healthy);
    let early = UnixMs(window.since.0 - 1);
    assert!(switch.recovered(one("a"), early, nowhere()).await.unwrap().is_none());
    let done = switch.recovered(one("a"), window.since, nowhere()).await.unwrap().unwrap();
    assert_eq!(*done.modes, Modes::default());
    let entry = switch.audit(1).await.unwrap().remove(0);
    assert_eq!(entry.action, Action::MaintenanceExpired);
    assert_eq!((entry.by.as_str(), entry.reason.as_deref()), ("headgate", Some("healthy")));
    assert_eq!(entry.services, ["a"]);
}
