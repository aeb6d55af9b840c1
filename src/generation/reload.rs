//! One task re-reads everything when asked, and publishes the result or keeps what is live.
//!
//! All or nothing: a generation goes live as a whole or not at all, and nothing else makes generations.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{AdminListen, Config};
use crate::generation::Generation;
use crate::generation::live::Acknowledged;
use crate::model::UnixMs;
use crate::telemetry::metrics::Metrics;

/// How long reading and building may take (a network file system can hang).
const BUILD_PATIENCE: Duration = Duration::from_secs(30);

/// Requests that may wait for the task.
const REQUESTS_MAX: usize = 64;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The config or a secret changed on disk.
    Watch,
    /// SIGHUP.
    Signal,
    /// The admin API.
    Api,
    /// A plugin is to be replaced, or its proof has ended.
    Plugin,
}

impl Trigger {
    /// As logs and answers name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Signal => "signal",
            Self::Api => "api",
            Self::Plugin => "plugin",
        }
    }
}

/// What a reload led to. Findings are JSON, as `check -o json` prints them.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A new generation is live.
    Published { number: u64, hash: String, warnings: Vec<Value>, acknowledged: Acknowledged },
    /// Nothing differs; the old generation stays.
    Unchanged { number: u64, hash: String, warnings: Vec<Value> },
    /// Everything that is wrong; the old generation stays.
    Refused(Vec<Value>),
}

/// How the live generation came to be, and what came of the last attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Since when the live generation is live.
    pub since: UnixMs,
    /// Warnings of the live generation.
    pub warnings: Vec<Value>,
    pub last: Option<Attempt>,
}

/// The last attempt to make a generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub at: UnixMs,
    pub trigger: Trigger,
    /// Empty: it went well.
    pub refused: Vec<Value>,
}

/// What cannot change while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub data: Vec<SocketAddr>,
    pub ops: Option<SocketAddr>,
    pub admin: Option<AdminListen>,
    pub state_dir: PathBuf,
    pub cores: Option<NonZeroUsize>,
}

impl Fixed {
    /// The fixed part of a config.
    pub fn of(config: &Config) -> Self {
        Self {
            data: config.listeners.data.clone(),
            ops: config.listeners.ops,
            admin: config.listeners.admin.clone(),
            state_dir: config.state_dir.clone(),
            cores: config.cores,
        }
    }

    /// A finding for everything that `next` would change.
    pub fn restart_needed(&self, next: &Self) -> Vec<Value> {
        let differs = [
            ("listeners.data", self.data != next.data),
            ("listeners.ops", self.ops != next.ops),
            ("listeners.admin", self.admin != next.admin),
            ("state", self.state_dir != next.state_dir),
            ("cores", self.cores != next.cores),
        ];
        let changed = differs.into_iter().filter(|it| it.1);
        changed
            .map(|(path, _)| {
                let message = format!("{path} cannot change while the gate runs; restart needed");
                finding(path, &message, "the value that the gate was started with")
            })
            .collect()
    }
}

/// A finding of the task's own, about no line of the text.
fn finding(path: &str, message: &str, expected: &str) -> Value {
    json!({
        "severity": "error",
        "file": "",
        "line": 0,
        "column": 0,
        "message": message,
        "expected": expected,
        "nearest": null,
        "snippet": "",
        "path": path,
    })
}

/// What is live, as far as the task must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: u64,
    pub hash: String,
    pub fixed: Fixed,
}

/// A generation that could go live.
#[derive(Debug)]
pub struct Candidate<N> {
    pub version: Version,
    pub warnings: Vec<Value>,
    pub next: N,
}

/// What the task reads from and publishes to.
pub trait Site: Send + Sync + 'static {
    /// A built generation.
    type Next: Send + 'static;

    /// What is live now.
    fn live(&self) -> Version;

    /// Re-reads the config and all secrets, and builds. May block.
    ///
    /// # Errors
    /// Everything that is wrong.
    fn build(&self) -> Result<Candidate<Self::Next>, Vec<Value>>;

    /// Makes `next` live and waits until the cores have seen it.
    fn publish(&self, next: Self::Next) -> impl Future<Output = Acknowledged> + Send;
}

