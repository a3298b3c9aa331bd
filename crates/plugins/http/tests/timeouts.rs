//! The server disconnects clients that send no complete request in time.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf_http::{HttpServer, Settings};

#[tokio::test]
async fn disconnects_a_client_that_stops_sending() {
    let mut settings = Settings::new(([127, 0, 0, 1], 0).into());
    settings.header_timeout = Duration::from_millis(100);
    let server = HttpServer::bind(settings).await.unwrap();
    server.accept();
    for start in ["", "PRI ", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        let end = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut response)).await;
        assert!(end.is_ok(), "the server still waits after `{start}`");
    }
}

#[tokio::test]
async fn serves_several_requests_on_one_connection() {
    let server = HttpServer::bind(Settings::new(([127, 0, 0, 1], 0).into())).await.unwrap();
    server.accept();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..3 {
        // In two pieces, of which the first is shorter than HTTP/2's preface.
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        stream.write_all(b"host: a\r\n\r\n").await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"no route for this host and path\n") {
            assert!(stream.read_buf(&mut response).await.unwrap() > 0, "{response:?}");
        }
        assert!(response.starts_with(b"HTTP/1.1 404"));
    }
}
