//! A gate that is killed again and again, at named points and at any moment, on one state folder.

use std::collections::BTreeSet;
use std::process::Child;

use headgate::model::alert::Phase;
use headgate::store::ledger::RedbLedger;

use super::scene::{CALM, Scene};
use super::world::{World, parcel};
use crate::support::until;

/// Kills at each kind of moment: together at least two hundred.
const KILLS: usize = 110;
/// Before and after each write, send and acknowledgement.
const POINTS: [&str; 10] = [
    "report-before",
    "report-after",
    "commit-before",
    "commit-after",
    "outbox-put",
    "outbox-written",
    "send-before",
    "send-after",
    "acknowledge-before",
    "acknowledge-after",
];
fn kill(gate: &mut Child) {
    let _ = gate.kill();
    let _ = gate.wait();
}

#[test]
fn an_alert_survives_a_crash_before_and_after_every_step() {
    let mut scene = Scene::new(0x9E37_79B9_7F4A_7C15);
    let (mut kills, mut reached) = (0, BTreeSet::new());
    while kills < KILLS {
        let point = POINTS[kills % POINTS.len()];
        let number = 1 + scene.random(4);
        let mut gate = scene.start(Some(&format!("{point}:{number}")));
        let mut turns = 0;
        scene.stir(|| {
            turns += 1;
            turns < 300 && gate.try_wait().expect("our child").is_none()
        });
        if gate.try_wait().expect("our child").is_some() {
            reached.insert(point);
        }
        kill(&mut gate);
        kills += 1;
    }
    assert_eq!(reached, BTreeSet::from(POINTS), "each point was come to");
    scene.finish(kills / 4, 0);
}

#[test]
fn an_alert_survives_a_kill_at_any_moment() {
    let mut scene = Scene::new(0xD1B5_4A32_D192_ED03);
    for _ in 0..KILLS {
        let mut gate = scene.start(None);
        let mut turns = 20 + scene.random(120);
        scene.stir(|| {
            turns -= 1;
            turns > 0
        });
        kill(&mut gate);
    }
    scene.finish(KILLS / 4, 0);
}

/// A thousand incidents wait in the outbox; the gate is killed twenty times while it delivers them.
#[test]
fn a_full_outbox_survives_kills_while_it_empties() {
    const INCIDENTS: usize = 1000;
    let mut scene = Scene::new(1);
    scene.pace = CALM;
    let world = World::new(RedbLedger::open(&scene.dir.0.join("state")), &[]);
    for phase in [Phase::Opened, Phase::Resolved] {
        let made = (0..INCIDENTS)
            .map(|it| parcel("hook", &format!("i{it}"), phase, &format!("{phase:?}-{it}")));
        world.put(made.collect());
    }
    drop(world);
    for _ in 0..20 {
        let before = scene.received().len();
        let mut gate = scene.start(None);
        until("some are delivered", || scene.received().len() > before + 40);
        kill(&mut gate);
    }
    let received = scene.finish(0, 2 * INCIDENTS);
    let keys: BTreeSet<&str> = received.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys.len(), 2 * INCIDENTS);
    let repeats = received.len() - keys.len();
    assert!(repeats < 20 * 100, "{repeats} repeats in 20 kills");
}