/// A generation as the task sees it.
pub fn version(generation: &Generation) -> Version {
    let fixed = Fixed::of(&generation.config);
    Version { number: generation.number, hash: generation.hash.clone(), fixed }
}

/// A reload that somebody waits for.
#[derive(Debug)]
pub struct Request {
    pub reply: oneshot::Sender<Outcome>,
}

/// Those who ask for a reload and wait for no answer.
#[derive(Debug)]
pub struct Asking {
    /// A file has changed.
    pub changed: mpsc::Receiver<()>,
    /// SIGHUP.
    pub hang_up: mpsc::Receiver<()>,
    /// A plugin wants another generation.
    pub plugins: mpsc::Receiver<()>,
}

impl Asking {
    /// Takes what has been asked so far.
    fn drain(&mut self) {
        for it in [&mut self.changed, &mut self.hang_up, &mut self.plugins] {
            while it.try_recv().is_ok() {}
        }
    }
}

/// Asks the task, and reads its status.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
}

impl Handle {
    /// Reloads now; `None` when the task did not answer within `patience` (it may still publish).
    pub async fn reload(&self, patience: Duration) -> Option<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.requests.try_send(Request { reply }).ok()?;
        timeout(patience, outcome).await.ok()?.ok()
    }

    /// What came of the last attempt.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

/// The task; [`Reloader::run`] is its loop.
#[derive(Debug)]
pub struct Reloader<S> {
    site: Arc<S>,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    /// A build that did not end in time; no second one is started beside it.
    stuck: Option<JoinHandle<()>>,
    build_patience: Duration,
}

impl<S: Site> Reloader<S> {
    /// The task and its handle. `warnings` are those of the generation that is live.
    pub fn new(site: S, warnings: Vec<Value>, metrics: Arc<Metrics>) -> (Self, Handle) {
        let (send, requests) = mpsc::channel(REQUESTS_MAX);
        let status = Status { since: UnixMs::now(), warnings, last: None };
        let (status, seen) = watch::channel(status);
        let site = Arc::new(site);
        let handle = Handle { requests: send, status: seen };
        let build_patience = BUILD_PATIENCE;
        (Self { site, requests, status, metrics, stuck: None, build_patience }, handle)
    }

    /// Reloads whenever one of them asks; what is asked while a reload runs leads to one more reload together.
    /// Ends when nobody can ask any more.
    pub async fn run(mut self, mut asking: Asking) {
        loop {
            let mut waiting = Vec::new();
            let trigger = tokio::select! {
                Some(request) = self.requests.recv() => {
                    waiting.push(request);
                    Trigger::Api
                }
                Some(()) = asking.hang_up.recv() => Trigger::Signal,
                Some(()) = asking.changed.recv() => Trigger::Watch,
                Some(()) = asking.plugins.recv() => Trigger::Plugin,
                else => return,
            };
            asking.drain();
            while let Ok(request) = self.requests.try_recv() {
                waiting.push(request);
            }
            let outcome = self.reload(trigger).await;
            for request in waiting {
                // Whoever asked may have gone; the outcome stands in the status.
                let _ = request.reply.send(outcome.clone());
            }
        }
    }

    async fn reload(&mut self, trigger: Trigger) -> Outcome {
        let live = self.site.live();
        let outcome = match self.build(&live).await {
            Err(findings) => Outcome::Refused(findings),
            Ok(Candidate { version, warnings, next }) if version.hash != live.hash => {
                let acknowledged = self.site.publish(next).await;
                let Version { number, hash, .. } = version;
                Outcome::Published { number, hash, warnings, acknowledged }
            }
            Ok(Candidate { warnings, .. }) => {
                let Version { number, hash, .. } = live.clone();
                Outcome::Unchanged { number, hash, warnings }
            }
        };
        self.note(trigger, &live, &outcome);
        outcome
    }

