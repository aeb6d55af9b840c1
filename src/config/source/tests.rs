//! Real files in a folder of their own: what changes gives a tick, what does not gives none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Pace, Status, Watch};

/// Events within milliseconds, no help from the poll.
const EVENTS: Pace = Pace { settle: Duration::from_millis(20), poll: Duration::from_secs(600) };
/// As above with a poll that does the work.
const POLL: Pace = Pace { settle: Duration::from_millis(5), poll: Duration::from_millis(20) };

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("headgate-source-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Replaces a file in one step: writing in place would show it empty for a moment.
    fn put(&self, below: &str, text: &str) {
        let beside = self.write("put.tmp", text);
        fs::rename(beside, self.path(below)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Rig {
    watch: Watch,
    ticks: mpsc::Receiver<()>,
}

impl Rig {
    async fn start(paths: &[&Path], pace: Pace) -> Self {
        let (changed, ticks) = mpsc::channel(1);
        let paths = paths.iter().map(|it| it.to_path_buf()).collect();
        Self { watch: Watch::start(paths, pace, changed).await, ticks }
    }

    async fn expect_tick(&mut self, why: &str) {
        let tick = timeout(Duration::from_secs(10), self.ticks.recv()).await;
        assert_eq!(tick, Ok(Some(())), "{why}");
    }

    /// Waits until the watch has looked again, then expects that it said nothing.
    async fn expect_silence(&mut self, from: u64, why: &str) {
        self.expect_status(why, |it| it.looks > from).await;
        assert!(self.ticks.try_recv().is_err(), "{why}");
    }

    async fn expect_status(&self, why: &str, wanted: impl FnMut(&Status) -> bool) {
        let mut status = self.watch.status();
        let seen = timeout(Duration::from_secs(10), status.wait_for(wanted)).await;
        assert!(matches!(seen, Ok(Ok(_))), "{why}");
    }

    fn looks(&self) -> u64 {
        self.watch.status().borrow().looks
    }
}

#[tokio::test]
async fn a_write_in_place_gives_a_tick() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "one");
    let mut rig = Rig::start(&[&file], EVENTS).await;
    fs::write(&file, "two").unwrap();
    rig.expect_tick("first").await;
    fs::write(&file, "three").unwrap();
    rig.expect_tick("second").await;
}

#[tokio::test]
async fn an_editor_that_renames_over_gives_a_tick_every_time() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "0");
    let mut rig = Rig::start(&[&file], EVENTS).await;
    for round in 1..=4 {
        let beside = folder.write(".a.yaml.swp", &round.to_string());
        fs::rename(&beside, &file).unwrap();
        rig.expect_tick(&format!("round {round}")).await;
    }
}

/// kubelet's AtomicWriter: a new folder `..N`, a symlink `..data_tmp` to it, renamed over `..data`.
fn publish(folder: &Folder, round: u32, text: &str) {
    folder.write(&format!("..{round}/a.yaml"), text);
    folder.write(&format!("..{round}/key"), "key");
    symlink(format!("..{round}"), folder.path("..data_tmp")).unwrap();
    fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
    if round > 1 {
        fs::remove_dir_all(folder.path(&format!("..{}", round - 1))).unwrap();
    }
}

#[tokio::test]
async fn a_kubernetes_mount_gives_a_tick_every_time() {
    let folder = Folder::new();
    publish(&folder, 1, "1");
    for name in ["a.yaml", "key"] {
        symlink(format!("..data/{name}"), folder.path(name)).unwrap();
    }
    let mut rig = Rig::start(&[&folder.path("a.yaml"), &folder.path("key")], EVENTS).await;
    for round in 2..=5 {
        publish(&folder, round, &round.to_string());
        rig.expect_tick(&format!("round {round}")).await;
    }
    let looks = rig.looks();
    publish(&folder, 6, "5");
    rig.expect_silence(looks, "same content in a new folder").await;
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_followed() {
    let folder = Folder::new();
    let target = folder.write("there/a.yaml", "one");
    fs::create_dir_all(folder.path("here")).unwrap();
    symlink(&target, folder.path("here/a.yaml")).unwrap();
    let mut rig = Rig::start(&[&folder.path("here/a.yaml")], EVENTS).await;
    fs::write(&target, "two").unwrap();
    rig.expect_tick("written through").await;
    let other = folder.write("other/a.yaml", "three");
    symlink(&other, folder.path("here/new")).unwrap();
    fs::rename(folder.path("here/new"), folder.path("here/a.yaml")).unwrap();
    rig.expect_tick("led elsewhere").await;
    fs::write(&other, "four").unwrap();
    rig.expect_tick("written in the new place").await;
}

#[tokio::test]
async fn what_does_not_change_content_gives_no_tick() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "one");
    let mut rig = Rig::start(&[&file], EVENTS).await;
    let looks = rig.looks();
    folder.put("a.yaml", "one");
    rig.expect_silence(looks, "same text").await;
    let looks = rig.looks();
    folder.write("beside.yaml", "two");
    rig.expect_silence(looks, "a neighbour").await;
    fs::write(&file, "two").unwrap();
    rig.expect_tick("the watch still works").await;
}

