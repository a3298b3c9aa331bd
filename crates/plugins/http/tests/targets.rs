//! The routes and the component read a request's target alike.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use http::Request;
use support::http1_client::{Http1Client, Received};
use support::{TestServer, guest_path};

/// Routes `/admin/...`, `/caf%C3%A9` and the host `only.test` to one component, and all other requests to another.
async fn start() -> TestServer {
    let text = format!(
        "name = 'w'\n[components.admin]\nsource = '{}'\n[components.other]\nsource = '{}'\n\
         [[triggers.http]]\ncomponent = 'admin'\npath = '/admin/...'\n\
         [[triggers.http]]\ncomponent = 'admin'\npath = '/caf%C3%A9'\n\
         [[triggers.http]]\ncomponent = 'admin'\nhost = 'only.test'\n\
         [[triggers.http]]\ncomponent = 'other'\n",
        guest_path("script-p3").display(),
        guest_path("script-p2").display()
    );
    let server = TestServer::new().await;
    wharf::HostApi::workload_start(&server.host, support::parse_workload(&text)).await.unwrap();
    server
}

async fn ask(server: &TestServer, request: &str) -> (u16, String) {
    let mut client = Http1Client::connect(server.http.local_addr()).await;
    client.send(request.as_bytes()).await;
    match client.read("GET").await {
        Received::Complete(response) => (response.status, response.text()),
        Received::Truncated => (0, String::new()),
    }
}

async fn get(server: &TestServer, path: &str) -> (u16, String) {
    ask(server, &format!("GET {path} HTTP/1.1\r\nhost: w.test\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_equivalent_paths_alike_and_rejects_ambiguous_ones() {
    let server = start().await;
    for (path, received) in [
        ("/admin/x", "/admin/x"),
        ("/%61dmin/x?a=%61", "/admin/x?a=%61"),
        ("/%61%64%6D%69%6e/%78", "/admin/x"),
        ("/admin/a%2Fb", "/admin/a%2Fb"),
        ("/admin//x", "/admin//x"),
        ("/admin/x/../y", "/admin/x/../y"),
        ("/caf%c3%a9", "/caf%c3%a9"),
        ("/caf%C3%A9", "/caf%C3%A9"),
    ] {
        assert_eq!(get(&server, path).await, (200, format!("0.3 w.test {received}")), "{path}");
    }
    for (path, received) in [
        ("/x", "/x"),
        ("/adminx", "/adminx"),
        ("/x%2Fy", "/x%2Fy"),
        ("/x//y", "/x//y"),
        ("/proxy/https://example.com/", "/proxy/https://example.com/"),
        ("/%zz", "/%zz"),
        ("/.well-known/x", "/.well-known/x"),
    ] {
        assert_eq!(get(&server, path).await, (200, format!("0.2 w.test {received}")), "{path}");
    }
    for path in [
        "//admin/x",
        "///admin",
        "/./admin/x",
        "/x/../admin/x",
        "/x/%2e%2e/admin/x",
        "/x/%2E./admin/x",
        "/x/..%2fadmin/x",
        "/x%2f..%2fadmin/x",
        "/x%5c..%5cadmin/x",
        "/x\\..\\admin/x",
        "/admin%2fx",
        "/%2fadmin/x",
        "/%2561dmin/x",
        "/%252561dmin/x",
        "/admin/../x",
        "/admin/%2e%2e/x",
        "/admin/..",
        "//admin/..",
        "/admin%2f..",
        "/admin%2f../x",
        "/admin%5c..",
        "/admin\\..",
        "/admin%252f..",
        "/caf%25C3%25A9",
    ] {
        let (status, text) = get(&server, path).await;
        assert_eq!(status, 400, "{path}: {text}");
        assert!(text.starts_with("ambiguous path"), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_a_path_selects_the_root() {
    let server = start().await;
    let (status, text) = ask(&server, "GET http://w.test?a=/admin HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    assert_eq!((status, &*text), (200, "0.2 w.test /?a=/admin"));
    let (status, _) = ask(&server, "GET w.test:80 HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_routes_paths_as_http1_does() {
    let server = start().await;
    for (path, status) in
        [("/admin/x", 200), ("/%61dmin/x", 200), ("/x/../admin/x", 400), ("//admin/x", 400), ("/admin%2fx", 400)]
    {
        let mut client = server.connect_h2().await;
        let request = Request::get(format!("http://w.test{path}")).body(http_body_util::Full::default()).unwrap();
        assert_eq!(client.send_request(request).await.unwrap().status().as_u16(), status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_a_host_with_an_optional_port_as_authority() {
    let server = start().await;
    for (host, received) in [("w.test", "w.test"), ("w.test:80", "w.test:80"), ("[::1]:80", "[::1]:80")] {
        let (status, text) = ask(&server, &format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!((status, &*text), (200, &*format!("0.2 {received} /x")));
    }
    let (_, text) = ask(&server, "GET /x HTTP/1.1\r\nhost: ONLY.test:8000\r\n\r\n").await;
    assert_eq!(text, "0.3 ONLY.test:8000 /x", "host names are case-insensitive");
    let (_, text) = ask(&server, "GET http://only.test/x HTTP/1.1\r\nhost: w.test\r\n\r\n").await;
    assert_eq!(text, "0.3 only.test /x", "the authority of the target takes precedence over the header");
    for host in
        ["x@only.test", "user:secret@only.test", "", "only.test/x", "only.test, w.test", "only.test:x", "[::1", "a b"]
    {
        let (status, _) = ask(&server, &format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(status, 400, "{host}");
    }
    for (request, what) in [
        ("GET /x HTTP/1.1\r\n\r\n", "missing Host header"),
        ("GET /x HTTP/1.1\r\nhost: w.test\r\nhost: w.test\r\n\r\n", "duplicate Host header"),
        ("GET http://x@only.test/x HTTP/1.1\r\nhost: w.test\r\n\r\n", "user information"),
    ] {
        assert_eq!(ask(&server, request).await.0, 400, "{what}");
    }
    assert_eq!(ask(&server, "CONNECT only.test:80 HTTP/1.1\r\nhost: only.test\r\n\r\n").await.0, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_http_1_0_without_a_host() {
    let server = start().await;
    let address = server.http.local_addr();
    for (path, generation) in [("/x", "0.2"), ("/admin", "0.3")] {
        let (status, text) = ask(&server, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!((status, text), (200, format!("{generation} {address} {path}")));
    }
    let (_, text) = ask(&server, "GET /x HTTP/1.0\r\nhost: only.test\r\n\r\n").await;
    assert_eq!(text, "0.3 only.test /x");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_an_http2_host_header_that_differs_from_the_authority() {
    let server = start().await;
    let stream = tokio::net::TcpStream::connect(server.http.local_addr()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (host, status) in [(None, 200), (Some("w.test"), 200), (Some("W.test"), 200), (Some("only.test"), 400)] {
        let mut request = Request::get("http://w.test/x").body(()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status().as_u16(), status, "{host:?}");
    }
}
