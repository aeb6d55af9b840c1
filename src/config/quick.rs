//! A config without a file: everything goes to one upstream.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::findings::{Finding, Problem, Problems, Source, Spot};
use super::lower::listeners::overlap;
use super::lower::{Wrong, words};
use super::{
    AdminListen, Config, Key, KeySource, Listeners, OnRevoke, PathMatch, PluginUse, Retry, Route,
    Service, defaults,
};
use crate::model::{Access, Coverage, SCOPE_ADMIN, ServiceId};

/// Name of the only service.
const UPSTREAM: &str = "upstream";
/// Name of the only key.
const KEY: &str = "default";

/// What the command line says; texts as they stand there.
#[derive(Clone, Debug, Default)]
pub struct QuickArgs {
    /// `--to`: the upstream.
    pub to: String,
    /// `--listen`: address of the data listener.
    pub listen: Option<String>,
    /// `--ops`: address or `off`.
    pub ops: Option<String>,
    /// `--admin`: address, `unix:PATH` or `off`.
    pub admin: Option<String>,
    /// `--key`: reference to a key.
    pub key: Option<String>,
    /// `--state`: the state directory.
    pub state: Option<PathBuf>,
}

/// A config that forwards everything to one covered service named `upstream`. With a key, every request and the whole
/// admin API need it (scope `admin`, no bypass of maintenance); without one, nothing does, and the admin API exists
/// only on the admin listener. Bodies have no limit, because there is no file to raise one in.
///
/// # Errors
/// Everything that is wrong with the arguments.
pub fn for_upstream(args: &QuickArgs) -> Result<Config, Vec<Finding>> {
    let problems = Problems::default();
    let cwd = Path::new("");
    let say = Say(&problems);
    let upstream = say.word("--to", Some(&args.to), words::upstream);
    let data = say.word("--listen", args.listen.as_deref(), words::address);
    let ops = say.word("--ops", args.ops.as_deref(), words::address_or_off);
    let admin = say.word("--admin", args.admin.as_deref(), |it| words::admin_listen(it, cwd));
    let admin = admin.unwrap_or(Some(AdminListen::Tcp(defaults::ADMIN)));
    let source = say.word("--key", args.key.as_deref(), |it| words::key_source(it, cwd));
    let outside = matches!(&admin, Some(AdminListen::Tcp(it)) if !it.ip().is_loopback());
    if outside && args.key.is_none() {
        let message = "the admin listener is open to the network and no key could open it";
        let expected = "a loopback address, `unix:PATH`, `off`, or a key (`--key env:NAME`)";
        say.wrong("--admin", Wrong::new(message, expected));
    }
    let data = data.unwrap_or(defaults::DATA);
    let ops = ops.unwrap_or(Some(defaults::OPS));
    say.refuse_doubles(data, ops, admin.as_ref());
    let findings = problems.findings(&Source::new("", Path::new("command line")));
    let (Some(upstream), true) = (upstream, findings.is_empty()) else { return Err(findings) };
    let listeners = Listeners { data: vec![data], ops, admin, admin_needs_key: outside };
    let state_dir = args.state.clone().unwrap_or_else(|| PathBuf::from(defaults::STATE));
    let mut service = Service::with_defaults(UPSTREAM);
    service.upstreams.push(upstream);
    service.max_body_bytes = None;
    Ok(config(listeners, state_dir, service, source))
}

fn config(
    listeners: Listeners,
    state_dir: PathBuf,
    service: Service,
    source: Option<KeySource>,
) -> Config {
    let keyed = source.is_some();
    let scope = || String::from(SCOPE_ADMIN);
    let key = |source| Key {
        name: String::from(KEY),
        source,
        scopes: vec![scope()],
        not_before: None,
        expires_at: None,
    };
    let route = Route {
        host: None,
        path: PathMatch::Prefix(String::new()),
        methods: Vec::new(),
        access: if keyed { Access::Key(scope()) } else { Access::Public },
        service: ServiceId(0),
        retry: Retry::Unsent,
        on_revoke: OnRevoke::Close,
        number: None,
        filters: Vec::new(),
    };
    Config {
        listeners,
        trusted_proxies: Vec::new(),
        prefix: String::new(),
        cores: None,
        state_dir,
        services: vec![service],
        routes: vec![route],
        keys: source.map(key).into_iter().collect(),
        // The rest of the admin prefix goes to the upstream by the one route, as everything else does.
        admin_service: None,
        admin_on_data: keyed,
        status_needs_key: keyed,
        maintenance: defaults::MAINTENANCE,
        cors: None,
        limits: defaults::LIMITS,
        timeouts: defaults::TIMEOUTS,
        log: defaults::LOG,
        plugins: Vec::new(),
        formatter: PluginUse::builtin(defaults::FORMATTER, String::from("alerts.formatter")),
        alerts: defaults::alerts(),
    }
}

