//! Mutual TLS: the client proves itself to the host, and the host to it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client's certificate and key, and the authority that signs hosts' certificates.
#[derive(Clone)]
pub struct MutualTls(Arc<ClientConfig>);

/// A certificate or private key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MutualTlsError {
    /// A file cannot be read, or contains no PEM section of the expected kind.
    #[error("cannot read {what} from `{}`: {detail}", path.display())]
    Read {
        /// The expected content, such as `a certificate`.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        detail: String,
    },
    /// rustls rejects them, for example because certificate and key do not match.
    #[error("invalid certificate, key or authority: {0}")]
    Refused(String),
}

impl MutualTls {
    /// Reads the client's certificate chain and its key, and the authority of the hosts, from PEM files.
    ///
    /// # Errors
    /// [`MutualTlsError`] when a file cannot be read, or what it contains cannot be used.
    pub fn from_pem_files(chain: &Path, key: &Path, authority: &Path) -> Result<Self, MutualTlsError> {
        let refused = |error: rustls::Error| MutualTlsError::Refused(error.to_string());
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root).map_err(refused)?;
        }
        let chain = certificates(chain)?;
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| MutualTlsError::Read {
            what: "a private key",
            path: key.to_owned(),
            detail: error.to_string(),
        })?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key_der));
        Ok(Self(Arc::new(config.map_err(refused)?)))
    }

    /// Proves both ends of a connection to `host:port`.
    pub(super) async fn handshake(&self, address: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MutualTlsError> {
    let failed = |detail: String| MutualTlsError::Read { what: "a certificate", path: path.to_owned(), detail };
    let all: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| failed(error.to_string()))?;
    if all.is_empty() {
        return Err(failed("the file contains none; expected PEM".to_owned()));
    }
    Ok(all)
}

impl fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Omits the fields, so that the private key stays out of logs.
        f.write_str("MutualTls")
    }
}
