//! nginx and curl from the distribution as real peers.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::gateway::TempDir;
use crate::support::peers::find;
use crate::support::{Gateway, OPERATOR, READER, RawClient, Setup, Upstream, until};

/// A running nginx with a config of its own.
#[derive(Debug)]
struct Nginx {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// Starts with these lines within `server`.
    fn start(binary: &Path, server: &str) -> Self {
        Self::start_with(binary, |port| format!("server {{ listen 127.0.0.1:{port}; {server} }}"))
    }

    /// Starts with these lines within `http`; a port that somebody took meanwhile is tried again.
    fn start_with(binary: &Path, http: impl Fn(u16) -> String) -> Self {
        for _ in 0..5 {
            if let Some(nginx) = Self::try_start(binary, &http) {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn try_start(binary: &Path, http: &impl Fn(u16) -> String) -> Option<Self> {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("bound").port()
        };
        let dir = TempDir::new();
        let path = dir.0.display();
        fs::create_dir_all(dir.0.join("www")).expect("a temp folder");
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|it| format!("{it}_temp_path {path}/{it};"))
            .join(" ");
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let conf = format!(
            "{user} daemon off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; {temp} {} }}\n",
            http(port)
        );
        fs::write(dir.0.join("nginx.conf"), conf).expect("a temp folder");
        let mut child = Command::new(binary)
            .args(["-p", &path.to_string(), "-c", "nginx.conf", "-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let address = ([127, 0, 0, 1], port).into();
        let mut ended = false;
        until("nginx listens", || {
            ended = child.try_wait().expect("our child").is_some();
            ended
                || std::net::TcpStream::connect_timeout(&address, crate::support::wait::PATIENCE)
                    .is_ok()
        });
        let nginx = Self { child, port, dir };
        (!ended).then_some(nginx)
    }

    fn client(&self) -> RawClient {
        RawClient::connect(([127, 0, 0, 1], self.port).into())
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

#[test]
fn nginx_as_an_upstream_serves_files_ranges_and_conditions() {
    let Some(binary) = find("nginx", "nginx as an upstream") else { return };
    let nginx =
        Nginx::start(&binary, "root www; keepalive_timeout 2s; location = /gone { return 410; }");
    let body = "0123456789".repeat(50_000);
    fs::write(nginx.dir.0.join("www/file.txt"), &body).expect("a temp folder");
    let gateway = Setup::default()
        .service_at("nginx", &nginx.url(), "maintenance: covered")
        .route("path: /, service: nginx, access: public")
        .start();
    let whole = gateway.get("/file.txt").send().expect_status(200);
    assert!(whole.text() == body);
    let etag = whole.header("ETag").expect("an ETag").to_owned();
    gateway.get("/file.txt").header("If-None-Match", &etag).send().expect_status(304);
    gateway
        .get("/file.txt")
        .header("Range", "bytes=3-6")
        .send()
        .expect_status(206)
        .expect_text("3456");
    gateway.request("HEAD", "/file.txt").send().expect_header("Content-Length", "500000");
    gateway.get("/gone").send().expect_status(410);
    gateway.get("/none").send().expect_status(404);
}

#[test]
fn nginx_in_front_asks_by_auth_request() {
    let Some(binary) = find("nginx", "nginx in front with auth_request") else { return };
    let upstream = Upstream::named("behind");
    let gateway = Gateway::in_front_of("a", &upstream)
        .with("trustedProxies: [127.0.0.1]")
        .route("path: /vault/, service: a, access: \"key:vault\"")
        .key(OPERATOR)
        .key_with(READER, "scopes: [vault]")
        .start();
    let (gate, behind) = (gateway.data, upstream.address);
    let nginx = Nginx::start(
        &binary,
        &format!(
            "proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             location / {{ auth_request /ask; proxy_pass http://{behind}; }}\n\
             location = /ask {{ internal; proxy_pass http://{gate}/forward-auth;\n\
               proxy_pass_request_body off; proxy_set_header Content-Length \"\";\n\
               proxy_set_header X-Forwarded-Method $request_method;\n\
               proxy_set_header X-Forwarded-Uri $request_uri;\n\
               proxy_set_header X-Forwarded-Host $host;\n\
               proxy_set_header X-Forwarded-Proto $scheme;\n\
               proxy_set_header X-Forwarded-For $remote_addr; }}\n"
        ),
    );
    let ask = |path: &str, fields: &str| nginx.client().get(path, fields).response().status;
    assert_eq!(ask("/open", ""), 200);
    assert_eq!(ask("/vault/x", ""), 401);
    assert_eq!(ask("/vault/x", &format!("X-API-Key: {READER}\r\n")), 200);
    assert_eq!(ask("/vault/x", &format!("X-API-Key: {OPERATOR}\r\n")), 403);
    assert_eq!(ask("/open/../vault/x", ""), 403);
}

#[test]
fn nginx_in_front_as_a_plain_proxy_is_believed_about_the_client() {
    let Some(binary) = find("nginx", "nginx in front as a proxy") else { return };
    let upstream = Upstream::named("behind");
    let gateway = Gateway::in_front_of("a", &upstream).with("trustedProxies: [127.0.0.1]").start();
    let nginx = Nginx::start(
        &binary,
        &format!(
            "location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header Host $host; proxy_set_header X-Forwarded-For 203.0.113.5;\n\
             proxy_set_header X-Forwarded-Proto https; }}",
            gateway.data
        ),
    );
    nginx.client().get("/x", "").response().expect_text("behind");
    let seen = upstream.last();
    assert_eq!(seen.header("X-Forwarded-For"), Some("203.0.113.5, 127.0.0.1"));
    assert_eq!(seen.header("X-Forwarded-Proto"), Some("https"));
    assert_eq!(seen.header("Host"), Some("gate.test"));
}

fn curl(binary: &Path, arguments: &[&str]) -> (String, bool) {
    let output = Command::new(binary).args(["-sS", "--max-time", "20"]).args(arguments).output();
    let output = output.expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text + &String::from_utf8_lossy(&output.stderr), output.status.success())
}

#[test]
fn curl_uploads_downloads_and_is_refused_as_it_should_be() {
    let Some(binary) = find("curl", "curl as a client") else { return };
    let upstream = Upstream::by(|it| {
        let body = it.body();
        it.respond(200, "Content-Type: text/plain\r\n", format!("{} bytes", body.len()).as_bytes());
    });
    let gateway = Gateway::in_front_of("a", &upstream)
        .route("path: /vault/, service: a, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    let dir = TempDir::new();
    let file = dir.0.join("upload");
    fs::write(&file, vec![b'u'; 3 << 20]).expect("a temp folder");
    let (upload, url) = (file.display().to_string(), format!("http://{}", gateway.data));
    let up = format!("{url}/up");
    let put = |more: &[&str]| {
        let arguments = [&["-T", upload.as_str()], more, &[up.as_str()]].concat();
        curl(&binary, &arguments)
    };
    assert_eq!(put(&[]), ("3145728 bytes".to_owned(), true));
    assert_eq!(put(&["-H", "Transfer-Encoding: chunked"]), ("3145728 bytes".to_owned(), true));
    assert_eq!(put(&["-H", "Expect: 100-continue"]), ("3145728 bytes".to_owned(), true));
    assert_eq!(put(&["--http1.0"]), ("3145728 bytes".to_owned(), true));
    let key = format!("X-API-Key: {OPERATOR}");
    let vault = format!("{url}/vault/x");
    assert_eq!(curl(&binary, &["-H", &key, &vault]), ("0 bytes".to_owned(), true));
    assert_eq!(curl(&binary, &["-o", "/dev/null", "-w", "%{http_code}", &vault]).0, "401");
    let (both, _) = curl(&binary, &[&format!("{url}/1"), &format!("{url}/2")]);
    assert_eq!(both, "0 bytes0 bytes");
    // Without the right to reuse, curl opens a connection per URL; one gate connection served both.
    assert!(upstream.connections() <= 6, "{}", upstream.connections());
}

/// `deploy/nginx/auth-request.conf` as it stands, but for its addresses.
#[test]
fn the_nginx_config_that_is_shipped_returns_every_refusal_as_it_is() {
    let Some(binary) = find("nginx", "the nginx config of deploy/") else { return };
    let engine = Upstream::named("engine");
    let gateway = Setup::default()
        .with("prefix: /dev")
        .with("trustedProxies: [127.0.0.1]")
        .service("signal-engine", &engine)
        .route("path: \"{prefix}/api/\", service: signal-engine, access: public")
        .route("path: \"{prefix}/api/vault/\", service: signal-engine, access: \"key:vault\"")
        .key(OPERATOR)
        .key_with(READER, "scopes: [vault]")
        .start();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx/auth-request.conf");
    let shipped = fs::read_to_string(shipped).expect("the config");
    let nginx = Nginx::start_with(&binary, |port| {
        let moved = shipped.replace("127.0.0.1:8080", &gateway.data.to_string());
        let moved = moved.replace("127.0.0.1:8000", &engine.address.to_string());
        moved.replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
    });
    let ask = |path: &str, fields: &str| nginx.client().get(path, fields).response();
    let with = |key: &str| format!("X-API-Key: {key}\r\nX-Headgate-Client: root\r\n");

    ask("/dev/api/x", &with(READER)).expect_text("engine");
    let seen = engine.last();
    // The service does not say `forwardKey`, and a client cannot say who it is.
    assert_eq!(seen.header("X-API-Key"), None);
    assert_eq!(seen.header("X-Headgate-Client"), Some("key-1"));
    let refused = ask("/dev/api/vault/x", "").expect_status(401);
    assert!(
        refused.header("WWW-Authenticate").is_some() && refused.field("request_id").is_string()
    );
    ask("/dev/api/vault/x", &with(OPERATOR)).expect_status(403);
    ask("/dev/api/vault/x", &with(READER)).expect_text("engine");
    ask("/dev/api/admin/maintenance/on", "").expect_status(401);
    ask("/dev/api/admin/maintenance/on", &with(OPERATOR)).expect_field("status", "on");
    let closed = ask("/dev/api/x", "").expect_status(503);
    assert_eq!(closed.header("Retry-After"), Some("30"));
    assert_eq!(closed.field("status"), "Maintenance mode is enabled");
    ask("/dev/api/admin/maintenance/off", &with(OPERATOR)).expect_field("status", "off");
    ask("/dev/api/x", "").expect_text("engine");
}
