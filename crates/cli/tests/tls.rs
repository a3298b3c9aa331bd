//! `wasi:tls`: a component encrypts a connection that it was granted, and checks the server by the roots that it was granted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use support::{Server, manifest, root, run, stderr, text};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_rustls::TlsAcceptor;

/// Starts a server that sends each line back; gives its address and its certificate.
async fn echo() -> (SocketAddr, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certified.cert.pem();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(config)), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate goes away.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    stream.write_all(line.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                    line.clear();
                }
                // The client may be gone.
                stream.shutdown().await.ok();
            });
        }
    });
    (address, pem)
}

async fn ask(server: &Server, host: &str, question: &str) -> String {
    let request = http::Request::get("/").header("host", host).header("ask", question);
    let response = server.ask(request.body(http_body_util::Full::default()).unwrap()).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    text(&response).to_owned()
}

#[tokio::test]
async fn a_component_trusts_the_roots_that_it_was_granted() {
    let (address, pem) = echo().await;
    let guest = root().join("guests/stores/prebuilt/tls.wasm").display().to_string();
    let app = manifest(&format!(
        "name = 'a'\n\
         [components.trusts]\nsource = '{guest}'\nhosts = ['tcp://{address}']\ntls = {{ roots = 'ca.pem' }}\n\
         [components.doubts]\nsource = '{guest}'\nhosts = ['tcp://{address}']\n\
         [components.cut-off]\nsource = '{guest}'\ntls = {{ roots = 'ca.pem' }}\n\
         [[triggers.http]]\ncomponent = 'trusts'\nhost = 'trusts.test'\n\
         [[triggers.http]]\ncomponent = 'doubts'\nhost = 'doubts.test'\n\
         [[triggers.http]]\ncomponent = 'cut-off'\nhost = 'cut-off.test'\n"
    ));
    std::fs::write(app.path().join("ca.pem"), pem).unwrap();
    let server = Server::up(app.path());
    let question = format!("{address} localhost hello");
    assert_eq!(ask(&server, "trusts.test", &question).await, "hello\n");
    let other_name = ask(&server, "trusts.test", &format!("{address} other.test hello")).await;
    assert!(other_name.contains("not valid for name"), "{other_name}");
    let bad_name = ask(&server, "trusts.test", &format!("{address} .. hello")).await;
    assert!(bad_name.contains("invalid server name"), "{bad_name}");
    let doubted = ask(&server, "doubts.test", &question).await;
    assert!(doubted.contains("UnknownIssuer"), "another component's roots are its own: {doubted}");
    let refused = ask(&server, "cut-off.test", &question).await;
    assert!(refused.starts_with("error: ErrorCode"), "TLS grants no access: {refused}");
}

#[tokio::test]
async fn streams_of_wasi_0_3_are_encrypted_as_well() {
    let (address, pem) = echo().await;
    let guest = root().join("guests/stores/prebuilt/tls-p3.wasm").display().to_string();
    let app = manifest(&format!(
        "name = 'a'\n\
         [components.trusts]\nsource = '{guest}'\nhosts = ['tcp://{address}']\ntls = {{ roots = 'ca.pem' }}\n\
         [components.doubts]\nsource = '{guest}'\nhosts = ['tcp://{address}']\n\
         [[triggers.http]]\ncomponent = 'trusts'\nhost = 'trusts.test'\n\
         [[triggers.http]]\ncomponent = 'doubts'\nhost = 'doubts.test'\n"
    ));
    std::fs::write(app.path().join("ca.pem"), pem).unwrap();
    let server = Server::up(app.path());
    let question = format!("{address} localhost hello 1");
    assert_eq!(ask(&server, "trusts.test", &question).await, "6 bytes, as sent");
    let much = format!("{address} localhost hello 100000");
    assert_eq!(ask(&server, "trusts.test", &much).await, "600000 bytes, as sent");
    let other_name = ask(&server, "trusts.test", &format!("{address} other.test hello 1")).await;
    assert!(other_name.contains("not valid for name"), "{other_name}");
    let bad_name = ask(&server, "trusts.test", &format!("{address} .. hello 1")).await;
    assert_eq!(bad_name, "error: invalid server name");
    let doubted = ask(&server, "doubts.test", &question).await;
    assert!(doubted.contains("UnknownIssuer"), "another component's roots are its own: {doubted}");
    assert_eq!(ask(&server, "trusts.test", "twice").await, "error: the connector has this stream already");
    let early = "error: `send` and `receive` come before `connect`; the connection was not established";
    assert_eq!(ask(&server, "trusts.test", "early").await, early);
}

