//! Clients that do not begin, or do not go on, are not waited for for ever.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wharf_http::{HttpServer, Settings};

#[tokio::test]
async fn a_client_that_does_not_go_on_is_let_go() {
    let mut settings = Settings::new(([127, 0, 0, 1], 0).into());
    settings.header_timeout = Duration::from_millis(100);
    let server = HttpServer::bind(settings).await.unwrap();
    server.accept();
    for begun in ["", "PRI ", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "`{begun}` is still waited for");
    }
}

#[tokio::test]
async fn a_client_that_goes_on_is_served_on_one_connection() {
    let server = HttpServer::bind(Settings::new(([127, 0, 0, 1], 0).into())).await.unwrap();
    server.accept();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..3 {
        // Shorter than what tells HTTP/2 from HTTP/1.1, and in two pieces.
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        stream.write_all(b"host: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"nothing is served here\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
        }
        assert!(answer.starts_with(b"HTTP/1.1 404"));
    }
}
