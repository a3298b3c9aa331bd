//! TLS to the server.
//!
//! Takes a mode and roots; gives a handshake with rustls. It binds the login to the certificate where the server can.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use ring::digest::{SHA256, SHA384, SHA512, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use super::config::Tls;
use super::error::{Error, Result};
use super::wire::{Transport, Wire};

type Socket = Wire<Transport>;
type Secured = Wire<tokio_rustls::client::TlsStream<Transport>>;

/// The client's side of TLS for a mode and roots in PEM.
pub(super) fn client(mode: Tls, roots: Option<&[u8]>) -> Result<Arc<ClientConfig>> {
    let wrong = |what: String| Error::Config(format!("cannot use TLS for PostgreSQL: {what}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut store = RootCertStore::empty();
    match roots {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| wrong("the file of roots is not PEM".to_owned()))?;
                store.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let verify_name = mode == Tls::VerifyFull;
    let verify = verify_name || mode == Tls::VerifyCa || (mode == Tls::Require && roots.is_some());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone());
    let inner = if verify { Some(inner.build().map_err(|error| wrong(error.to_string()))?) } else { None };
    let verifier = Arc::new(Verifier { inner, verify_name, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

/// Checks certificates as far as the mode asks for it.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    verify_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is checked last, so the signatures are good.
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if !self.verify_name =>
            {
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// One handshake with a server.
pub(super) struct Handshake {
    pub(super) client: Arc<ClientConfig>,
    pub(super) host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            let (stream, observed, max) = stream.into_parts();
            let stream = TlsConnector::from(self.client).connect(name, stream).await?;
            Ok(Wire::new(stream, observed, max, 0))
        })
    }
}

impl TlsStream for Secured {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.get_ref().get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let binding = certificate.and_then(|certificate| fingerprint(certificate));
        binding.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// The hash of a certificate that RFC 5929 calls `tls-server-end-point`: with the hash of its signature, or SHA-256.
fn fingerprint(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match signature_algorithm(certificate)? {
        // sha1WithRSAEncryption, sha256WithRSAEncryption, ecdsa-with-SHA256
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5 | 11] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => &SHA256,
        // sha384WithRSAEncryption, ecdsa-with-SHA384
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => &SHA384,
        // sha512WithRSAEncryption, ecdsa-with-SHA512
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => &SHA512,
        // The RFC defines none for the rest, such as Ed25519.
        _ => return None,
    };
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// The object identifier of the algorithm that signed a certificate in DER.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(certificate, 0x30)?;
    let (_to_be_signed, rest) = element(content, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    Some(element(algorithm, 0x06)?.0)
}

/// The content of the first DER element, which has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if length.len() > 4 {
            return None;
        }
        (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}
