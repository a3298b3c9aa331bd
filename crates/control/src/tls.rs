//! Mutual TLS: the server proves itself to its clients, and they to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A server's certificate and key, and the authority that signs its clients' certificates.
#[derive(Clone)]
pub struct MutualTls(pub(crate) Arc<ServerConfig>);

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
    /// Reads the server's certificate chain and its key, and the authority of the clients, from PEM files.
    ///
    /// # Errors
    /// [`MutualTlsError`] when a file cannot be read, or what it contains cannot be used.
    pub fn from_pem_files(chain: &Path, key: &Path, authority: &Path) -> Result<Self, MutualTlsError> {
        let refused = |error: &dyn std::error::Error| MutualTlsError::Refused(error.to_string());
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root).map_err(|error| refused(&error))?;
        }
        let chain = certificates(chain)?;
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| MutualTlsError::Read {
            what: "a private key",
            path: key.to_owned(),
            detail: error.to_string(),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = verifier.build().map_err(|error| refused(&error))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key_der));
        Ok(Self(Arc::new(config.map_err(|error| refused(&error))?)))
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

impl std::fmt::Debug for MutualTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Omits the fields, so that the private key stays out of logs.
        f.write_str("MutualTls")
    }
}
