//! The plugins of the process as builds see them: a proof that takes long goes on beside the build.
//!
//! Compiling a large component takes seconds. A reload that revokes a key must not wait for that, so a build that finds
//! the proof late goes on with what acts, and the end of the proof asks for another build.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::generation::Generation;
use crate::generation::plugins::wanted;
use crate::plugin::Refusal;
use crate::plugin::registry::{Note, PluginSet, Plugins, Proven, Wanted, native};

/// How long a reload waits for a proof: well under the reload's own patience.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long the start waits for the proof of filters; their fail mode acts until it ends.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Guests run on the thread too, with a stack of their own of half a MiB (`plugin::limits`).
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Gives builds what acts.
#[derive(Clone)]
pub struct Proofs {
    plugins: Arc<Plugins>,
    /// Whether a proof goes on.
    busy: Arc<AtomicBool>,
    /// A proof has ended for which nobody waits any more.
    ended: Arc<Notify>,
    patience: Duration,
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").field("busy", &self.busy).finish_non_exhaustive()
    }
}

type Resolve = fn(&Plugins, &Wanted) -> Proven;

impl Proofs {
    /// Over these plugins.
    pub fn new(plugins: Arc<Plugins>) -> Self {
        let (busy, ended) = (Arc::default(), Arc::default());
        Self { plugins, busy, ended, patience: RELOAD_PATIENCE }
    }

    /// For the handlers of the admin API.
    pub fn plugins(&self) -> Arc<Plugins> {
        Arc::clone(&self.plugins)
    }

    /// The first set of the process. Blocks.
    pub fn first(&self, wanted: &Wanted) -> Proven {
        self.prove(Plugins::resolve_at_start, wanted, START_PATIENCE).unwrap_or_else(|| {
            let Proven { set, mut notes } = native(wanted);
            notes.push(note(
                "plugins are still being proven; native code and fail modes act",
                false,
            ));
            Proven { set, notes }
        })
    }

    /// The set after that of `live`. Blocks, but not for longer than its patience: then what acts goes on to act, if
    /// the config asks nothing else of plugins than before.
    pub fn next(&self, asked: &Wanted, live: &Generation) -> Proven {
        if let Some(proven) = self.prove(Plugins::resolve, asked, self.patience) {
            return proven;
        }
        let same = *asked == wanted(&live.config);
        let message = match same {
            true => "plugins are still being proven; what acted goes on",
            false => "plugins are still being proven; the config is tried again when they are",
        };
        Proven { set: again(&live.plugins), notes: vec![note(message, !same)] }
    }

    /// `None`: the proof takes longer than this, and goes on.
    fn prove(&self, resolve: Resolve, wanted: &Wanted, patience: Duration) -> Option<Proven> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        let over = Over(Arc::clone(&self.busy));
        let (plugins, asked) = (Arc::clone(&self.plugins), wanted.clone());
        let ended = Arc::clone(&self.ended);
        // Without a buffer: what is sent is taken, or the sender knows that nobody takes it.
        let (tell, told) = sync_channel(0);
        let thread = std::thread::Builder::new().name("plugin-proof".to_owned());
        let started = thread.stack_size(STACK_BYTES).spawn(move || {
            let proven = resolve(&plugins, &asked);
            drop(over);
            if tell.send(proven).is_err() {
                ended.notify_one();
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread to prove plugins on");
            return None;
        }
        let proven = told.recv_timeout(patience);
        if let Err(error) = &proven {
            tracing::warn!(%error, ?patience, "plugins are not proven yet");
        }
        proven.ok()
    }

    /// Tells the registry that the set of this generation acts. Off the runtime, because it writes files.
    pub async fn published(&self, generation: Arc<Generation>) {
        let plugins = Arc::clone(&self.plugins);
        let told = tokio::task::spawn_blocking(move || plugins.published(&generation.plugins));
        if let Err(error) = told.await {
            tracing::error!(%error, "the registry of plugins was not told what acts");
        }
    }

    /// Asks for another generation whenever a plugin wants one.
    pub async fn ask(self, tell: mpsc::Sender<()>) {
        loop {
            tokio::select! {
                () = self.plugins.changed() => {}
                () = self.ended.notified() => {}
            }
            if tell.send(()).await.is_err() {
                return;
            }
        }
    }
}

/// Says that the proof is over, also when it panics.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn note(message: &str, fatal: bool) -> Note {
    let refusal = Refusal::new("verifying", message);
    Note { at: "plugins".to_owned(), refusal, fatal }
}

/// What acts, once more.
fn again(set: &PluginSet) -> PluginSet {
    PluginSet {
        policies: set.policies.clone(),
        formatter: Arc::clone(&set.formatter),
        filters: set.filters.clone(),
        hash: set.hash,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use tokio::time::timeout;

    use super::*;
    use crate::config;
    use crate::generation::build::{Sources, build};
    use crate::telemetry::metrics::Metrics;

    const TEXT: &str = "\
services: { a: { upstreams: http://a } }
routes: [{ path: /, service: a, access: public, filters: require-header }]
";

    fn live(text: &str) -> Generation {
        let metrics = Metrics::new(1);
        let sources = Sources {
            read: &config::secret::read,
            endpoints: &|_| Arc::default(),
            metrics: &metrics,
            plugins: &native,
            now: crate::model::UnixMs::now(),
            file: "gate.yaml",
        };
        let config = config::parse(text, Path::new("gate.yaml")).unwrap().config;
        build(config, b"", None, &sources).unwrap().generation
    }

    fn proofs() -> Proofs {
        let plugins = Plugins::open(None, Metrics::new(1));
        Proofs { patience: Duration::from_millis(20), ..Proofs::new(plugins) }
    }

    static GO: Mutex<Option<Receiver<()>>> = Mutex::new(None);

    fn slow(_: &Plugins, asked: &Wanted) -> Proven {
        let go = GO.lock().unwrap().take().unwrap();
        go.recv().unwrap();
        native(asked)
    }

    /// One proof for all of it: its receiver is a global, as the prover is a plain function.
    #[tokio::test]
    async fn a_late_proof_keeps_what_acts_and_asks_again_when_it_ends() {
        let (go, wait) = channel();
        *GO.lock().unwrap() = Some(wait);
        let (proofs, live) = (proofs(), live(TEXT));
        let asked = wanted(&live.config);
        assert!(proofs.prove(slow, &asked, Duration::from_millis(20)).is_none());

        let same = proofs.next(&asked, &live);
        assert!(Arc::ptr_eq(&same.set.formatter, &live.plugins.formatter));
        assert_eq!((same.set.hash, same.notes[0].fatal), (live.plugins.hash, false));
        let other = wanted(&self::live(&TEXT.replace(", filters: require-header", "")).config);
        assert!(proofs.next(&other, &live).notes[0].fatal);

        go.send(()).unwrap();
        let (tell, mut told) = mpsc::channel(1);
        let asking = tokio::spawn(proofs.clone().ask(tell));
        timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
        asking.abort();
        let quick: Resolve = |_, asked| native(asked);
        assert!(proofs.prove(quick, &asked, Duration::from_secs(10)).is_some());
    }

    #[test]
    fn a_proof_that_panics_is_over() {
        let proofs = proofs();
        let broken = |_: &Plugins, _: &Wanted| -> Proven { panic!("a bug in the proof") };
        assert!(proofs.prove(broken, &Wanted::default(), Duration::from_secs(10)).is_none());
        assert!(!proofs.busy.load(Ordering::Acquire));
    }
}
