//! What the host keeps beside one instance: its limits, what it said, and the request it may ask about.

use std::sync::Arc;

use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};

use crate::linux::clock::thread_cpu_time;
use crate::plugin::facts::Facts;
use crate::plugin::host::clock::{Clock, Meter};
use crate::plugin::host::limiter::Limiter;
use crate::plugin::host::words::escaped;
use crate::plugin::limits::Limits;
use crate::plugin::{DeclaredMetric, Level, Line, MetricKind, Said};

/// Handles of resources that may live at once. Our worlds have none; a composed guest may have some among its parts.
const HANDLES: usize = 64;

/// What holds for all instances of a component.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) clock: Arc<Clock>,
    pub(super) limits: Limits,
    pub(super) metrics: Vec<DeclaredMetric>,
    pub(super) counts_fuel: bool,
}

/// The data of one store.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) limiter: Limiter,
    pub(super) meter: Meter,
    pub(super) said: Said,
    lines_left: u32,
    values_left: u32,
    /// The request, while `on-request` runs.
    pub(super) facts: Facts,
    pub(super) asked: bool,
    /// Answers of imports are handed over from here: they must own what they give, and are gone before the next one.
    pub(super) text: Option<Arc<String>>,
    pub(super) bytes: Option<Arc<Vec<u8>>>,
}

impl State {
    fn new(sandbox: Arc<Sandbox>) -> Self {
        Self {
            limiter: Limiter::new(sandbox.limits),
            sandbox,
            meter: Meter::default(),
            said: Said::default(),
            lines_left: 0,
            values_left: 0,
            facts: Facts::default(),
            asked: false,
            text: None,
            bytes: None,
        }
    }

    /// A store in which everything is limited.
    pub(super) fn store(engine: &Engine, sandbox: &Arc<Sandbox>) -> Store<Self> {
        let mut store = Store::new(engine, Self::new(Arc::clone(sandbox)));
        store.limiter(|it| &mut it.limiter);
        store.set_max_component_handles(HANDLES);
        store.epoch_deadline_callback(tick);
        if sandbox.counts_fuel {
            // An engine that counts fuel takes it; that is the only way in which this can fail.
            drop(store.set_fuel(u64::MAX));
        }
        store
    }

    /// What a call may say.
    pub(super) fn begin(&mut self) {
        self.lines_left = self.sandbox.limits.lines;
        self.values_left = self.sandbox.limits.metric_values;
    }

    /// Whether another line is kept; counts it either way.
    pub(super) fn takes_line(&mut self) -> bool {
        let takes = self.lines_left > 0;
        self.lines_left = self.lines_left.saturating_sub(1);
        self.said.lines_dropped += u32::from(!takes);
        takes
    }

    /// A line for the log, cut and with control characters escaped.
    pub(super) fn line(&self, level: Level, text: &str) -> Line {
        Line { level, text: escaped(text, self.sandbox.limits.line_bytes) }
    }

    /// A declared metric.
    pub(super) fn metric(&self, name: &str) -> Option<usize> {
        self.sandbox.metrics.iter().position(|it| it.name == name)
    }

    /// Keeps a value, if the metric is declared and may have it.
    pub(super) fn record(&mut self, metric: Option<usize>, value: f64) {
        let fits = |it: &usize| {
            let kind = self.sandbox.metrics.get(*it).map(|it| it.kind);
            value.is_finite() && (value >= 0.0 || kind != Some(MetricKind::Counter))
        };
        match metric.filter(fits).filter(|_| self.values_left > 0) {
            Some(metric) => {
                self.values_left -= 1;
                self.said.metrics.push((metric, value));
            }
            None => self.said.metrics_dropped += 1,
        }
    }
}

/// At each tick of the clock in which the guest runs.
fn tick(mut store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    state.sandbox.clock.runs();
    state.meter.tick(thread_cpu_time())?;
    Ok(UpdateDeadline::Continue(1))
}
