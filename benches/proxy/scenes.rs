//! What is measured: each scene runs all proxies in turn, round after round, in front of the same upstream.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;

use crate::client::Ask;
use crate::load::{Load, Pace, Tally};
use crate::machine::{self, Machine};
use crate::peers::{KEY, Kind, Peer, Setup};
use crate::report::{Better, Report};
use crate::upstream;

/// Bodies that the upstream can answer with; the first is the usual one.
pub(crate) const SIZES: [usize; 3] = [1024, 64 * 1024, 1024 * 1024];
/// Names of all scenes, in the order in which they run.
pub(crate) const NAMES: [&str; 12] = [
    "requests",
    "post",
    "body-64k",
    "body-1m",
    "connect",
    "latency",
    "idle",
    "reload",
    "spread",
    "routes",
    "keys",
    "connections",
];
const RELOADS_EVERY_NS: u64 = 50_000_000;
const IN_FLIGHT: usize = 64;
/// After this a proxy has put away what it keeps for a next request at once.
const SETTLED: Duration = Duration::from_millis(2500);

/// How long and how often.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) rounds: usize,
    pub(crate) warm: Duration,
    pub(crate) length: Duration,
    /// Requests a second of the open-loop scene.
    pub(crate) rate: u64,
    /// Connections of the idle and growth scenes.
    pub(crate) many: usize,
}

/// Everything that a scene works with.
pub(crate) struct Stage<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cores: &'a Machine,
    pub(crate) load: &'a mut Load,
    pub(crate) report: &'a mut Report,
}

/// One stretch of steady load.
#[derive(Clone, Copy, Debug)]
struct Steady {
    connections: usize,
    pace: Pace,
}

const STEADY: Steady =
    Steady { connections: IN_FLIGHT, pace: Pace::Closed { in_flight: IN_FLIGHT } };