#[tokio::test]
async fn looking_does_not_call_for_looking() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "one");
    let mut rig = Rig::start(&[&file], EVENTS).await;
    for round in 0..3 {
        fs::write(&file, format!("text {round}")).unwrap();
        rig.expect_tick("changed").await;
    }
    let looks = rig.looks();
    // Reads by others are no reason to look either.
    for _ in 0..100 {
        fs::read(&file).unwrap();
    }
    let more = rig.expect_status("no look is due", |it| it.looks > looks + 3);
    assert!(timeout(Duration::from_millis(300), more).await.is_err());
}

#[tokio::test]
async fn a_file_that_is_gone_for_a_moment_did_not_change() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "one");
    let mut rig = Rig::start(&[&file], EVENTS).await;
    let looks = rig.looks();
    fs::remove_file(&file).unwrap();
    rig.expect_status("it has noticed", |it| it.looks > looks).await;
    let looks = rig.looks();
    folder.put("a.yaml", "one");
    rig.expect_silence(looks, "back as it was").await;
    let looks = rig.looks();
    fs::remove_file(&file).unwrap();
    rig.expect_status("it has noticed", |it| it.looks > looks).await;
    folder.put("a.yaml", "two");
    rig.expect_tick("back with another content").await;
}

#[tokio::test]
async fn a_file_that_stays_away_is_a_change_once() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "one");
    let mut rig = Rig::start(&[&file], POLL).await;
    fs::remove_file(&file).unwrap();
    rig.expect_tick("gone").await;
    let looks = rig.looks();
    rig.expect_silence(looks + 3, "still gone").await;
    fs::write(&file, "one").unwrap();
    rig.expect_tick("back").await;
}

#[tokio::test]
async fn without_a_folder_to_watch_the_poll_finds_the_file() {
    let folder = Folder::new();
    let file = folder.path("later/a.yaml");
    let mut rig = Rig::start(&[&file], POLL).await;
    rig.expect_status("it says so", |it| it.poll_only.is_some()).await;
    folder.write("later/a.yaml", "one");
    rig.expect_tick("found").await;
    rig.expect_status("events work again", |it| it.poll_only.is_none()).await;
}

#[tokio::test]
async fn a_folder_that_was_made_anew_is_watched_again() {
    let folder = Folder::new();
    let file = folder.write("sub/a.yaml", "one");
    let mut rig = Rig::start(&[&file], POLL).await;
    fs::remove_dir_all(folder.path("sub")).unwrap();
    rig.expect_tick("gone").await;
    folder.write("sub/a.yaml", "two");
    rig.expect_tick("back").await;
    fs::write(&file, "three").unwrap();
    rig.expect_tick("changed").await;
}

#[tokio::test]
async fn the_set_of_files_can_be_replaced() {
    let folder = Folder::new();
    let config = folder.write("a.yaml", "one");
    let old = folder.write("secrets/old", "old");
    let new = folder.write("other/new", "new");
    let mut rig = Rig::start(&[&config, &old], EVENTS).await;
    rig.watch.replace(vec![config.clone(), new.clone()]).await;
    assert!(rig.ticks.try_recv().is_err(), "replacing is no change");
    fs::write(&new, "newer").unwrap();
    rig.expect_tick("a new file").await;
    folder.put("a.yaml", "two");
    rig.expect_tick("a file that stayed").await;
    fs::write(&old, "older").unwrap();
    let looks = rig.looks();
    folder.put("a.yaml", "two");
    rig.expect_silence(looks, "a file that is not watched any more").await;
}

#[tokio::test]
async fn a_watch_that_nobody_listens_to_ends() {
    let folder = Folder::new();
    let file = folder.write("a.yaml", "one");
    let rig = Rig::start(&[&file], EVENTS).await;
    let mut status = rig.watch.status();
    drop(rig.ticks);
    let ended = async { while status.changed().await.is_ok() {} };
    timeout(Duration::from_secs(10), ended).await.unwrap();
    rig.watch.replace(vec![file]).await;
}
