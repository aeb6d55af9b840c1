//! Plugins in a running gate: what a filter adds to a request, what components hold, what a swap and a start cost.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;

use crate::Effort;
use crate::assemble::{Decision, Guest, stamped};
use crate::calls::{shipped, three_headers};
use crate::client::Ask;
use crate::gate::{Gate, Place, exchange};
use crate::load::{Load, Pace};
use crate::machine::{self, Machine, now_ns};
use crate::table::{Goal, Table};

/// Bodies that the upstream can answer with.
pub(crate) const SIZES: [usize; 1] = [1024];
const IN_FLIGHT: usize = 64;
/// After this a gate has put away what it needed for its start.
const SETTLED: Duration = Duration::from_secs(2);
/// From the start of a process with warm cache and twenty plugins to the first answer.
const START_MS: f64 = 100.0;
/// Growth over a thousand swaps that is no growth: what the allocator keeps.
const FLAT_MIB: f64 = 4.0;
/// Answered by the gate itself.
const NOBODYS: (&str, &str) = ("/nobodys", "404");

/// Everything that a scene works with.
pub(crate) struct Stage<'a> {
    pub(crate) effort: Effort,
    pub(crate) machine: &'a Machine,
    pub(crate) load: &'a mut Load,
    pub(crate) table: &'a mut Table,
}