impl Stage<'_> {
    /// Runs the scene of this name.
    pub(crate) fn run(&mut self, name: &'static str) -> anyhow::Result<()> {
        let size = SIZES[0];
        match name {
            "requests" => self.closed(name, &get("/secure/stock/RELIANCE.NS", size, false)),
            "post" => self.closed(name, &post("/secure/chat", 4096, size)),
            "body-64k" => self.closed(name, &get("/secure/big", SIZES[1], false)),
            "body-1m" => self.closed(name, &get("/secure/big", SIZES[2], false)),
            "connect" => self.closed(name, &get("/secure/stock/RELIANCE.NS", size, true)),
            "latency" => self.latency(),
            "idle" => self.idle(),
            "reload" => self.reload(),
            "spread" => self.spread(),
            "routes" => self.growth(name, Setup { routes: 1000, ..Setup::PLAIN }, IN_FLIGHT),
            "keys" => self.growth(name, Setup { keys: 1000, ..Setup::PLAIN }, IN_FLIGHT),
            "connections" => self.growth(name, Setup::PLAIN, self.plan.many),
            other => anyhow::bail!("no scene {other:?}; there are {}", NAMES.join(", ")),
        }
        .with_context(|| format!("scene {name}"))
    }

    fn start_all(&mut self, setup: Setup) -> anyhow::Result<Vec<Peer>> {
        let kinds = self.plan.kinds.iter();
        kinds.map(|it| Peer::start(*it, setup, self.cores, self.load)).collect()
    }

    /// CPU per request with the proxy's core saturated.
    fn closed(&mut self, scene: &'static str, ask: &Ask) -> anyhow::Result<()> {
        let peers = self.start_all(Setup::PLAIN)?;
        for round in 0..self.plan.rounds {
            for peer in turns(&peers, round) {
                let mut seen = self.steady(peer, ask, STEADY)?;
                let mut add = |metric, better, value| {
                    self.report.add((scene, metric), better, peer.kind, value);
                };
                add("CPU us/request", Better::Less, seen.cpu_us);
                add("proxy core busy %", Better::Neither, seen.busy_percent);
                add("requests/s", Better::More, seen.tally.rate());
                add("p50 us", Better::Neither, seen.tally.quantile_us(0.5));
                add("p99 us", Better::Neither, seen.tally.quantile_us(0.99));
                add("log bytes/request", Better::Neither, seen.log_bytes);
            }
        }
        Ok(())
    }

    /// Latency at a fixed rate, counted from when each request was due.
    fn latency(&mut self) -> anyhow::Result<()> {
        let peers = self.start_all(Setup::PLAIN)?;
        let ask = get("/secure/stock/RELIANCE.NS", SIZES[0], false);
        let pace = Pace::Open { per_second: self.plan.rate };
        for round in 0..self.plan.rounds {
            for peer in turns(&peers, round) {
                let mut seen = self.steady(peer, &ask, Steady { pace, ..STEADY })?;
                let mut add = |metric, better, value| {
                    self.report.add(("latency", metric), better, peer.kind, value);
                };
                add("requests/s", Better::Neither, seen.tally.rate());
                add("proxy core busy %", Better::Neither, seen.busy_percent);
                add("p50 us", Better::Less, seen.tally.quantile_us(0.5));
                add("p99 us", Better::Less, seen.tally.quantile_us(0.99));
            }
        }
        Ok(())
    }

    /// Bytes that an idle connection costs, before and after its first request.
    fn idle(&mut self) -> anyhow::Result<()> {
        let ask = get("/secure/stock/RELIANCE.NS", SIZES[0], false);
        for kind in self.plan.kinds.clone() {
            let peer = Peer::start(kind, Setup::PLAIN, self.cores, self.load)?;
            // What the proxy allocates once must not be charged to the connections.
            self.load.connect(peer.addr, IN_FLIGHT)?;
            self.load.touch_all(ask.clone(), IN_FLIGHT)?;
            self.load.disconnect()?;
            self.load.rest(SETTLED)?;
            let before = machine::pss_bytes(peer.group);
            self.load.connect(peer.addr, self.plan.many)?;
            self.load.rest(SETTLED)?;
            let held = machine::pss_bytes(peer.group);
            let tally = self.load.touch_all(ask.clone(), IN_FLIGHT)?;
            anyhow::ensure!(tally.failed + tally.resent == 0, "{}: {tally:?}", kind.name());
            self.load.rest(SETTLED)?;
            let used = machine::pss_bytes(peer.group);
            self.load.disconnect()?;
            let each = |after: u64| after.saturating_sub(before) as f64 / self.plan.many as f64;
            let mut add = |metric, value| {
                self.report.add(("idle", metric), Better::Less, kind, value);
            };
            add("bytes, never used", each(held));
            add("bytes, after one request", each(used));
        }
        Ok(())
    }

    /// Load with and without 20 reloads a second, each of which changes a route.
    fn reload(&mut self) -> anyhow::Result<()> {
        let ask = get("/secure/stock/RELIANCE.NS", SIZES[0], false);
        for _ in 0..self.plan.rounds.div_ceil(2) {
            for kind in self.plan.kinds.clone() {
                let peer = Peer::start(kind, Setup::PLAIN, self.cores, self.load)?;
                self.check(&peer, &ask)?;
                self.load.connect(peer.addr, IN_FLIGHT)?;
                self.load.begin(ask.clone(), STEADY.pace);
                self.load.drive(self.plan.warm)?;
                let calm = self.load.drive(self.plan.length)?;
                let (busy, reloads) = self.drive_with_reloads(&peer)?;
                let rest = self.load.finish()?;
                self.load.disconnect()?;
                let mut add = |metric, better, value| {
                    self.report.add(("reload", metric), better, kind, value);
                };
                add("requests/s undisturbed", Better::More, calm.rate());
                add("requests/s with reloads", Better::More, busy.rate());
                add("share of undisturbed %", Better::More, 100.0 * busy.rate() / calm.rate());
                add("failed requests", Better::Neither, (busy.failed + rest.failed) as f64);
                add("resent requests", Better::Neither, (busy.resent + rest.resent) as f64);
                add(
                    "reloads/s asked for",
                    Better::Neither,
                    reloads as f64 * 1e9 / busy.wall_ns as f64,
                );
            }
        }
        Ok(())
    }

    fn drive_with_reloads(&mut self, peer: &Peer) -> anyhow::Result<(Tally, u64)> {
        let (stop, stopped) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let reloader = scope.spawn(move || {
                let (mut done, mut due_ns) = (0, machine::now_ns());
                loop {
                    // At fixed times: one that takes long does not slow down the asking.
                    due_ns += RELOADS_EVERY_NS;
                    let left = Duration::from_nanos(due_ns.saturating_sub(machine::now_ns()));
                    if stopped.recv_timeout(left) != Err(mpsc::RecvTimeoutError::Timeout) {
                        return anyhow::Ok(done);
                    }
                    peer.reload(done + 1)?;
                    done += 1;
                }
            });
            let tally = self.load.drive(self.plan.length);
            drop(stop);
            let done = reloader.join().map_err(|_| anyhow::anyhow!("the reloader panicked"))??;
            Ok((tally?, done))
        })
    }

    /// Eight long-lived connections over all cores: how evenly do they work?
    fn spread(&mut self) -> anyhow::Result<()> {
        let cores = self.cores.all().len();
        let setup = Setup { cores, ..Setup::PLAIN };
        let ask = get("/secure/stock/RELIANCE.NS", SIZES[0], false);
        for round in 0..self.plan.rounds.div_ceil(2) {
            let peers = self.start_all(setup)?;
            for peer in turns(&peers, round) {
                self.load.connect(peer.addr, 8)?;
                // A fixed pace gives every connection the same work, so CPU time shows where they are.
                self.load.begin(ask.clone(), Pace::Open { per_second: 8000 });
                self.load.drive(self.plan.warm)?;
                let before = machine::cpu_by_thread(peer.group);
                let tally = self.load.drive(self.plan.length)?;
                let shares = worked(&before, &machine::cpu_by_thread(peer.group), cores);
                self.load.finish()?;
                self.load.disconnect()?;
                let even = 100.0 * shares.last().unwrap_or(&0.0) / shares.first().unwrap_or(&1.0);
                let mut add = |metric, better, value| {
                    self.report.add(("spread", metric), better, peer.kind, value);
                };
                add("requests/s", Better::Neither, tally.rate());
                add("least busy core, % of busiest", Better::More, even);
            }
        }
        Ok(())
    }

    /// CPU per request with much against with little.
    fn growth(&mut self, scene: &'static str, much: Setup, conns: usize) -> anyhow::Result<()> {
        let (small, large) = (self.start_all(Setup::PLAIN)?, self.start_all(much)?);
        let ask = get("/secure/stock/RELIANCE.NS", SIZES[0], false);
        for round in 0..self.plan.rounds.div_ceil(2) {
            for (one, many) in turns(&small, round).zip(turns(&large, round)) {
                let little = self.steady(one, &ask, STEADY)?.cpu_us;
                let more = self.steady(many, &ask, Steady { connections: conns, ..STEADY })?.cpu_us;
                let mut add = |metric, better, value| {
                    self.report.add((scene, metric), better, one.kind, value);
                };
                add("CPU us/request, little", Better::Neither, little);
                add("CPU us/request, much", Better::Less, more);
                add("growth", Better::Neither, more / little);
            }
        }
        Ok(())
    }

    /// Checks the proxy, then drives it and counts.
    fn steady(&mut self, peer: &Peer, ask: &Ask, how: Steady) -> anyhow::Result<Sample> {
        self.check(peer, ask)?;
        self.load.connect(peer.addr, how.connections)?;
        if how.connections > IN_FLIGHT {
            self.load.touch_all(ask.clone(), IN_FLIGHT)?; // all are accepted and have served
        }
        self.load.begin(ask.clone(), how.pace);
        self.load.drive(self.plan.warm)?;
        let (cpu, logged) = (machine::cpu_ns(peer.group), peer.logged(self.load));
        let tally = self.load.drive(self.plan.length)?;
        let cpu = machine::cpu_ns(peer.group).saturating_sub(cpu) as f64;
        let logged = peer.logged(self.load).saturating_sub(logged);
        let rest = self.load.finish()?;
        self.load.disconnect()?;
        let failed = tally.failed + rest.failed;
        anyhow::ensure!(failed == 0, "{}: {failed} requests failed", peer.kind.name());
        Ok(Sample {
            cpu_us: cpu / 1000.0 / tally.done.max(1) as f64,
            busy_percent: 100.0 * cpu / tally.wall_ns.max(1) as f64,
            log_bytes: logged as f64 / tally.done.max(1) as f64,
            tally,
        })
    }

    /// One request is answered with the right status and body, and one without a key with 401.
    fn check(&mut self, peer: &Peer, ask: &Ask) -> anyhow::Result<()> {
        let right = self.exchange(peer.addr, &ask.request)?;
        let at = memchr::memmem::find(&right, b"\r\n\r\n").map_or(0, |it| it + 4);
        let body = right.get(at..).unwrap_or_default();
        let name = peer.kind.name();
        let head = String::from_utf8_lossy(right.get(..at).unwrap_or_default());
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{name} answers {head}");
        anyhow::ensure!(body == upstream::body(ask.body_bytes), "{name} changes the body");
        let keyless = String::from_utf8_lossy(&ask.request).replace(KEY, "wrong");
        let refused = self.exchange(peer.addr, keyless.as_bytes())?;
        anyhow::ensure!(refused.starts_with(b"HTTP/1.1 401"), "{name} lets pass a wrong key");
        Ok(())
    }

    /// One exchange over a blocking socket of another thread, while this one serves the upstream.
    fn exchange(&mut self, addr: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let text = String::from_utf8_lossy(request).into_owned();
        let closing = text.replacen("Connection: keep-alive", "Connection: close", 1);
        let worker = std::thread::spawn(move || {
            let mut socket = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.write_all(closing.as_bytes())?;
            let mut answer = Vec::new();
            let _ = socket.read_to_end(&mut answer); // a reset after the answer is no fault of it
            anyhow::Ok(answer)
        });
        while !worker.is_finished() {
            self.load.rest(Duration::from_millis(1))?;
        }
        worker.join().map_err(|_| anyhow::anyhow!("the checking thread panicked"))?
    }
}

