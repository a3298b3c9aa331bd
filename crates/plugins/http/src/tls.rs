//! TLS by rustls: a certificate chain and its key, in PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A server's certificate chain and key, ready for handshakes. HTTP/2 and HTTP/1.1 are offered.
#[derive(Clone)]
pub struct Tls(pub(crate) Arc<ServerConfig>);

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind that was looked for.
    #[error("{what} cannot be read from {}: {detail}", path.display())]
    Read {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The certificate and the key do not go together, or cannot be used.
    #[error("this certificate and key cannot be used: {0}")]
    Refused(String),
}

impl Tls {
    /// Reads a certificate chain and its key from PEM files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |what, path: &Path, detail: String| TlsError::Read { what, path: path.to_owned(), detail };
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| read("a certificate", certificates, error.to_string()))?;
        if chain.is_empty() {
            return Err(read("a certificate", certificates, "there is none in it".into()));
        }
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| read("a key", key, error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der));
        let mut config = config.map_err(|error| TlsError::Refused(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key is nothing to print.
        f.write_str("Tls")
    }
}
