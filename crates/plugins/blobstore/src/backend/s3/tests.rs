//! Tests against a server that speaks S3.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{S3, S3Config};
use crate::backend::conformance::{body, conforms, eventually, names, pattern, read};
use crate::backend::faults::{TIMEOUT, survives};
use crate::backend::servers::Server;
use crate::backend::{Container as _, Error};

/// Sends a request that needs no signature, and gives the response as text.
async fn http(port: u16, method: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let credential = "Credential=test/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: 0\r\n\
         Authorization: AWS4-HMAC-SHA256 {credential}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

async fn make_bucket(server: &Server) {
    let response = http(server.port, "PUT", "/bucket").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

/// How many uploads the server knows that are neither complete nor aborted.
async fn uploads(server: &Server) -> usize {
    let uploads = http(server.port, "GET", "/bucket?uploads").await;
    assert!(uploads.contains("ListMultipartUploadsResult"), "{uploads}");
    uploads.matches("<Upload>").count()
}

fn config(port: u16) -> S3Config {
    S3Config {
        url: format!("http://127.0.0.1:{port}"),
        bucket: "bucket".to_owned(),
        region: "us-east-1".to_owned(),
        access_key: "test".to_owned(),
        secret_key: Zeroizing::new("hunter2".to_owned()),
        prefix: "tenant/store".to_owned(),
        allow_http: true,
        timeout: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn s3_conforms() {
    let server = Server::s3().running();
    make_bucket(&server).await;
    conforms(&S3::open(config(server.port)).unwrap()).await;
    eventually("the end of aborted uploads", async || uploads(&server).await == 0).await;
}

#[tokio::test]
async fn survives_the_server() {
    let mut server = Server::s3();
    let store = S3::open(S3Config { timeout: TIMEOUT, ..config(server.port) }).unwrap();
    // This server forgets everything when it ends.
    survives(&mut server, &store, make_bucket).await;
}

#[tokio::test]
async fn an_upload_that_does_not_complete_is_aborted() {
    let server = Server::s3().running();
    make_bucket(&server).await;
    let store = S3::open(config(server.port)).unwrap();
    let bytes = pattern(20 * 1024 * 1024, 1);
    let failure = futures_util::stream::iter([Err(Error::Other("the guest trapped".to_owned()))]);
    let body = futures_util::StreamExt::boxed(futures_util::StreamExt::chain(body(&bytes), failure));
    store.put("large", body).await.unwrap_err();
    assert_eq!(uploads(&server).await, 0, "the upload is gone when the write has failed");
}

#[tokio::test]
async fn stores_share_a_bucket() {
    let server = Server::s3().running();
    make_bucket(&server).await;
    let open = |prefix: &str| S3::open(S3Config { prefix: prefix.to_owned(), ..config(server.port) }).unwrap();
    let (first, second, whole) = (open("stores/first"), open("stores/first-2"), open(""));
    first.put("object", body(b"first")).await.unwrap();
    second.put("object", body(b"second")).await.unwrap();
    assert_eq!(read(&first, "object").await.unwrap(), b"first");
    assert_eq!(names(&first).await, ["object".to_owned()].into());
    assert_eq!(names(&whole).await, ["stores/first/object".to_owned(), "stores/first-2/object".to_owned()].into());
    first.remove().await.unwrap();
    assert_eq!(read(&second, "object").await.unwrap(), b"second");
}

#[tokio::test]
async fn mistakes_in_the_settings_are_errors_without_secrets() {
    let server = Server::s3().running();
    let store = S3::open(config(server.port)).unwrap();
    let missing = store.put("object", body(b"x")).await.unwrap_err();
    assert_eq!(missing, Error::Unavailable("the bucket does not exist".to_owned()));
    assert!(store.health().await.unwrap_err().contains("bucket"));
    for (url, allow_http) in [
        ("http://127.0.0.1:1", false),
        ("ftp://127.0.0.1:1", true),
        ("http://user:hunter2@127.0.0.1:1", true),
        ("https://127.0.0.1:1/?key=hunter2", true),
        ("hunter2", true),
    ] {
        let problem = S3::open(S3Config { url: url.to_owned(), allow_http, ..config(1) }).err().unwrap();
        assert!(matches!(&problem, Error::InvalidArgument(text) if !text.contains("hunter2")), "{problem:?}");
    }
    assert!(!format!("{:?}", config(1)).contains("hunter2"));
}