    /// Builds off the runtime's thread, with a deadline; refuses what needs a restart.
    async fn build(&mut self, live: &Version) -> Result<Candidate<S::Next>, Vec<Value>> {
        if self.stuck.as_ref().is_some_and(|it| !it.is_finished()) {
            return Err(vec![finding("", "an earlier reload still waits for a file", "")]);
        }
        let site = Arc::clone(&self.site);
        let (done, built) = oneshot::channel();
        let builder = tokio::task::spawn_blocking(move || {
            let _ = done.send(site.build());
        });
        let candidate = match timeout(self.build_patience, built).await {
            Ok(Ok(candidate)) => candidate?,
            Ok(Err(_)) => return Err(vec![finding("", "the build broke off; see the log", "")]),
            Err(_) => {
                self.stuck = Some(builder);
                let text = format!("reading took longer than {:?}", self.build_patience);
                return Err(vec![finding("", &text, "files that can be read at once")]);
            }
        };
        let findings = live.fixed.restart_needed(&candidate.version.fixed);
        if findings.is_empty() { Ok(candidate) } else { Err(findings) }
    }

    /// The outcome goes to metrics, status and one log line.
    fn note(&self, trigger: Trigger, live: &Version, outcome: &Outcome) {
        let (at, word) = (UnixMs::now(), trigger.word());
        let attempt = |refused: &[Value]| Some(Attempt { at, trigger, refused: refused.to_vec() });
        match outcome {
            Outcome::Published { number, hash, warnings, acknowledged } => {
                self.metrics.reload_published(at);
                let (warned, laggards) = (warnings.len(), acknowledged.laggards.len());
                tracing::info!(generation = number, %hash, trigger = word, warnings = warned, laggards, "config published");
                let warnings = warnings.clone();
                self.status.send_replace(Status { since: at, warnings, last: attempt(&[]) });
            }
            Outcome::Unchanged { number, hash, warnings } => {
                self.metrics.reload_unchanged(at);
                tracing::info!(generation = number, %hash, trigger = word, "config unchanged");
                // A candidate of a plugin that was not let in changes nothing but is to be seen.
                let warnings = warnings.clone();
                self.status.send_modify(|it| {
                    (it.warnings, it.last) = (warnings, attempt(&[]));
                });
            }
            Outcome::Refused(findings) => {
                self.metrics.reload_refused();
                let errors: Vec<&Value> = findings.iter().filter(|it| is_error(it)).collect();
                let first = errors.first().map(|it| describe(it)).unwrap_or_default();
                let (number, count) = (live.number, errors.len());
                tracing::warn!(
                    generation = number,
                    trigger = word,
                    errors = count,
                    first,
                    "config refused, the last good one stays"
                );
                self.status.send_modify(|it| it.last = attempt(findings));
            }
        }
    }
}

/// Whether a finding is more than a warning.
pub fn is_error(finding: &Value) -> bool {
    finding["severity"] != "warning"
}

