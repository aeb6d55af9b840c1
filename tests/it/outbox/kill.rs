//! A gate that is killed again and again, at named points and at any moment, on one state folder.

use std::collections::BTreeSet;
use std::process::Child;

use super::scene::Scene;

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
    scene.finish(kills);
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
    scene.finish(KILLS);
}
