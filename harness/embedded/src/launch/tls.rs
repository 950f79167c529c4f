//! A certificate authority of one cluster's own, and the server certificate it signs.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

/// What the server proves itself with, and what clients check it against.
pub(super) struct Identity {
    pub(super) server: Arc<ServerConfig>,
    pub(super) authority_pem: String,
}

/// Makes both anew; the keys live in memory only.
///
/// # Errors
/// A sentence from the certificate or TLS library.
pub(super) fn make() -> Result<Identity, String> {
    let authority_key = KeyPair::generate().map_err(|error| error.to_string())?;
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "gameday embedded cluster");
    let authority_pem = authority.self_signed(&authority_key).map_err(|error| error.to_string())?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc"].map(str::to_owned);
    let mut params = CertificateParams::new(names).map_err(|error| error.to_string())?;
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let certificate = params.signed_by(&key, &issuer).map_err(|error| error.to_string())?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::from(key))
        .map_err(|error| error.to_string())?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { server: Arc::new(server), authority_pem })
}
