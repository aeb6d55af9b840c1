//! Runs the gate in front of stand-ins of StockFlow, for people to try and for a check that walks by itself.

pub mod gate;
pub mod incident;
pub mod scene;
pub mod standins;
mod swap;
mod visitor;
pub mod walk;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("a stand-in cannot listen on loopback")]
    Listen(#[source] io::Error),
    #[error("the folder for the demo's config cannot be written")]
    Folder(#[source] io::Error),
    #[error("the gate cannot be started")]
    Spawn(#[source] io::Error),
    #[error("the gate ended while it started; its last words: {words}")]
    Ended { words: String },
    #[error("the gate was not ready within {within:?}; its last words: {words}")]
    NotReady { within: Duration, words: String },
    #[error("no random bytes for the demo's key")]
    Random(#[source] getrandom::Error),
    #[error("a request cannot be built")]
    Client(#[source] reqwest::Error),
}

/// Where real services are; `None` is a stand-in.
#[derive(Clone, Debug, Default)]
pub struct Real {
    pub signal_engine: Option<String>,
    pub market_intel: Option<String>,
    pub controller: Option<String>,
    pub kubesnap: Option<String>,
    pub event_dispatcher: Option<String>,
}

/// What a demo is started with.
#[derive(Debug)]
pub struct Options {
    /// Address of the gate; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    pub real: Real,
    /// The key that opens the admin API and Kubesnap; made anew when there is none.
    pub key: Option<SecretString>,
    /// Whether the gate's access log is shown on standard error.
    pub show_access_log: bool,
}

/// A running demo: stand-ins, and the gate in front of them. Ends with [`Demo::end`].
#[derive(Debug)]
pub struct Demo {
    pub standins: standins::Standins,
    pub gate: gate::ChildGate,
    pub key: SecretString,
    stop: watch::Sender<bool>,
}

impl Demo {
    /// Starts everything and waits until the gate is ready.
    ///
    /// # Errors
    /// A [`DemoError`] naming what could not be started; nothing is left behind then.
    pub async fn start(options: Options) -> Result<Self, DemoError> {
        let key = match options.key {
            Some(key) => key,
            None => new_key()?,
        };
        let (stop, stopped) = watch::channel(false);
        let standins = standins::start(&options.real, &key, &stopped).await?;
        let config = scene::config(options.listen, &standins);
        let gate = gate::ChildGate::start(&config, &key, options.show_access_log).await?;
        Ok(Self { standins, gate, key, stop })
    }

    /// Ends the gate in order, then the stand-ins, and removes the files.
    pub async fn end(self) {
        self.gate.end().await;
        let _ = self.stop.send(true);
    }
}

/// 128 random bits in hex; a key of the demo alone.
fn new_key() -> Result<SecretString, DemoError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(DemoError::Random)?;
    Ok(SecretString::from(format!("hg_demo_{}", crate::model::hex(&bytes))))
}
