//! From the command line to the report.

use clap::{Args as _, FromArgMatches as _};

use super::{Cmd, Report, explain};
use crate::config::{Config, PathMatch, PluginUse, Route};
use crate::generation::fixture::{ADMIN, NOW, config};

fn explained(arguments: &str, config: Config) -> anyhow::Result<Report> {
    // `_` stands for a blank inside an argument.
    let words = arguments.split_whitespace().map(|it| it.replace('_', " "));
    let command = Cmd::augment_args(clap::Command::new("explain"));
    let matches =
        command.try_get_matches_from(std::iter::once("explain".to_owned()).chain(words))?;
    explain(&Cmd::from_arg_matches(&matches)?, config, NOW)
}

/// Arguments, decision and status, why, service.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("GET /api/x", "forward", "the path is public", "signal-engine"),
    ("GET http://a.example/api/x?q=1", "forward", "the path is public", "signal-engine"),
    ("GET /api/x --maintenance on", "refuse 503", "Maintenance mode enabled", "signal-engine"),
    (
        "GET /api/x --maintenance signal-engine",
        "refuse 503",
        "Maintenance mode enabled",
        "signal-engine",
    ),
    (
        "GET /api/x --maintenance on --as operator",
        "forward",
        "the key's scope maintenance:bypass passes the maintenance",
        "signal-engine",
    ),
    ("GET /api/admin/x", "refuse 401", "Invalid or missing API Key", "controller"),
    (
        "GET /api/admin/x --as snapper",
        "refuse 403",
        "the key lacks the scope `admin`",
        "controller",
    ),
    ("GET /api/admin/x --as old", "refuse 401", "Invalid or missing API Key", "controller"),
    ("GET /api/admin/x --as stockflow", "forward", HAS_ALL, "controller"),
    ("GET /api/admin/x -H X-API-KEY:admin-key-0123456789", "forward", HAS_ALL, "controller"),
    (
        "GET /api/admin/maintenance/status",
        "admin",
        "the gate answers maintenance status itself, without a key",
        "headgate (maintenance/status)",
    ),
    (
        "OPTIONS /api/x -H Origin:_https://a.example -H Access-Control-Request-Method:_GET",
        "forward",
        "a preflight passes without a key",
        "signal-engine",
    ),
    ("OPTIONS *", "options", "the gate answers for itself as a whole", ""),
    (
        "GET /api/x?next=http://a.example/api/admin/x",
        "forward",
        "the path is public",
        "signal-engine",
    ),
    (
        "GET /api/admin/x?next=https://a.example/api/x",
        "refuse 401",
        "Invalid or missing API Key",
        "controller",
    ),
    ("GET HTTPS://a.example?q=1", "refuse 404", "no route leads from this path", ""),
    ("GET api/x", "refuse 400", NO_TARGET, ""),
    ("GET ftp://a.example/api/x", "refuse 400", NO_TARGET, ""),
    ("GET http://a.example\\api/x", "refuse 400", NO_TARGET, ""),
    ("GET /nowhere", "refuse 404", "no route leads from this path", ""),
    ("DELETE /api/read/x", "refuse 405", "this path takes GET, HEAD", ""),
];

const NO_TARGET: &str = "the target is neither a path, nor an http(s) URL, nor * with OPTIONS";

const HAS_ALL: &str = "the key has every scope that is needed";

#[test]
fn the_report_says_what_and_why() {
    for (arguments, decision, why, service) in ROWS {
        let report = explained(arguments, config("")).unwrap();
        let status = report.status.map_or_else(String::new, |it| format!(" {it}"));
        assert_eq!(format!("{}{status}", report.decision), *decision, "{arguments}");
        assert_eq!(report.why, *why, "{arguments}");
        assert_eq!(report.service.as_deref().unwrap_or_default(), *service, "{arguments}");
    }
}

#[test]
fn other_readings_are_named_as_the_reason() {
    let report = explained("GET /api/x/..%2fadmin/y", config("")).unwrap();
    assert_eq!(report.path.as_deref(), Some("/api/x/..%2Fadmin/y"));
    assert_eq!(report.needs.len(), 1);
    assert_eq!(report.needs[0].scope, "admin");
    assert!(report.needs[0].because.contains("/api/admin"), "{:?}", report.needs);
}

