//! Where generations come from: a file that is read again, or the flags of `run --to`.

use std::path::PathBuf;

use serde_json::Value;

use crate::app::plugins::Proofs;
use crate::config::findings::{self, Finding};
use crate::config::{Config, Origins, Parsed, parse, read, secret};
use crate::generation::Generation;
use crate::generation::build::{Sources, build};
use crate::model::UnixMs;
use crate::plugin::registry::Wanted;
use crate::telemetry::metrics::Metrics;
use crate::wire::balance::Endpoints;

/// Where the config comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A YAML file.
    File(PathBuf),
    /// No file at all: made from flags.
    Flags(Box<Config>),
}

/// A valid config on its way to a generation.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    warnings: Vec<Finding>,
    hash: Vec<u8>,
    origins: Origins,
    name: String,
}

/// A generation and what its operator should know.
pub type Candidate = Result<(Generation, Vec<Finding>), Vec<Finding>>;

impl Loaded {
    /// Reads the secrets, proves plugins and builds the generation after `previous`. Blocks on files and proofs.
    ///
    /// # Errors
    /// Everything that is wrong with the secrets and, but for the first generation, with plugins.
    pub fn build(
        self,
        previous: Option<&Generation>,
        metrics: &Metrics,
        proofs: &Proofs,
    ) -> Candidate {
        let prove = |wanted: &Wanted| match previous {
            Some(live) => proofs.next(wanted, live),
            None => proofs.first(wanted),
        };
        let sources = Sources {
            read: &secret::read,
            endpoints: &Endpoints::new,
            metrics,
            plugins: &prove,
            now: UnixMs::now(),
            file: &self.name,
        };
        let located = |mut found: Vec<Finding>| {
            found.iter_mut().for_each(|it| self.origins.locate(it));
            found
        };
        let built = build(self.config, &self.hash, previous, &sources).map_err(located)?;
        let mut warnings = self.warnings;
        warnings.extend(located(built.warnings));
        Ok((built.generation, warnings))
    }
}

impl Origin {
    /// Reads the config again. Blocks on the file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Loaded, Vec<Finding>> {
        let name = self.name();
        Ok(match self {
            Self::File(path) => {
                let Parsed { config, warnings, text_hash, origins } =
                    parse(&read(path).map_err(|it| vec![*it])?, path)?;
                Loaded { config, warnings, hash: text_hash.to_vec(), origins, name }
            }
            Self::Flags(config) => Loaded {
                config: Config::clone(config),
                warnings: Vec::new(),
                hash: Vec::new(),
                origins: Origins::default(),
                name,
            },
        })
    }

    /// [`Origin::load`] while the gate runs: a pipe in the file's place (which is no harm at the start: `run <(make it)`)
    /// would be waited for without end, and every later reload with it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_again(&self) -> Result<Loaded, Vec<Finding>> {
        if let Self::File(path) = self
            && std::fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir())
        {
            let message = "the file cannot be read: it is no regular file".to_owned();
            return Err(vec![Finding::whole(
                path,
                message,
                "a config file that can be read again",
            )]);
        }
        self.load()
    }

    /// The files to watch: the config, every secret and every plugin that it names.
    pub fn files(&self, config: &Config) -> Vec<PathBuf> {
        let own = match self {
            Self::File(path) => Some(path.clone()),
            Self::Flags(_) => None,
        };
        let secrets = config.key_files().into_iter().chain(config.secret_files());
        own.into_iter().chain(secrets).chain(config.plugin_files()).collect()
    }

    /// For people.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Flags(_) => "command line".to_owned(),
        }
    }
}

/// Findings as `check -o json` prints them.
pub fn as_json(findings: &[Finding]) -> Vec<Value> {
    findings.iter().filter_map(|it| serde_json::to_value(it).ok()).collect()
}

/// Findings for people.
pub fn as_text(findings: &[Finding]) -> String {
    findings::render(findings)
}
