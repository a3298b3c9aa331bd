//! TLS connections with rustls.
//!
//! Takes roots, and the stream of a connection; gives one that is encrypted, after the server's certificate was checked.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_tls::{Error, TlsProvider, TlsTransport};

/// What is wrong with a setting.
#[derive(Clone, Debug)]
pub(crate) struct Invalid {
    pub(crate) key: &'static str,
    pub(crate) problem: String,
}

fn invalid<E: ToString>(key: &'static str) -> impl Fn(E) -> Invalid {
    move |error| Invalid { key, problem: error.to_string() }
}

/// The client's side of TLS: with roots in PEM or the public ones, and with a certificate and its private key, both in PEM.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn client(roots: Option<&[u8]>, identity: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, Invalid> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in certificates(pem, "roots")? {
                store.add(certificate).map_err(invalid("roots"))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(invalid("roots"))?.with_root_certificates(store);
    let Some((chain, key)) = identity else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let chain = certificates(chain, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| invalid("key")("the secret is no private key in PEM"))?;
    builder.with_client_auth_cert(chain, key).map(Arc::new).map_err(invalid("certificate"))
}

fn certificates(pem: &[u8], key: &'static str) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|_| invalid(key)("the file is not PEM"))?;
    if read.is_empty() { Err(invalid(key)("the file has no certificate")) } else { Ok(read) }
}

/// Connects to the server of this name over a stream.
///
/// # Errors
/// Why not.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    server_name: &str,
    transport: S,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(|_| io::Error::other("invalid server name"))?;
    TlsConnector::from(config).connect(name, transport).await
}

/// Connects the streams of one component.
pub(crate) struct Connector(pub(crate) Arc<ClientConfig>);

type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn wasmtime_wasi_tls::TlsStream>, Error>> + Send>>;

impl TlsProvider for Connector {
    fn connect(&self, server_name: String, transport: Box<dyn TlsTransport>) -> Connecting {
        let config = self.0.clone();
        Box::pin(async move {
            let connected = handshake(config, &server_name, transport).await;
            connected.map(|stream| Box::new(Encrypted(stream)) as _).map_err(Error::msg)
        })
    }
}

struct Encrypted(TlsStream<Box<dyn TlsTransport>>);

impl wasmtime_wasi_tls::TlsStream for Encrypted {}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