#[test]
fn a_question_of_a_trusted_proxy_is_answered_in_full() {
    let trusting = || Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..config("") };
    let asks = "GET /forward-auth --peer 10.0.0.1 -H X-Forwarded-Method:GET -H X-Forwarded-Uri:";
    let report = explained(&format!("{asks}/api/x"), trusting()).unwrap();
    assert_eq!((report.decision, report.status), ("forward-auth", None));
    let report = explained(&format!("{asks}/api/admin/x"), trusting()).unwrap();
    assert_eq!((report.decision, report.status), ("refuse", Some(401)));
}

#[test]
fn a_forgotten_prefix_is_pointed_out() {
    for (path, hint) in [("/api/x", true), ("/api/admin/x", true), ("/nowhere", false)] {
        let report = explained(&format!("GET {path}"), config("/dev")).unwrap();
        assert_eq!(report.status, Some(404), "{path}");
        let hints = report.warnings.iter().filter(|it| it.contains(&format!("/dev{path}"))).count();
        assert_eq!(hints == 1, hint, "{path}: {:?}", report.warnings);
    }
}

#[test]
fn heads_are_judged_as_on_the_data_path() {
    for (arguments, code_part) in [
        ("GET /api/x -H Host:a -H Host:b", "host"),
        ("GET /api/x -H Content-Length:1 -H Transfer-Encoding:chunked", "te"),
    ] {
        let report = explained(arguments, config("")).unwrap();
        assert_eq!(report.status, Some(400), "{arguments}");
        assert!(report.code.is_some_and(|it| it.contains(code_part)), "{:?}", report.code);
    }
}

#[test]
fn no_form_of_the_report_has_the_key() {
    let report = explained(&format!("GET /api/admin/x -H X-API-KEY:{ADMIN}"), config("")).unwrap();
    assert_eq!(report.key.name.as_deref(), Some("stockflow"));
    for text in [report.to_string(), serde_json::to_string(&report).unwrap(), format!("{report:?}")]
    {
        assert!(!text.contains(ADMIN), "{text}");
    }
}

#[test]
fn a_key_that_cannot_be_read_here_is_a_warning_and_opens_nothing() {
    let mut config = config("");
    config.keys[0].source = crate::config::KeySource::File("/nowhere/key".into());
    config.keys[1].source = crate::config::KeySource::File("/nowhere/other".into());
    let report = explained("GET /api/x", config).unwrap();
    assert_eq!(report.decision, "forward");
    assert_eq!(report.warnings.len(), 2);
    assert!(report.warnings[0].contains("/nowhere/key"), "{:?}", report.warnings);
}

#[test]
fn arguments_that_name_nothing_are_errors() {
    for (arguments, word) in [
        ("GET /api/x --as nobody", "stockflow, snapper"),
        ("GET /api/x --maintenance nothing", "no service"),
        ("GET /api/x --maintenance kubesnap", "exempt"),
        ("GET /api/x -H NoColon", "no colon"),
    ] {
        let error = explained(arguments, config("")).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn text_shows_each_step_on_a_line_of_its_own() {
    let report = explained("GET /api//x --as stockflow", config("")).unwrap();
    assert_eq!(
        report.to_string(),
        "decision  forward: the path is public\n\
         path      /api/x  (sent as /api//x)\n\
         route     routes[0] /api/*, public: any host, the longest prefix\n\
         key       stockflow (scopes: admin, kubesnap)\n\
         coverage  covered, no maintenance is on\n\
         upstream  signal-engine http://127.0.0.1:8000\n\
         client    127.0.0.1 (no trusted proxy: X-Forwarded-* is replaced)\n"
    );
}

#[test]
fn the_filters_of_the_route_are_named_and_not_run() {
    let mut config = config("");
    let at = String::from("routes[0].filters[0]");
    let open = PluginUse { fail_open: true, ..PluginUse::builtin("tenant-check", at.clone()) };
    config.routes[0].filters = vec![PluginUse::builtin("require-header", at), open];
    config.routes[0].number = Some(0);
    let report = explained("GET /api/x", config.clone()).unwrap();
    assert_eq!(report.decision, "forward");
    let line = "filters   require-header (fails closed), tenant-check (fails open); not run here\n";
    assert!(report.to_string().contains(line), "{report}");
    // What a server may read as the filtered path is asked about, too.
    let wide = Route { path: PathMatch::Prefix(String::new()), ..config.routes[0].clone() };
    config.routes.push(Route { filters: Vec::new(), number: Some(1), ..wide });
    for (path, is_filtered) in [("/api%2Fx", true), ("/API/x", true), ("/apix", false)] {
        let report = explained(&format!("GET {path}"), config.clone()).unwrap();
        assert_eq!(report.to_string().contains(line), is_filtered, "{report}");
    }
}
