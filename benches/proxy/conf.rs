//! Equivalent configs: a key check on a protected prefix, X-Forwarded-For, keep-alive on both sides, access log on.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::peers::{KEY, Kind, Place, Setup};

/// Name of the main config file.
pub(crate) const FILE: &str = "config";

/// Files of a config by name; `number` changes one route, for reloads.
pub(crate) fn files(
    kind: Kind,
    place: &Place,
    setup: Setup,
    number: u64,
) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Gate => vec![(FILE, gate(place, setup, number))],
        Kind::Nginx => vec![(FILE, nginx(place, setup, number))],
        Kind::Haproxy => vec![
            (FILE, haproxy(place, setup, number)),
            ("keys.txt", keys(setup).join("\n")),
            ("routes.txt", routes(setup).join("\n")),
        ],
    }
}

/// Keys in file order; the one that is sent stands last.
fn keys(setup: Setup) -> Vec<String> {
    let others = (1..setup.keys).map(|it| format!("other-key-{it:06}-0123456789"));
    others.chain([KEY.to_owned()]).collect()
}

/// Protected prefixes in file order; the one that is asked for stands last.
fn routes(setup: Setup) -> Vec<String> {
    let others = (1..setup.routes).map(|it| format!("/route-{it:06}/"));
    others.chain(["/secure/".to_owned()]).collect()
}

fn gate(place: &Place, setup: Setup, number: u64) -> String {
    let mut text = format!(
        "listeners: {{ data: \"{}\", ops: \"off\", admin: \"{}\" }}\ncores: {}\nstate: ./state\n\
         limits: {{ connections: {}, badKeysPerMinute: 100000 }}\n\
         services:\n  app: {{ upstreams: [\"http://{}\"] }}\nkeys:\n",
        place.listen, place.admin, setup.cores, place.connections, place.upstream,
    );
    for (at, key) in keys(setup).iter().enumerate() {
        let digest = Sha256::digest(key).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ =
            writeln!(text, "  - {{ name: key-{at}, key: \"sha256:{digest}\", scopes: [read] }}");
    }
    text.push_str("routes:\n");
    for route in routes(setup) {
        let _ = writeln!(text, "  - {{ path: {route}, service: app, access: \"key:read\" }}");
    }
    let _ = writeln!(text, "  - {{ path: /generation-{number}/, service: app, access: public }}");
    text
}

fn nginx(place: &Place, setup: Setup, number: u64) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let mut text = format!(
        "{user}daemon off;\nworker_processes {cores};\npid nginx.pid;\n\
         error_log error.log warn;\nevents {{ worker_connections {connections}; }}\nhttp {{\n\
         access_log access.log combined buffer=64k flush=1s;\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         keepalive_timeout 120s; keepalive_requests 1000000000; tcp_nodelay on;\n\
         map_hash_bucket_size 128; map_hash_max_size 8192; client_body_buffer_size 16k;\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         upstream app {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n",
        cores = setup.cores,
        connections = 2 * place.connections, // nginx counts the upstream's, too
        upstream = place.upstream,
    );
    text.push_str("map $http_x_api_key $known {\n default 0;\n");
    for key in keys(setup) {
        let _ = writeln!(text, " \"{key}\" 1;");
    }
    let _ = writeln!(text, "}}\nserver {{ listen {} backlog=4096;", place.listen);
    let denied =
        "default_type application/json; if ($known = 0) { return 401 '{\"detail\":\"no\"}'; }";
    for route in routes(setup) {
        let _ = writeln!(text, "location {route} {{ {denied} proxy_pass http://app; }}");
    }
    let _ = writeln!(
        text,
        "location /secure/big/ {{ {denied} proxy_buffer_size 128k; proxy_buffers 8 128k;\n\
         proxy_busy_buffers_size 256k; proxy_max_temp_file_size 0; proxy_pass http://app; }}\n\
         location /generation-{number}/ {{ proxy_pass http://app; }}\n}}\n}}"
    );
    text
}

fn haproxy(place: &Place, setup: Setup, number: u64) -> String {
    format!(
        "global\n nbthread {cores}\n maxconn {connections}\n maxpipes 64\n hard-stop-after 10s\n\
         log ring@access format rfc5424 local0\n\
         stats socket {dir}/haproxy.sock level admin expose-fd listeners\n\
         defaults\n mode http\n log global\n option httplog\n option forwardfor\n http-reuse always\n\
         timeout connect 5s\n timeout client 120s\n timeout server 300s\n timeout http-request 30s\n\
         timeout http-keep-alive 120s\n\
         ring access\n format rfc5424\n maxlen 1200\n size 1048576\n timeout connect 5s\n\
         timeout server 10s\n server sink {sink}\n\
         frontend data\n bind {listen} backlog 4096\n\
         acl protected path_beg -f {dir}/routes.txt\n\
         acl known req.hdr(X-API-Key) -m str -f {dir}/keys.txt\n\
         http-request return status 401 content-type application/json string '{{\"detail\":\"no\"}}' \
         if protected !known\n\
         use_backend big if {{ path_beg /secure/big/ }}\n\
         use_backend generation if {{ path_beg /generation-{number}/ }}\n\
         default_backend app\n\
         backend app\n server up {upstream}\n\
         backend generation\n server up {upstream}\n\
         backend big\n option splice-response\n server up {upstream}\n",
        cores = setup.cores,
        connections = place.connections,
        dir = place.dir.display(),
        sink = place.sink,
        listen = place.listen,
        upstream = place.upstream,
    )
}
