//! The one set of trusted roots that all our TLS clients share.

use std::sync::{Arc, Mutex};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Why no TLS client could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot load the system's trusted certificates (is ca-certificates installed?)")]
    Roots(#[source] VerifierBuilderError),
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

/// The trusted roots, parsed once, and the configurations made from them.
#[derive(Clone, Debug)]
pub struct Tls {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    web: ClientConfig,
}

impl Tls {
    /// Trusts what this system trusts.
    ///
    /// # Errors
    /// The system has no trusted certificate at all.
    pub fn system() -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        // One that cannot be parsed is no reason to do without the others.
        roots.add_parsable_certificates(system_roots());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(TlsError::Roots)?;
        Self::build(provider, verifier)
    }

    fn build(provider: Arc<CryptoProvider>, verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, TlsError> {
        let mut web = config(&provider, verifier.clone())?;
        web.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { provider, verifier, web })
    }

    /// For HTTPS: HTTP/2 or HTTP/1.1, verified. No session is resumed: a probe shall see the whole handshake.
    pub fn web(&self) -> ClientConfig {
        self.web.clone()
    }

    /// For one dial to the edge by TCP: no ALPN. The certificate is judged and the judgement recorded, not required.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn edge_tcp(&self) -> Result<(ClientConfig, Recorder), TlsError> {
        let recorder = Recorder::new(self.verifier.clone());
        Ok((config(&self.provider, Arc::new(recorder.clone()))?, recorder))
    }

    /// For one dial to the edge by QUIC: ALPN `argotunnel`. The certificate is judged as in [`Tls::edge_tcp`].
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn edge_quic(&self) -> Result<(ClientConfig, Recorder), TlsError> {
        let (mut config, recorder) = self.edge_tcp()?;
        config.alpn_protocols = vec![b"argotunnel".to_vec()];
        Ok((config, recorder))
    }
}

/// The bundle alone where there is one: the folder beside it holds the same certificates in files of their own, and
/// reading those as well takes longer than the rest of our start.
fn system_roots() -> Vec<CertificateDer<'static>> {
    let bundle = openssl_probe::probe().cert_file;
    let found = rustls_native_certs::load_certs_from_paths(bundle.as_deref(), None).certs;
    if found.is_empty() { rustls_native_certs::load_native_certs().certs } else { found }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// What verification said about a certificate that we did not require to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    Trusted,
    /// Refused because of its dates: our clock is wrong, or it really is too old or too new.
    Dates,
    /// Signed by nobody whom this system trusts.
    UnknownIssuer,
    /// For another name.
    OtherName,
    /// Refused for another reason.
    Refused,
}

impl Judgement {
    /// The judgement that a verification error means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest means nothing to us")]
    pub fn of(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else { return Self::Refused };
        match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Dates,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            _ => Self::Refused,
        }
    }
}

/// Lets every certificate pass and keeps what verification said. The handshake's own signature must still be right,
/// so the peer does hold the key of the certificate it shows.
#[derive(Clone, Debug)]
pub struct Recorder {
    inner: Arc<dyn ServerCertVerifier>,
    judgement: Arc<Mutex<Option<Judgement>>>,
}

impl Recorder {
    fn new(inner: Arc<dyn ServerCertVerifier>) -> Self {
        Self { inner, judgement: Arc::default() }
    }

    /// What verification said; `None` until a certificate was seen.
    pub fn judgement(&self) -> Option<Judgement> {
        *self.judgement.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judgement =
            match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Ok(_) => Judgement::Trusted,
                Err(error) => Judgement::of(&error),
            };
        *self.judgement.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(judgement);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Certificates and a [`Tls`] that trusts only them.

    use super::*;

    pub(crate) struct Authority {
        pub(crate) tls: Tls,
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    }

    impl Authority {
        pub(crate) fn new() -> Self {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let cert = params.self_signed(&key).unwrap();
            let provider = Arc::new(ring::default_provider());
            let mut roots = rustls::RootCertStore::empty();
            roots.add(cert.der().clone()).unwrap();
            let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots),
                provider.clone(),
            )
            .build()
            .unwrap();
            Self { tls: Tls::build(provider, verifier).unwrap(), issuer: rcgen::Issuer::new(params, key) }
        }

        pub(crate) fn server(&self, name: &str, years: (i32, i32), alpn: &[&[u8]]) -> rustls::ServerConfig {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            let cert = params.signed_by(&key, &self.issuer).unwrap();
            let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![cert.der().clone()],
                    rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
                )
                .unwrap();
            config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
            config
        }
    }
}
