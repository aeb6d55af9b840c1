//! Any course of answers, drops and retries.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{any, prop, proptest};

use crate::alert::outbox::queue::Queue;
use crate::alert::outbox::tests::{about, after, clock, take, why};
use crate::model::alert::Phase;

#[derive(Clone, Debug)]
struct Step {
    incidents: BTreeSet<u8>,
    phase: u8,
    outcomes: Vec<u8>,
}

fn phase(number: u8) -> Phase {
    [Phase::Opened, Phase::Updated, Phase::Resolved, Phase::Test][usize::from(number % 4)]
}

proptest! {
    /// Whatever the receiver answers: nothing is lost, nothing of one incident overtakes, four fly at most, and it ends.
    #[test]
    fn any_course_keeps_the_promises(
        steps in prop::collection::vec(
            (prop::collection::btree_set(0..5_u8, 1..3), any::<u8>(), prop::collection::vec(0..4_u8, 0..4)),
            1..30,
        ),
        drops in prop::collection::vec(0..40_u64, 0..3),
        retries in prop::collection::vec(0..40_u64, 0..3),
    ) {
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|(incidents, phase, outcomes)| Step { incidents, phase, outcomes })
            .collect();
        course(&steps, &drops, &retries);
    }
}

fn course(steps: &[Step], drops: &[u64], retries: &[u64]) {
    let mut now = clock();
    let mut queue = Queue::default();
    let mut left: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let incidents_of = |number: u64| &steps[usize::try_from(number - 1).unwrap()].incidents;
    for (number, it) in (1..).zip(steps) {
        let names: Vec<String> = it.incidents.iter().map(u8::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add(about(number, &names, phase(it.phase)), false, now);
        left.insert(number, it.outcomes.clone());
    }
    let (mut flying, mut over, mut turn) = (BTreeSet::new(), BTreeSet::new(), 0_u64);
    while queue.waiting() > 0 {
        turn += 1;
        assert!(turn < 3000, "it does not end");
        if retries.contains(&turn) {
            // Only the dead: one that waits is merely tried at once.
            let first = queue.dead().first().copied();
            first.and_then(|it| queue.retry(it, now));
        }
        for number in take(&mut queue, now) {
            let earlier = queue.parcels().map(|it| it.number).filter(|it| *it < number);
            for other in earlier.filter(|it| !dead_now(&queue, *it)) {
                let shared = incidents_of(other).intersection(incidents_of(number)).count();
                assert_eq!(shared, 0, "{number} overtakes {other}");
            }
            assert!(flying.insert(number));
        }
        assert!(flying.len() <= 4);
        let Some(number) = flying.pop_first() else {
            let next = queue.next().expect("something is due some time");
            now = after(now, next.saturating_duration_since(now.at));
            continue;
        };
        if drops.contains(&number) {
            queue.gone(number);
            over.insert(number);
        }
        match left.get_mut(&number).and_then(Vec::pop) {
            None | Some(0) => {
                if queue.accepted(number) {
                    queue.gone(number);
                    assert!(over.insert(number));
                }
            }
            Some(1) => drop(queue.refused(number, "no", now)),
            Some(2) => drop(queue.again(number, &why(Some(9)), now)),
            Some(_) => drop(queue.again(number, &why(None), now)),
        }
    }
    let kept: BTreeSet<u64> = queue.parcels().map(|it| it.number).collect();
    assert_eq!(&kept, queue.dead());
    let all: BTreeSet<u64> = left.keys().copied().collect();
    assert_eq!(kept.union(&over).copied().collect::<BTreeSet<u64>>(), all);
}

fn dead_now(queue: &Queue, number: u64) -> bool {
    queue.dead().contains(&number)
}