/// `file:line:column: message`, as far as the finding says where.
fn describe(finding: &Value) -> String {
    let message = finding["message"].as_str().unwrap_or_default();
    match (finding["file"].as_str(), finding["line"].as_u64(), finding["column"].as_u64()) {
        (Some(file), Some(line @ 1..), Some(column @ 1..)) => {
            format!("{file}:{line}:{column}: {message}")
        }
        (Some(file), Some(line @ 1..), _) => format!("{file}:{line}: {message}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Its text is the config: `broken` is refused, `panic` panics, `hang` waits, `port` wants a restart, the rest is its own hash.
    #[derive(Clone)]
    struct Desk(Arc<State>);

    struct State {
        text: Mutex<String>,
        live: Mutex<(u64, String)>,
        built: Mutex<Vec<String>>,
        published: Mutex<Vec<String>>,
        hang: Mutex<std::sync::mpsc::Receiver<()>>,
    }

    fn fixed(port: u16) -> Fixed {
        Fixed {
            data: vec![SocketAddr::from(([127, 0, 0, 1], port))],
            ops: None,
            admin: None,
            state_dir: PathBuf::from("state"),
            cores: None,
        }
    }

    impl Site for Desk {
        type Next = String;

        fn live(&self) -> Version {
            let (number, hash) = self.0.live.lock().unwrap().clone();
            Version { number, hash, fixed: fixed(8080) }
        }

        fn build(&self) -> Result<Candidate<String>, Vec<Value>> {
            let text = self.0.text.lock().unwrap().clone();
            self.0.built.lock().unwrap().push(text.clone());
            match text.as_str() {
                "broken" => {
                    return Err(vec![
                        json!({"file": "a.yaml", "line": 3, "column": 1, "message": "no"}),
                    ]);
                }
                "panic" => panic!("a bug in the build"),
                "hang" => drop(self.0.hang.lock().unwrap().recv()),
                _ => {}
            }
            let number = self.live().number + 1;
            let fixed = fixed(if text == "port" { 9090 } else { 8080 });
            let version = Version { number, hash: text.clone(), fixed };
            Ok(Candidate { version, warnings: vec![json!({"message": "w"})], next: text })
        }

        async fn publish(&self, next: String) -> Acknowledged {
            let mut live = self.0.live.lock().unwrap();
            *live = (live.0 + 1, next.clone());
            self.0.published.lock().unwrap().push(next);
            Acknowledged { cores: 2, laggards: Vec::new() }
        }
    }

    struct Bench {
        desk: Desk,
        handle: Handle,
        changed: mpsc::Sender<()>,
        hang_up: mpsc::Sender<()>,
        plugins: mpsc::Sender<()>,
        unhang: std::sync::mpsc::Sender<()>,
        metrics: Arc<Metrics>,
        task: JoinHandle<()>,
    }

    fn bench(build_patience: Duration) -> Bench {
        let (unhang, hang) = std::sync::mpsc::channel();
        let desk = Desk(Arc::new(State {
            text: Mutex::new("one".to_owned()),
            live: Mutex::new((1, "one".to_owned())),
            built: Mutex::default(),
            published: Mutex::default(),
            hang: Mutex::new(hang),
        }));
        let metrics = Metrics::new(1);
        let (mut reloader, handle) = Reloader::new(desk.clone(), Vec::new(), Arc::clone(&metrics));
        reloader.build_patience = build_patience;
        let (changed, ticks) = mpsc::channel(1);
        let (hang_up, hups) = mpsc::channel(1);
        let (plugins, wishes) = mpsc::channel(1);
        let asking = Asking { changed: ticks, hang_up: hups, plugins: wishes };
        let task = tokio::spawn(reloader.run(asking));
        Bench { desk, handle, changed, hang_up, plugins, unhang, metrics, task }
    }

    impl Bench {
        fn write(&self, text: &str) {
            *self.desk.0.text.lock().unwrap() = text.to_owned();
        }

        async fn reload(&self) -> Outcome {
            self.handle.reload(Duration::from_secs(10)).await.unwrap()
        }

        fn published(&self) -> Vec<String> {
            self.desk.0.published.lock().unwrap().clone()
        }

        /// Waits until an attempt by this trigger is in the status.
        async fn attempted(&self, trigger: Trigger) -> Status {
            let mut status = self.handle.status.clone();
            let by = |it: &Status| it.last.as_ref().is_some_and(|it| it.trigger == trigger);
            timeout(Duration::from_secs(10), status.wait_for(by)).await.unwrap().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn a_broken_config_in_between_keeps_the_last_good_one() {
        let bench = bench(BUILD_PATIENCE);
        for (text, number, word) in [
            ("one", 1, "unchanged"),
            ("two", 2, "published"),
            ("broken", 2, "refused"),
            ("two", 2, "unchanged"),
            ("three", 3, "published"),
        ] {
            bench.write(text);
            let seen = match bench.reload().await {
                Outcome::Published { number, .. } => (number, "published"),
                Outcome::Unchanged { number, .. } => (number, "unchanged"),
                Outcome::Refused(_) => (bench.desk.live().number, "refused"),
            };
            assert_eq!(seen, (number, word), "{text}");
            let ok = u8::from(word != "refused");
            let line = format!("headgate_config_last_reload_successful {ok}\n");
            assert!(bench.metrics.render().contains(&line), "{text}");
        }
        assert_eq!(bench.published(), ["two", "three"]);
        let status = bench.handle.status();
        assert_eq!(status.warnings.len(), 1);
        assert_eq!(status.last.unwrap().refused, Vec::<Value>::new());
    }

    #[tokio::test]
    async fn what_was_refused_stays_visible_until_the_next_attempt() {
        let bench = bench(BUILD_PATIENCE);
        bench.write("broken");
        bench.changed.send(()).await.unwrap();
        let status = bench.attempted(Trigger::Watch).await;
        assert_eq!(status.last.unwrap().refused[0]["line"], 3);
        bench.write("two");
        bench.hang_up.send(()).await.unwrap();
        let status = bench.attempted(Trigger::Signal).await;
        assert!(status.last.unwrap().refused.is_empty());
        assert_eq!(bench.published(), ["two"]);
        bench.write("three");
        bench.plugins.send(()).await.unwrap();
        bench.attempted(Trigger::Plugin).await;
        assert_eq!(bench.published(), ["two", "three"]);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_share_few_builds_and_all_get_an_answer() {
        let bench = bench(BUILD_PATIENCE);
        bench.write("two");
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let handle = bench.handle.clone();
            asked.spawn(async move { handle.reload(Duration::from_secs(10)).await });
        }
        for outcome in asked.join_all().await {
            assert!(matches!(outcome, Some(Outcome::Published { .. } | Outcome::Unchanged { .. })));
        }
        assert_eq!(bench.published(), ["two"]);
        assert!(bench.desk.0.built.lock().unwrap().len() <= 3);
    }

    #[tokio::test]
    async fn the_last_of_many_rapid_changes_wins() {
        let bench = bench(BUILD_PATIENCE);
        for it in 0..100 {
            bench.write(if it == 50 { "broken" } else { "draft" });
            let _ = bench.changed.try_send(());
            tokio::task::yield_now().await;
        }
        bench.write("last");
        bench.changed.send(()).await.unwrap();
        bench.reload().await;
        assert_eq!(bench.published().last().map(String::as_str), Some("last"));
        assert_eq!(
            *bench.desk.0.live.lock().unwrap(),
            (bench.published().len() as u64 + 1, "last".to_owned())
        );
    }

    #[tokio::test]
    async fn a_change_that_needs_a_restart_is_refused() {
        let bench = bench(BUILD_PATIENCE);
        bench.write("port");
        let Outcome::Refused(findings) = bench.reload().await else { panic!("published") };
        assert_eq!(findings[0]["path"], "listeners.data");
        assert!(findings[0]["message"].as_str().unwrap().ends_with("restart needed"));
        assert!(bench.published().is_empty());
    }

    #[test]
    fn everything_fixed_is_compared() {
        let base = fixed(1);
        let others = [
            Fixed { data: Vec::new(), ..base.clone() },
            Fixed { ops: base.data.first().copied(), ..base.clone() },
            Fixed { admin: Some(AdminListen::Unix(PathBuf::from("a"))), ..base.clone() },
            Fixed { state_dir: PathBuf::from("b"), ..base.clone() },
            Fixed { cores: NonZeroUsize::new(3), ..base.clone() },
        ];
        assert_eq!(base.restart_needed(&base), Vec::<Value>::new());
        let paths: Vec<Value> = others
            .iter()
            .flat_map(|it| base.restart_needed(it))
            .map(|it| it["path"].clone())
            .collect();
        assert_eq!(paths, ["listeners.data", "listeners.ops", "listeners.admin", "state", "cores"]);
    }

    #[tokio::test]
    async fn a_build_that_panics_or_hangs_is_refused_and_the_next_works() {
        let bench = bench(Duration::from_millis(50));
        bench.write("panic");
        assert!(matches!(bench.reload().await, Outcome::Refused(_)));
        bench.write("hang");
        assert!(matches!(bench.reload().await, Outcome::Refused(_)));
        bench.write("two");
        let Outcome::Refused(beside) = bench.reload().await else { panic!("two builds at once") };
        assert!(beside[0]["message"].as_str().unwrap().contains("earlier"));
        bench.unhang.send(()).unwrap();
        while !matches!(bench.reload().await, Outcome::Published { .. }) {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.published(), ["two"]);
    }

    #[tokio::test]
    async fn the_task_ends_when_nobody_can_ask() {
        let Bench { handle, changed, hang_up, plugins, task, .. } = bench(BUILD_PATIENCE);
        drop((handle, changed, hang_up, plugins));
        timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }
}