impl Service {
    /// A covered service without upstreams and with every default.
    pub(super) fn with_defaults(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            upstreams: Vec::new(),
            coverage: Coverage::Covered,
            forward_key: false,
            max_in_flight: defaults::MAX_IN_FLIGHT,
            max_body_bytes: Some(defaults::MAX_BODY),
            timeouts: defaults::SERVICE_TIMEOUTS,
            policy: PluginUse::builtin(defaults::POLICY, format!("services.{name}.health.policy")),
            watching: defaults::WATCHING,
        }
    }
}

/// Says what is wrong with an argument.
struct Say<'p>(&'p Problems);

impl Say<'_> {
    fn word<T>(
        &self,
        flag: &str,
        text: Option<&str>,
        read: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        read(text?).map_err(|wrong| self.wrong(flag, wrong)).ok()
    }

    fn wrong(&self, flag: &str, wrong: Wrong) {
        let spot = Spot { path: flag.to_owned(), ..Spot::default() };
        self.0.push(
            Problem::error(spot, wrong.message).expected(wrong.expected).nearest(wrong.nearest),
        );
    }

    fn refuse_doubles(
        &self,
        data: SocketAddr,
        ops: Option<SocketAddr>,
        admin: Option<&AdminListen>,
    ) {
        let admin = match admin {
            Some(AdminListen::Tcp(it)) => Some(*it),
            _ => None,
        };
        let mut taken = vec![data];
        for (flag, address) in [("--ops", ops), ("--admin", admin)] {
            let Some(address) = address else { continue };
            if taken.iter().any(|it| overlap(*it, address)) {
                let message = format!("`{address}` is already taken by another listener");
                self.wrong(flag, Wrong::new(message, "an address of its own"));
            }
            taken.push(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{QuickArgs, for_upstream};
    use crate::config::findings::render;
    use crate::config::{KeySource, PathMatch};
    use crate::model::{Access, Coverage};

    fn args(to: &str) -> QuickArgs {
        QuickArgs { to: to.to_owned(), ..QuickArgs::default() }
    }

    #[test]
    fn without_a_key_all_may_pass_and_the_admin_api_is_on_its_listener_only() {
        let config = for_upstream(&args("http://127.0.0.1:9")).unwrap();
        assert_eq!(config.routes[0].path, PathMatch::Prefix(String::new()));
        assert_eq!(config.routes[0].access, Access::Public);
        assert_eq!(config.services[0].name, "upstream");
        assert_eq!(config.services[0].coverage, Coverage::Covered);
        assert_eq!(config.services[0].max_body_bytes, None);
        assert!(!config.admin_on_data && config.keys.is_empty() && config.admin_service.is_none());
    }

    #[test]
    fn with_a_key_everything_needs_it_and_it_bypasses_nothing() {
        let key = Some(String::from("env:K"));
        let config = for_upstream(&QuickArgs { key, ..args("http://a") }).unwrap();
        assert_eq!(config.routes[0].access, Access::Key(String::from("admin")));
        assert_eq!(config.keys[0].source, KeySource::Env(String::from("K")));
        assert_eq!(config.keys[0].scopes, ["admin"]);
        assert!(config.admin_on_data && config.status_needs_key);
        // It would make `/api/admin/health` public.
        assert!(config.admin_service.is_none());
    }

    #[test]
    fn every_mistake_is_found_and_no_key_is_shown() {
        let wrong = QuickArgs {
            listen: Some(String::from(":8080")),
            ops: Some(String::from("9901")),
            admin: Some(String::from("0.0.0.0:1")),
            key: Some(String::from("hunter2")),
            ..args("app:8000")
        };
        let Err(findings) = for_upstream(&wrong) else { panic!("it is wrong") };
        let flags: Vec<_> = findings.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(flags, ["--to", "--listen", "--ops", "--key"]);
        let text = render(&findings);
        assert!(text.contains("did you mean `http://app:8000`?"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn an_open_admin_listener_needs_a_key() {
        let admin = Some(String::from("0.0.0.0:9902"));
        let open = QuickArgs { admin, ..args("http://a") };
        let Err(findings) = for_upstream(&open) else { panic!("it is open") };
        assert_eq!(findings[0].path, "--admin");
        let key = Some(String::from("env:K"));
        let config = for_upstream(&QuickArgs { key, ..open }).unwrap();
        assert!(config.listeners.admin_needs_key);
    }
}
