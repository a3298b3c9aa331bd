//! TLS for the server, with rustls: reads a certificate chain and its key from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A server's certificate chain and private key. Offers HTTP/2 and HTTP/1.1 in the handshake (ALPN, RFC 7301).
#[derive(Clone)]
pub struct Tls(pub(crate) Arc<ServerConfig>);

/// A certificate chain or private key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
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
    /// rustls rejects the certificate and key, for example because they do not match.
    #[error("invalid certificate or private key: {0}")]
    Refused(String),
}

impl Tls {
    /// Reads a certificate chain and its private key from PEM files.
    ///
    /// ```no_run
    /// use std::path::Path;
    /// use wharf_http::{Settings, Tls};
    ///
    /// # fn run() -> Result<(), wharf_http::TlsError> {
    /// let mut settings = Settings::new(([0, 0, 0, 0], 443).into());
    /// settings.tls = Some(Tls::from_pem_files(Path::new("chain.pem"), Path::new("key.pem"))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TlsError`] when a file cannot be read, or the certificate and key cannot be used together.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |what, path: &Path, detail: String| TlsError::Read { what, path: path.to_owned(), detail };
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| read("a certificate", certificates, error.to_string()))?;
        if chain.is_empty() {
            return Err(read("a certificate", certificates, "the file contains none; expected PEM".into()));
        }
        let key_der =
            PrivateKeyDer::from_pem_file(key).map_err(|error| read("a private key", key, error.to_string()))?;
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
        // Omits the fields, so that the private key stays out of logs.
        f.write_str("Tls")
    }
}
