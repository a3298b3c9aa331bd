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
    // One that takes its time between two requests only is not harmed while it is within it.
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        let mut rest = vec![0; 4096];
        assert!(stream.read(&mut rest).await.unwrap() > 0);
    }
}
