//! What a gate is started with: a config file that grows by the line, environment, inherited sockets.

use std::fmt::Write as _;
use std::net::TcpListener;

use super::gateway::Gateway;
use super::upstream::RawUpstream;

/// A gate that has not been started.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) whole: Option<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) inherited: Option<TcpListener>,
    /// Arguments in place of `run FILE`.
    pub(crate) arguments: Option<Vec<String>>,
    /// A line of shell before the gate.
    pub(crate) first: Option<&'static str>,
    /// Nobody reads the gate's standard output.
    pub(crate) deaf: bool,
    /// The config file below the gate's folder, when the test lays it out itself.
    pub(crate) file: Option<String>,
    top: Vec<String>,
    services: Vec<String>,
    routes: Vec<String>,
    keys: Vec<String>,
}

impl Setup {
    /// A config of this text; `{dir}` stands for the gate's own folder.
    pub(crate) fn text(yaml: impl Into<String>) -> Self {
        Self { whole: Some(yaml.into()), ..Self::default() }
    }

    /// One covered service, and everything goes to it.
    pub(crate) fn in_front_of(name: &str, upstream: &RawUpstream) -> Self {
        Self::default()
            .service(name, upstream)
            .route(&format!("path: /, service: {name}, access: public"))
    }

    /// One more covered service.
    pub(crate) fn service(self, name: &str, upstream: &RawUpstream) -> Self {
        self.service_with(name, upstream, "maintenance: covered")
    }

    /// One more service with these further fields (the inside of a YAML flow map).
    pub(crate) fn service_with(self, name: &str, upstream: &RawUpstream, more: &str) -> Self {
        self.service_at(name, &upstream.url(), more)
    }

    /// One more service at a URL.
    pub(crate) fn service_at(self, name: &str, url: &str, more: &str) -> Self {
        self.service_at_all(name, &[url.to_owned()], more)
    }

    /// One more service with several upstreams.
    pub(crate) fn service_at_all(mut self, name: &str, urls: &[String], more: &str) -> Self {
        // Tests of other things compile no plugins, and no second generation follows the first.
        let health = if more.contains("health:") { "" } else { ", health: { policy: native }" };
        let more = format!("{more}{health}");
        let more = more.trim_start_matches(',');
        self.services.push(format!("{name}: {{ upstreams: {urls:?}, {more} }}"));
        self
    }

    /// Replaces all services but keeps their routes.
    pub(crate) fn only_service(mut self, name: &str, upstream: &RawUpstream, more: &str) -> Self {
        self.services.clear();
        self.service_with(name, upstream, more)
    }

    /// One more route (the inside of a YAML flow map).
    pub(crate) fn route(mut self, fields: &str) -> Self {
        self.routes.push(fields.to_owned());
        self
    }

    /// No route so far.
    pub(crate) fn without_routes(mut self) -> Self {
        self.routes.clear();
        self
    }

    /// A key with scope `admin`, from the environment.
    pub(crate) fn key(self, key: &str) -> Self {
        self.key_with(key, "scopes: [admin]")
    }

    /// A key with these further fields. Its name is `key-N`, counted from 0.
    pub(crate) fn key_with(mut self, key: &str, more: &str) -> Self {
        let (index, name) = (self.keys.len(), format!("HEADGATE_TEST_KEY_{}", self.keys.len()));
        self.keys.push(format!("name: key-{index}, key: \"env:{name}\", {more}"));
        self.env(&name, key)
    }

    /// A key that comes from elsewhere (the inside of a YAML flow map).
    pub(crate) fn key_line(mut self, fields: &str) -> Self {
        self.keys.push(fields.to_owned());
        self
    }

    /// One more environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One more line at the top of the config.
    pub(crate) fn with(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// The data listener is inherited as `LISTEN_FDS` has it.
    pub(crate) fn inherit(mut self, listener: TcpListener) -> Self {
        self.inherited = Some(listener);
        self
    }

    /// Its disk may be full: `Gateway::disk_ends` does not kill it.
    pub(crate) fn on_a_small_disk(mut self) -> Self {
        self.first = Some("trap '' XFSZ");
        self
    }

    /// Nobody reads the gate's standard output, so that its pipe fills.
    pub(crate) fn deaf(mut self) -> Self {
        self.deaf = true;
        self
    }

    /// The config file is at this place below the gate's folder, and the test has put it there.
    pub(crate) fn at(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// The config file.
    pub(crate) fn yaml(&self) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let has = |name: &str| self.top.iter().any(|it| it.starts_with(&format!("{name}:")));
        let mut yaml = String::new();
        if !has("listeners") {
            yaml.push_str(
                "listeners: { data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: 127.0.0.1:0 }\n",
            );
        }
        if !has("cores") {
            yaml.push_str("cores: 1\n");
        }
        yaml.push_str("state: \"{dir}/state\"\n");
        if !has("alerts") {
            yaml.push_str("alerts: { formatter: native }\n");
        }
        for line in &self.top {
            let _ = writeln!(yaml, "{line}");
        }
        section(&mut yaml, "services", "  ", &self.services);
        let flow = |it: &String| format!("- {{ {it} }}");
        section(&mut yaml, "routes", "  ", &self.routes.iter().map(flow).collect::<Vec<_>>());
        section(&mut yaml, "keys", "  ", &self.keys.iter().map(flow).collect::<Vec<_>>());
        yaml
    }

    /// Starts the binary and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        Gateway::start(self)
    }
}

fn section(yaml: &mut String, name: &str, indent: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(yaml, "{name}:");
    for line in lines {
        let _ = writeln!(yaml, "{indent}{line}");
    }
}
