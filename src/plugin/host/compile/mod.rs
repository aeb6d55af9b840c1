//! Turns components into machine code: from the cache, else in a child process with limits.

mod child;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Engine;

use crate::plugin::host::Host;
use crate::plugin::host::cache::{Artifact, Cache};
pub use crate::plugin::host::compile::child::{COMMAND, Refused, compile_piped};
use crate::plugin::{Digest, Refusal};

/// Bytes of compiled code that are taken: Python's engine has about 100 MiB.
pub(super) const ARTIFACT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a compilation waits for others before it.
const TURN: Duration = Duration::from_secs(300);

/// Where components are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In a child of this program with limits on CPU time and memory: the compiler's worst cases stay out of the gate.
    Child,
    /// In this process, without limits: tests, tools, and the child itself.
    InProcess,
}

/// Whether this program knows the command that compiles; programs that only link the library do not.
static COMPILES: AtomicBool = AtomicBool::new(false);

impl Way {
    /// Told by the command line before anything is compiled: this program answers to [`COMMAND`].
    pub fn this_program_compiles() {
        COMPILES.store(true, Ordering::Relaxed);
    }

    /// A child where this program can be one.
    pub fn of_this_program() -> Self {
        if COMPILES.load(Ordering::Relaxed) { Self::Child } else { Self::InProcess }
    }
}

/// Compiles in a child process with limits and keeps results on disk, so that a warm start compiles nothing. Clones share
/// cache and limits.
#[derive(Clone, Debug)]
pub struct Compiler {
    host: Host,
    way: Way,
    cache: Option<Arc<Cache>>,
    turns: Arc<Turns>,
}

/// How an artifact was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Cache,
    Compiled { took: Duration },
}

impl Compiler {
    /// With a cache below this folder (made with mode 0700 when missing); `None`: without a cache. A folder that cannot be
    /// used only means that nothing is kept, which the log says.
    pub fn new(host: Host, cache: Option<&Path>) -> Self {
        Self::by(Way::of_this_program(), host, cache)
    }

    /// The same with the way chosen.
    pub fn by(way: Way, host: Host, cache: Option<&Path>) -> Self {
        let cache = cache.and_then(|dir| match Cache::open(dir, compatibility(host.engine())) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!(%error, "compiled plugins are not kept; each start compiles them again");
                None
            }
        });
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            host,
            way,
            cache,
            turns: Arc::new(Turns { free: Mutex::new(cores), given: Condvar::new() }),
        }
    }

    /// Blocks for as long as compiling takes (bounded); off the runtimes.
    ///
    /// # Errors
    /// What the compiler does not accept, or the child's limit that was hit.
    pub fn artifact(&self, wasm: &[u8], digest: Digest) -> Result<(Artifact, From), Refusal> {
        if let Some(kept) = self.kept(digest) {
            return Ok((kept, From::Cache));
        }
        let _turn = self.turns.wait()?;
        // Another one may have compiled the same meanwhile.
        if let Some(kept) = self.kept(digest) {
            return Ok((kept, From::Cache));
        }
        let begun = Instant::now();
        let artifact = match self.way {
            Way::Child => child::compile(wasm)?,
            Way::InProcess => compile_here(self.host.engine(), wasm)?,
        };
        let took = begun.elapsed();
        if let Some(cache) = &self.cache {
            cache.put(digest, &artifact);
        }
        Ok((artifact, From::Compiled { took }))
    }

    /// The code of these bytes, when it need not be compiled.
    pub fn kept(&self, digest: Digest) -> Option<Artifact> {
        self.cache.as_ref().and_then(|it| it.get(digest, self.host.engine()))
    }
}

/// Compiles in this process; what [`Host::compile`] does.
///
/// # Errors
/// What the compiler does not accept.
pub(super) fn compile_here(engine: &Engine, wasm: &[u8]) -> Result<Artifact, Refusal> {
    match engine.precompile_component(wasm) {
        Ok(bytes) => Ok(Artifact::of_our_compiler(bytes)),
        Err(error) => {
            Err(Refusal::new("compile", format!("the compiler does not take it: {error:#}")))
        }
    }
}

/// What decides whether code fits an engine: version, target, processor, settings.
fn compatibility(engine: &Engine) -> String {
    use std::hash::{Hash as _, Hasher as _};
    // Unkeyed, so that it is the same in every process.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// As many compilations at once as there are cores.
#[derive(Debug)]
struct Turns {
    free: Mutex<usize>,
    given: Condvar,
}

struct Turn<'a>(&'a Turns);

impl Turns {
    fn wait(&self) -> Result<Turn<'_>, Refusal> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given.wait_timeout_while(free, TURN, |it| *it == 0);
        let (mut free, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            let what = format!("no core was free to compile it within {} s", TURN.as_secs());
            return Err(Refusal::new("compile", what));
        }
        *free = free.saturating_sub(1);
        Ok(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given.notify_one();
    }
}

#[cfg(test)]
mod tests;
