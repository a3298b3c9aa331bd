//! One request and its response on one connection.

use std::fmt;
use std::path::PathBuf;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tls::MutualTls;
use crate::version::Method;

/// Where a host listens.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// `host:port`, with mutual TLS.
    Tls(String, MutualTls),
}

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Address {
    pub(super) async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // A request is written at once, and waits for nothing that Nagle's algorithm could add to it.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Tls(address, tls) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(tls.handshake(address, stream).await?)
            }
        })
    }

    /// What the `Host` header says. HTTP/1.1 requires one, and a Unix socket has no name for it.
    fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp(address) | Self::Tls(address, _) => address,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) | Self::Tls(address, _) => write!(f, "tcp:{address}"),
        }
    }
}

/// What a request carries.
pub(super) enum Content {
    Empty,
    Json(Bytes),
    /// A component's bytes.
    Blob(Bytes),
}

/// A response that arrived in full.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

pub(super) enum ExchangeError {
    Http(hyper::Error),
    TooLarge,
}

impl From<hyper::Error> for ExchangeError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

pub(super) fn request(
    address: &Address,
    method: Method,
    path: &str,
    content: Content,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let request = Request::builder().method(method.as_str()).uri(path).header(HOST, address.host());
    let (kind, body) = match content {
        Content::Empty => return request.body(Full::default()),
        Content::Json(body) => ("application/json", body),
        Content::Blob(body) => ("application/wasm", body),
    };
    request.header(CONTENT_TYPE, kind).body(Full::new(body))
}

/// Sends a request and reads its response, up to `max` bytes of body.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    max: usize,
) -> Result<Response, ExchangeError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = pin!(async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, max).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => ExchangeError::Http(*error),
            // A limited body has one other error: `LengthLimitError`.
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>());
                ExchangeError::TooLarge
            }
        })?;
        Ok(Response { status: head.status, body: body.to_bytes() })
    });
    // The connection is driven here rather than in a task of its own, so that it ends with this future.
    match select(exchange, pin!(connection)).await {
        Either::Left((response, _)) => response,
        // A connection that ends has handed over all that it received, or its error.
        Either::Right((_, exchange)) => exchange.await,
    }
}
