//! Looks upstream names up in the background; the last answer serves until a better one is there.

use std::sync::Weak;
use std::time::Duration;

use crate::wire::balance::Endpoints;

/// Time between two look-ups; `getaddrinfo` does not tell the TTL, and Kubernetes' own is 5 s.
const EVERY: Duration = Duration::from_secs(5);
/// The same while a name has no address at all.
const EVERY_WHILE_UNKNOWN: Duration = Duration::from_secs(1);
/// One look-up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks up the names of `endpoints` once. A name that fails keeps the addresses that it had.
/// Gives the names that failed, with the reason.
pub async fn look_up(endpoints: &Endpoints) -> Vec<String> {
    let mut failed = Vec::new();
    let mut answers = Vec::new();
    for (host, port) in endpoints.names() {
        let asked = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host.as_str(), *port)));
        let answer = match asked.await {
            Ok(Ok(addresses)) => Some(addresses.collect()),
            Ok(Err(error)) => {
                failed.push(format!("{host}: {error}"));
                None
            }
            Err(_) => {
                failed.push(format!("{host}: no answer in {PATIENCE:?}"));
                None
            }
        };
        answers.push(answer);
    }
    endpoints.learn(answers);
    failed
}

/// Goes on looking up for as long as somebody uses the endpoints.
pub async fn follow(endpoints: Weak<Endpoints>) {
    let mut told = false;
    loop {
        let Some(known) = endpoints.upgrade().map(|it| !it.list().is_empty()) else { return };
        tokio::time::sleep(if known { EVERY } else { EVERY_WHILE_UNKNOWN }).await;
        let Some(endpoints) = endpoints.upgrade() else { return };
        let failed = look_up(&endpoints).await;
        if failed.is_empty() {
            told = false;
        } else if !told {
            told = true;
            tracing::warn!(
                names = failed.join("; "),
                stale = !endpoints.list().is_empty(),
                "name look-up failed"
            );
        }
    }
}