impl Stage<'_> {
    /// Runs the scene of this name.
    pub(crate) fn run(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            "path" => self.path(),
            "memory" => self.memory(),
            "hundred" => self.hundred(),
            "swap" => self.swap(),
            "start" => self.start(),
            other => anyhow::bail!("no scene {other:?}"),
        }
        .with_context(|| format!("scene {name}"))
    }

    /// CPU per request of one gate: a route without a filter, then with one; turn and turn about.
    fn path(&mut self) -> anyhow::Result<()> {
        let filters =
            [Guest::filter().build(), three_headers().build(), shipped("require-header")?];
        let place = Place::new(self.load.upstream_addr()?, filters.get(..2).unwrap_or_default())?;
        let gate = Gate::start(self.machine, &place, NOBODYS)?;
        for _ in 0..self.effort.rounds {
            let plain = self.cpu_us(&gate, "/plain")?;
            let empty = self.cpu_us(&gate, "/f0")?;
            let three = self.cpu_us(&gate, "/f1")?;
            let mut add = |what, goal, value| self.table.add(("path", what), goal, value);
            add("no filter, CPU us/request", Goal::None, plain);
            add("an empty filter, CPU us/request", Goal::None, empty);
            add("three headers, CPU us/request", Goal::None, three);
            add("added by an empty filter, us", Goal::None, empty - plain);
            add("added by three headers, us", Goal::None, three - plain);
        }
        Ok(())
    }

    fn cpu_us(&mut self, gate: &Gate, route: &str) -> anyhow::Result<f64> {
        self.load.connect(gate.data, IN_FLIGHT)?;
        self.load.begin(get(route), Pace::Closed { in_flight: IN_FLIGHT });
        self.load.drive(Duration::from_millis(300))?;
        let before = machine::cpu_ns(gate.group);
        let tally = self.load.drive(Duration::from_secs_f64(self.effort.seconds))?;
        let spent = machine::cpu_ns(gate.group).saturating_sub(before);
        let rest = self.load.finish()?;
        self.load.disconnect()?;
        let failed = tally.failed + rest.failed;
        anyhow::ensure!(failed == 0, "{failed} requests failed on {route}: {}", gate.told());
        Ok(spent as f64 / 1000.0 / tally.done.max(1) as f64)
    }

    /// What each of twenty components holds, loaded and used.
    fn memory(&mut self) -> anyhow::Result<()> {
        let bare = Place::new(self.load.upstream_addr()?, &[])?;
        let gate = Gate::start(self.machine, &bare, NOBODYS)?;
        self.load.rest(SETTLED)?;
        let nothing = gate.pss_mib();
        drop(gate);
        let filters = variants(&shipped("require-header")?, 20);
        let place = Place::new(self.load.upstream_addr()?, &filters)?;
        drop(Gate::start(self.machine, &place, NOBODYS)?);
        let gate = Gate::start(self.machine, &place, NOBODYS)?;
        self.load.rest(SETTLED)?;
        let loaded = gate.pss_mib();
        self.touch(&gate, filters.len())?;
        let used = gate.pss_mib();
        let each = |mib: f64| (mib - nothing) * 1024.0 / filters.len() as f64;
        let mut add = |what, value| self.table.add(("memory", what), Goal::None, value);
        add("a gate without entries, MiB", nothing);
        add("each plugin, loaded, KiB", each(loaded));
        add("each plugin, used on one core, KiB", each(used));
        Ok(())
    }

    /// A hundred plugins: how long the start takes, what they hold, whether each acts.
    fn hundred(&mut self) -> anyhow::Result<()> {
        let filters = variants(&shipped("require-header")?, 100);
        let place = Place::new(self.load.upstream_addr()?, &filters)?;
        let cold = Gate::start(self.machine, &place, NOBODYS)?.start_ns;
        let gate = Gate::start(self.machine, &place, NOBODYS)?;
        self.load.rest(SETTLED)?;
        let loaded = gate.pss_mib();
        self.touch(&gate, filters.len())?;
        let used = gate.pss_mib();
        let mut add = |what, value| self.table.add(("hundred", what), Goal::None, value);
        add("start, nothing compiled, ms", cold as f64 / 1e6);
        add("start, cached, ms", gate.start_ns as f64 / 1e6);
        add("memory, loaded, MiB", loaded);
        add("memory, all used, MiB", used);
        Ok(())
    }

    /// One request through each filter.
    fn touch(&mut self, gate: &Gate, filters: usize) -> anyhow::Result<()> {
        for number in 0..filters {
            self.load.connect(gate.data, 1)?;
            let tally = self.load.touch_all(get(&format!("/f{number}")), 1)?;
            anyhow::ensure!(tally.done == 1, "filter {number} let nothing pass: {}", gate.told());
            self.load.disconnect()?;
        }
        Ok(())
    }

    /// Swaps under load: every one is seen by the next request, none fails one, memory stays.
    fn swap(&mut self) -> anyhow::Result<()> {
        let loaded = [Guest::filter().build(), three_headers().build()];
        let seen = [replying("one"), replying("two")];
        let [first, second] = [&loaded[0], &seen[0]].map(Clone::clone);
        let place = Place::new(self.load.upstream_addr()?, &[first, second])?;
        let gate = Gate::start(self.machine, &place, ("/f1/", "200"))?;
        let calm = self.swapping(&gate, &place, (&loaded, &seen), 20)?;
        self.load.rest(SETTLED)?;
        let before = gate.pss_mib();
        let busy = self.swapping(&gate, &place, (&loaded, &seen), self.effort.swaps)?;
        self.load.rest(SETTLED)?;
        let after = gate.pss_mib();
        let mut add = |what, goal, value| self.table.add(("swap", what), goal, value);
        add("swaps", Goal::None, self.effort.swaps as f64);
        add("failed requests", Goal::AtMost(0.0), (calm.failed + busy.failed) as f64);
        add("requests meanwhile", Goal::None, busy.done as f64);
        add("a swap until it acts, ms", Goal::None, busy.ms / self.effort.swaps as f64);
        add("memory before, MiB", Goal::None, before);
        add("memory after, MiB", Goal::None, after);
        add("growth, MiB", Goal::AtMost(FLAT_MIB), after - before);
        Ok(())
    }

    fn swapping(
        &mut self,
        gate: &Gate,
        place: &Place,
        (loaded, seen): (&[Vec<u8>; 2], &[Vec<u8>; 2]),
        swaps: usize,
    ) -> anyhow::Result<Swapped> {
        self.load.connect(gate.data, 16)?;
        self.load.begin(get("/f0"), Pace::Closed { in_flight: 16 });
        let (finished, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            let swapper = scope.spawn(move || {
                let start = now_ns();
                for round in 1..=swaps {
                    let which = round % 2;
                    let [a, b] =
                        [loaded, seen].map(|it| it.get(which).map_or(&[][..], Vec::as_slice));
                    place.put(0, a)?;
                    place.put(1, b)?;
                    gate.reload()?;
                    let ask = "GET /f1/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
                    let answer = exchange(gate.data, ask.as_bytes())?;
                    let word = ["one", "two"].get(which).copied().unwrap_or_default();
                    anyhow::ensure!(
                        answer.ends_with(word),
                        "swap {round} is not seen: {answer}\n{}",
                        gate.plugins()?
                    );
                }
                let _ = finished.send(());
                anyhow::Ok((now_ns() - start) as f64 / 1e6)
            });
            let mut swapped = Swapped::default();
            while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
                let tally = self.load.drive(Duration::from_millis(200))?;
                swapped.failed += tally.failed;
                swapped.done += tally.done;
            }
            swapped.failed += self.load.finish()?.failed;
            self.load.disconnect()?;
            swapped.ms =
                swapper.join().map_err(|_| anyhow::anyhow!("the swapping thread panicked"))??;
            Ok(swapped)
        })
    }

    /// A start with twenty plugins, all compiled before, to the first answer that one of them gave.
    fn start(&mut self) -> anyhow::Result<()> {
        let mut filters = vec![replying("first")];
        filters.extend(variants(&shipped("require-header")?, 19));
        let place = Place::new(self.load.upstream_addr()?, &filters)?;
        let answered = ("/f0/", "200");
        let cold = Gate::start(self.machine, &place, answered)?.start_ns;
        self.table.add(("start", "20 plugins, nothing compiled, ms"), Goal::None, ms(cold));
        let bare = Place::new(self.load.upstream_addr()?, &[])?;
        for _ in 0..self.effort.rounds {
            let gate = Gate::start(self.machine, &place, answered)?;
            self.table.add(
                ("start", "20 plugins, cached, to the first answer, ms"),
                Goal::AtMost(START_MS),
                ms(gate.start_ns),
            );
            drop(gate);
            let gate = Gate::start(self.machine, &bare, NOBODYS)?;
            self.table.add(("start", "no entry, ms"), Goal::None, ms(gate.start_ns));
        }
        Ok(())
    }
}

/// What a stretch of swaps saw.
#[derive(Clone, Copy, Debug, Default)]
struct Swapped {
    done: u64,
    failed: u64,
    ms: f64,
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The same component with other bytes, so often.
fn variants(wasm: &[u8], count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| stamped(wasm, &number.to_le_bytes())).collect()
}

/// A filter that answers with this word.
fn replying(word: &str) -> Vec<u8> {
    let reply = Decision::Reply { status: 200, headers: Vec::new(), body: word.into() };
    Guest::filter().decides(reply).build()
}

/// A GET with 12 header fields.
fn get(route: &str) -> Ask {
    let size = SIZES[0];
    let request = format!(
        "GET {route}/stock/RELIANCE.NS/{size} HTTP/1.1\r\nHost: stocks.example.com\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101\r\n\
         Accept: application/json, text/plain, */*\r\nAccept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://stocks.example.com/charts\r\n\
         Cookie: session=4f1d0c2b9a8e7766; theme=dark; lang=en\r\nCache-Control: no-cache\r\n\
         Pragma: no-cache\r\nX-Client-Version: 4.18.2\r\nX-Tenant: acme\r\n\
         Connection: keep-alive\r\n\r\n"
    );
    Ask { request: request.into_bytes(), body_bytes: size }
}