#[derive(Debug)]
struct Sample {
    cpu_us: f64,
    busy_percent: f64,
    log_bytes: f64,
    tally: Tally,
}

/// The peers of one round: each round begins with another.
fn turns(peers: &[Peer], round: usize) -> impl Iterator<Item = &Peer> {
    peers.iter().cycle().skip(round % peers.len().max(1)).take(peers.len())
}

/// CPU time of the `cores` busiest threads, most first.
fn worked(before: &[(u32, u32, u64)], after: &[(u32, u32, u64)], cores: usize) -> Vec<f64> {
    let was = |tid: u32| before.iter().find(|it| it.1 == tid).map_or(0, |it| it.2);
    let mut all: Vec<f64> = after.iter().map(|it| it.2.saturating_sub(was(it.1)) as f64).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.truncate(cores);
    all
}

const HEADERS: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101\r\n\
    Accept: application/json, text/plain, */*\r\nAccept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://stocks.example.com/charts\r\n\
    Cookie: session=4f1d0c2b9a8e7766; theme=dark; lang=en\r\nCache-Control: no-cache\r\n\
    Pragma: no-cache\r\nX-Client-Version: 4.18.2\r\n";

/// A GET with 12 header fields; the path's last number is the size of the answer's body.
fn get(path: &str, size: usize, close: bool) -> Ask {
    let connection = if close { "close" } else { "keep-alive" };
    let request = format!(
        "GET {path}/{size} HTTP/1.1\r\nHost: stocks.example.com\r\n{HEADERS}\
         X-API-Key: {KEY}\r\nConnection: {connection}\r\n\r\n"
    );
    Ask { request: request.into_bytes(), body_bytes: size }
}

/// A POST of `sent` bytes.
fn post(path: &str, sent: usize, size: usize) -> Ask {
    let body = String::from_utf8(upstream::body(sent)).unwrap_or_default();
    let request = format!(
        "POST {path}/{size} HTTP/1.1\r\nHost: stocks.example.com\r\n{HEADERS}\
         X-API-Key: {KEY}\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n\
         Content-Length: {sent}\r\n\r\n{body}"
    );
    Ask { request: request.into_bytes(), body_bytes: size }
}