/// Starts an HTTPS server that asks for a certificate; gives its port, its certificate, and the client's certificate and key.
async fn guarded() -> (u16, [String; 3]) {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let client = rcgen::generate_simple_self_signed(["client.test".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(client.cert.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier.build().unwrap());
    let key = PrivateKeyDer::Pkcs8(server.signing_key.serialize_der().into());
    let config = config.with_single_cert(vec![server.cert.der().clone()], key).unwrap();
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(config)), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                    if line.ends_with("\r\n\r\n") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nwelcome").await.unwrap();
                        stream.flush().await.unwrap();
                        line.clear();
                    }
                }
            });
        }
    });
    (port, [server.cert.pem(), client.cert.pem(), client.signing_key.serialize_pem()])
}

#[tokio::test]
async fn outgoing_requests_use_a_components_roots_and_certificate() {
    let (port, [root, certificate, key]) = guarded().await;
    let [front, inspector] = ["front-p2", "inspector-p2"].map(|name| support::guest(name).display().to_string());
    let app = manifest(&format!(
        "name = 'a'\n\
         [components.front]\nsource = '{front}'\nhosts = ['https://localhost:{port}']\ntls = {{ roots = 'ca.pem' }}\n\
         [components.inspector]\nsource = '{inspector}'\nhosts = ['https://localhost:{port}']\n\
         tls = {{ roots = 'ca.pem', certificate = 'client.pem', key = 'client' }}\n\
         [secrets.client]\nfile = 'client.key'\n[[triggers.http]]\ncomponent = 'front'\n"
    ));
    for (file, pem) in [("ca.pem", root), ("client.pem", certificate), ("client.key", key)] {
        std::fs::write(app.path().join(file), pem).unwrap();
    }
    let server = Server::up(app.path());
    let question = format!("http https://localhost:{port}/");
    let get = async |path: &str| {
        let request = http::Request::get(path).header("host", "a").header("ask", &question);
        let response = server.ask(request.body(http_body_util::Full::default()).unwrap()).await;
        text(&response).to_owned()
    };
    assert!(get("/theirs").await.contains("200"), "{}", get("/theirs").await);
    let without = get("/mine").await;
    assert!(!without.contains("200") && without.contains("ErrorCode"), "a sibling's certificate is its own: {without}");
}

#[test]
fn roots_that_are_none_keep_the_workload_from_starting() {
    let guest = root().join("guests/stores/prebuilt/tls.wasm").display().to_string();
    let app = manifest(&format!(
        "name = 'a'\n[components.web]\nsource = '{guest}'\ntls = {{ roots = 'ca.pem' }}\n[[triggers.http]]\ncomponent = 'web'\n"
    ));
    let fails = |expected: &str| {
        let output = run(&["up", app.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        let error = stderr(&output);
        assert!(!output.status.success() && error.contains("wharf.toml:4:9") && error.contains(expected), "{error}");
    };
    fails("cannot read");
    std::fs::write(app.path().join("ca.pem"), "no certificate").unwrap();
    fails("the file has no certificate");
}

#[test]
fn a_key_that_is_no_secret_is_found_when_planned() {
    let guest = root().join("guests/stores/prebuilt/tls.wasm").display().to_string();
    let app = manifest(&format!(
        "name = 'a'\n[components.web]\nsource = '{guest}'\ntls = {{ certificate = 'c.pem', key = 'gone' }}\n[[triggers.http]]\ncomponent = 'web'\n"
    ));
    let planned = run(&["plan", app.path().to_str().unwrap()]);
    assert_eq!(planned.status.code(), Some(4));
    assert!(stderr(&planned).contains("wharf.toml:4:32: error: unknown secret `gone`"), "{}", stderr(&planned));
}
