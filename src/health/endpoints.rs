//! Which endpoints of a service are in the balance, as the probes see them; never takes the last one out.

use std::net::SocketAddr;

use crate::model::health::{Outcome, Sample};
use crate::wire::balance::Endpoints;

/// Takes in which endpoints were seen to be well, once a round: three bad rounds take one out of the balance, two good ones
/// bring it back, and where all are down all are used. Endpoints that are not named keep their standing; addresses that
/// are no endpoint (any more) are passed over.
pub fn seen(endpoints: &Endpoints, results: &[(SocketAddr, bool)]) {
    for endpoint in endpoints.list().iter() {
        if let Some((_, good)) = results.iter().find(|(address, _)| *address == endpoint.addr) {
            endpoint.probed(*good);
        }
    }
    endpoints.settle();
}

/// Whether a sample speaks for its endpoint or against it; `None`: it says nothing (the gate could not ask).
pub fn speaks(sample: &Sample) -> Option<bool> {
    match sample.outcome {
        Outcome::Ok => Some(true),
        Outcome::Skipped => None,
        Outcome::BadStatus
        | Outcome::Timeout
        | Outcome::Refused
        | Outcome::Reset
        | Outcome::Dns
        | Outcome::Tls
        | Outcome::Protocol
        | Outcome::Other => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::UnixMs;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn endpoints(count: u16) -> std::sync::Arc<Endpoints> {
        Endpoints::new((1..=count).map(|port| ("127.0.0.1".to_owned(), port)).collect())
    }

    #[test]
    fn only_those_that_are_named_are_judged() {
        let endpoints = endpoints(3);
        for _ in 0..3 {
            seen(&endpoints, &[(address(2), false), (address(9), false)]);
        }
        let out: Vec<bool> = endpoints.list().iter().map(|it| it.is_out()).collect();
        assert_eq!(out, [false, true, false]);
    }

    proptest! {
        #[test]
        fn whatever_is_seen_there_is_one_to_use(
            count in 1_u16..5,
            rounds in proptest::collection::vec(proptest::collection::vec(any::<bool>(), 5), 0..40),
        ) {
            let endpoints = endpoints(count);
            for round in rounds {
                let results: Vec<_> = round.iter().zip(1..).map(|(good, port)| (address(port), *good)).collect();
                seen(&endpoints, &results);
                let list = endpoints.list();
                prop_assert!(list.iter().any(|it| !it.is_out()));
                let all_down = list.iter().all(|it| it.is_down());
                prop_assert!(list.iter().all(|it| it.is_out() == (it.is_down() && !all_down)));
                prop_assert!(endpoints.pick(UnixMs(0), &[]).is_some());
            }
        }
    }
}
