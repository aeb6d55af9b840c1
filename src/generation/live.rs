//! The one `ArcSwap`: publish a generation, switch maintenance, wait until every core has seen it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::generation::{Gate, Generation};
use crate::maintenance::Modes;

/// What a core is told to do, in order.
#[derive(Debug)]
pub enum Order {
    /// Look at the gate again, close tunnels that it no longer allows, then answer.
    Look(oneshot::Sender<()>),
    /// Close the tunnels of a service (`None`: of all covered services); answers with their number.
    CloseTunnels(Option<String>, oneshot::Sender<usize>),
}

/// Which cores have seen the newest gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub cores: usize,
    /// Cores that did not answer in time.
    pub laggards: Vec<usize>,
}

/// Holds the live gate and the cores that follow it.
#[derive(Debug)]
pub struct Live {
    gate: ArcSwap<Gate>,
    cores: Vec<mpsc::Sender<Order>>,
    /// Number of the live generation.
    published: watch::Sender<u64>,
}

impl Live {
    /// Starts with a gate and the cores' mailboxes.
    pub fn new(gate: Gate, cores: Vec<mpsc::Sender<Order>>) -> Self {
        let (published, _) = watch::channel(gate.generation.number);
        Self { gate: ArcSwap::from_pointee(gate), cores, published }
    }

    /// Follows the numbers of generations, from the next on.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// The gate as it is now.
    pub fn load(&self) -> Arc<Gate> {
        self.gate.load_full()
    }

    /// For per-core caches (`arc_swap::Cache`).
    pub fn swap(&self) -> &ArcSwap<Gate> {
        &self.gate
    }

    /// Makes a generation live; maintenance stays as it is.
    pub fn publish(&self, generation: &Arc<Generation>) {
        self.gate
            .rcu(|old| Gate { generation: Arc::clone(generation), modes: Arc::clone(&old.modes) });
        self.published.send_replace(generation.number);
    }

    /// Makes a maintenance state live; the generation stays as it is.
    pub fn switch(&self, modes: &Arc<Modes>) {
        self.gate
            .rcu(|old| Gate { generation: Arc::clone(&old.generation), modes: Arc::clone(modes) });
    }

    /// Waits until every core has looked at the gate, at most `patience`.
    pub async fn settle(&self, patience: Duration) -> Acknowledged {
        let deadline = tokio::time::Instant::now() + patience;
        let mut waiting = Vec::new();
        for core in &self.cores {
            let (tell, told) = oneshot::channel();
            let sent = core.try_send(Order::Look(tell)).is_ok();
            waiting.push((sent, told));
        }
        let mut laggards = Vec::new();
        for (index, (sent, told)) in waiting.into_iter().enumerate() {
            if !sent || !matches!(tokio::time::timeout_at(deadline, told).await, Ok(Ok(()))) {
                laggards.push(index);
            }
        }
        Acknowledged { cores: self.cores.len(), laggards }
    }

    /// Closes tunnels on all cores; gives how many there were.
    pub async fn close_tunnels(&self, service: Option<&str>, patience: Duration) -> usize {
        let deadline = tokio::time::Instant::now() + patience;
        let mut waiting = Vec::new();
        for core in &self.cores {
            let (tell, told) = oneshot::channel();
            if core.try_send(Order::CloseTunnels(service.map(str::to_owned), tell)).is_ok() {
                waiting.push(told);
            }
        }
        let mut closed = 0;
        for told in waiting {
            closed += tokio::time::timeout_at(deadline, told)
                .await
                .ok()
                .and_then(Result::ok)
                .unwrap_or(0);
        }
        closed
    }
}
