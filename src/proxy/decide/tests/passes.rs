//! What passes while the gate answers for a service: the path of its probe, where the config says so.

use super::Request;
use crate::config::health::{Expect, HttpProbe, Probe, ProbeKind};
use crate::config::{Config, defaults};
use crate::generation::fixture::config;

/// Signal Engine's health passes in maintenance; reports have a key.
fn passing(path: &str) -> Config {
    let mut config = config("/dev");
    let path = path.to_owned();
    let mut probe = HttpProbe { path, ..http_probe() };
    probe.method = "POST".to_owned();
    let watching = &mut config.services[0].watching;
    watching.passes_in_maintenance = true;
    watching.probe = Some(Probe {
        kind: ProbeKind::Http(Box::new(probe)),
        interval: defaults::PROBE_INTERVAL,
        unhealthy_interval: defaults::PROBE_UNHEALTHY_INTERVAL,
        timeout: defaults::PROBE_TIMEOUT,
    });
    config
}

fn http_probe() -> HttpProbe {
    let statuses = vec![defaults::PROBE_STATUSES];
    HttpProbe {
        method: String::new(),
        path: String::new(),
        host: None,
        headers: Vec::new(),
        port: None,
        tls: None,
        expect: Expect { statuses, json: None, body: None, latency: None },
    }
}

#[test]
fn the_path_of_the_probe_passes_in_maintenance_and_nothing_else() {
    for (line, expected) in [
        ("GET /dev/api/health on", "signal-engine"),
        ("HEAD /dev/api/health on", "signal-engine"),
        ("GET /dev/api/health signal-on", "signal-engine"),
        ("GET /dev/api/%68ealth on", "signal-engine"),
        ("GET /dev/api/./health on", "signal-engine"),
        ("GET /dev/api/health key:bypass on", "signal-engine as operator"),
        ("POST /dev/api/health on", "maintenance"),
        ("OPTIONS /dev/api/health on", "maintenance"),
        ("OPTIONS /dev/api/health cors:GET on", "preflight"),
        ("GET /dev/api/health upgrade on", "maintenance"),
        ("GET /dev/api/health body on", "maintenance"),
        ("GET /dev/api/health override:X-HTTP-Method-Override on", "maintenance"),
        ("GET /dev/api/health/ on", "maintenance"),
        ("GET /dev/api/health/x on", "maintenance"),
        ("GET /dev/api/Health on", "maintenance"),
        ("GET /dev/api/health;x on", "maintenance"),
        ("GET /dev/api/health%2F on", "maintenance"),
        ("GET /dev/api/x%2F..%2Fhealth on", "maintenance"),
        ("GET /dev/api on", "maintenance"),
        ("GET /dev/api/x on", "maintenance"),
    ] {
        // The probe's own query says nothing about the path.
        for path in ["/dev/api/health", "/dev/api/health?full=1"] {
            assert_eq!(Request::parse(line, "").decide(passing(path)), expected, "{line}");
        }
    }
    // A key is needed where the route says so.
    for (line, expected) in [
        ("GET /dev/api/reports/health on", "401"),
        ("GET /dev/api/reports/health key:admin on", "403"),
        ("GET /dev/api/reports/health key:bypass on", "signal-engine as operator"),
        ("GET /dev/api/reports/1 on", "maintenance"),
    ] {
        let config = passing("/dev/api/reports/health");
        assert_eq!(Request::parse(line, "").decide(config), expected, "{line}");
    }
    let mut covered = passing("/dev/api/health");
    covered.services[0].watching.passes_in_maintenance = false;
    assert_eq!(Request::parse("GET /dev/api/health on", "").decide(covered), "maintenance");
}
