//! TLS towards a service: certificates that are right, expired, of another name or of nobody's, and no TLS at all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::{PATIENT, SHORT, Then, extra, http, of_http, probe, says, serve};
use crate::config::health::{HttpProbe, ProbeKind, ProbeTls};
use crate::health::probe::Prober;
use crate::model::health::{Outcome, Sample};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}";

/// Issues certificates, and lies in a file as PEM.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub(super) file: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let place = format!("headgate-probe-{}-{name}.pem", std::process::id());
        let file = std::env::temp_dir().join(place);
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server's side with a certificate for this name, until the end of this year.
    pub(super) fn server(&self, name: &str, until: i32, protocols: &[&str]) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Answers every request well, behind TLS.
async fn server(acceptor: TlsAcceptor) -> SocketAddr {
    serve(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut socket) = acceptor.accept(socket).await else { return };
            let _ = socket.write_all(OK.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    })
    .await
}

async fn check(address: SocketAddr, tls: ProbeTls) -> Sample {
    of_http(HttpProbe { tls: Some(tls), ..http() }, PATIENT).check(address).await
}

fn trusting(authority: &Authority) -> ProbeTls {
    ProbeTls { ca: Some(authority.file.clone()), ..ProbeTls::default() }
}

#[tokio::test]
async fn a_certificate_must_be_in_time_of_the_name_and_of_somebody_trusted() {
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let named = |name: &str| ProbeTls { server_name: Some(name.to_owned()), ..trusting(&known) };
    let any = ProbeTls { insecure: true, ..ProbeTls::default() };
    for (acceptor, tls, words) in [
        (known.server("localhost", 2200, &[]), trusting(&known), None),
        (known.server("shop.example", 2200, &[]), named("shop.example"), None),
        (known.server("localhost", 2200, &["http/1.1"]), trusting(&known), None),
        (known.server("localhost", 2020, &[]), trusting(&known), Some("xpired")),
        (known.server("other.example", 2200, &[]), trusting(&known), Some("not valid for")),
        (known.server("localhost", 2200, &[]), named("other.example"), Some("not valid for")),
        (stranger.server("localhost", 2200, &[]), trusting(&known), Some("nknownIssuer")),
        (stranger.server("other.example", 2020, &[]), any, None),
        (known.server("localhost", 2200, &["h2"]), trusting(&known), Some("NoApplicationProtocol")),
    ] {
        let address = server(acceptor).await;
        let sample = check(address, tls.clone()).await;
        let Some(words) = words else {
            assert_eq!((sample.outcome, sample.status), (Outcome::Ok, Some(200)), "{sample:?}");
            continue;
        };
        assert_eq!((sample.outcome, extra(&sample, "phase")), (Outcome::Tls, "tls"), "{sample:?}");
        let error = extra(&sample, "error").to_lowercase();
        assert!(error.contains(&words.to_lowercase()), "{words}: {sample:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_fails_by_its_name() {
    let any = || ProbeTls { insecure: true, ..ProbeTls::default() };
    let reset = serve(|socket| async move { socket.set_zero_linger().unwrap() }).await;
    let closed = serve(|mut socket| async move {
        // The greeting is taken, so that the end is no reset.
        let _ = socket.read(&mut [0; 16_384]).await;
        let _ = socket.shutdown().await;
        super::end(socket, Then::Hold).await;
    })
    .await;
    let plain = serve(|mut socket| async move {
        let _ = socket.write_all(OK.as_bytes()).await;
        super::end(socket, Then::Hold).await;
    })
    .await;
    for (address, outcome) in
        [(reset, Outcome::Reset), (closed, Outcome::Tls), (plain, Outcome::Tls)]
    {
        let sample = check(address, any()).await;
        assert_eq!((sample.outcome, extra(&sample, "phase")), (outcome, "tls"), "{sample:?}");
    }
    let silent = says("", Then::Hold).await;
    let probe = HttpProbe { tls: Some(any()), ..http() };
    let sample = of_http(probe, SHORT).check(silent).await;
    assert_eq!((sample.outcome, extra(&sample, "phase")), (Outcome::Timeout, "tls"));
}

#[tokio::test]
async fn http_to_a_tls_port_is_no_answer() {
    let authority = Authority::new("plain");
    let address = server(authority.server("localhost", 2200, &[])).await;
    let sample = of_http(http(), PATIENT).check(address).await;
    assert!([Outcome::Protocol, Outcome::Reset].contains(&sample.outcome), "{sample:?}");
    assert_eq!((sample.status, extra(&sample, "phase")), (None, "head"));
}

#[test]
fn roots_that_cannot_be_read_are_named_with_the_next_step() {
    let file = std::env::temp_dir().join(format!("headgate-probe-{}-none.pem", std::process::id()));
    std::fs::write(&file, "no certificate").unwrap();
    let missing = PathBuf::from("/nowhere/roots.pem");
    let with = |ca: Option<PathBuf>, name: Option<&str>| {
        let tls = ProbeTls { ca, server_name: name.map(str::to_owned), insecure: false };
        let kind = ProbeKind::Http(Box::new(HttpProbe { tls: Some(tls), ..http() }));
        Prober::new(&probe(kind, PATIENT), ("localhost".to_owned(), 443)).unwrap_err()
    };
    let error = with(Some(missing), None);
    assert!(error.contains("/nowhere/roots.pem") && error.contains("No such file"), "{error}");
    let error = with(Some(file.clone()), None);
    assert!(error.contains("no certificate in it"), "{error}");
    let error = with(None, Some("a b"));
    assert!(error.contains("serverName"), "{error}");
    std::fs::remove_file(file).unwrap();
}
