// SPDX-License-Identifier: CDDL-1.0
//! TLS with mutual authentication: who is let in shows a certificate of a given authority.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file.
    #[error("{file}: {why}")]
    File {
        /// Which.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The files do not go together.
    #[error("TLS: {0}")]
    Setup(String),
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: String| TlsError::File { file: file.display().to_string(), why };
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).map_err(|e| bad(e.to_string()))?.collect();
    match found {
        Ok(list) if list.is_empty() => Err(bad("no certificate in it (PEM)".into())),
        Ok(list) => Ok(list),
        Err(e) => Err(bad(e.to_string())),
    }
}

/// An acceptor from PEM files: our certificate chain, its key, and the authorities whose certificates
/// clients must show.
pub fn acceptor(cert: &Path, key: &Path, ca: &Path) -> Result<TlsAcceptor, TlsError> {
    let setup = |e: &dyn std::fmt::Display| TlsError::Setup(e.to_string());
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| TlsError::File { file: key.display().to_string(), why: e.to_string() })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca)? {
        roots.add(authority).map_err(|e| setup(&e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .build()
        .map_err(|e| setup(&e))?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| setup(&e))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(cert)?, private)
        .map_err(|e| setup(&e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The handshake, or why it failed in words for the log.
pub async fn accept(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, String> {
    let mut first = [0; 2];
    match tokio::time::timeout(limit, stream.peek(&mut first)).await {
        Err(_) => return Err(format!("no TLS handshake within {limit:?}")),
        Ok(Err(e)) => return Err(format!("no TLS handshake: {e}")),
        Ok(Ok(0)) => return Err("closed before a TLS handshake".into()),
        // A header of SVP begins with its version; a TLS record with 22.
        Ok(Ok(_)) if first[0] == 0 => {
            return Err("it speaks SVP without TLS, which this server requires".into());
        }
        Ok(Ok(_)) => {}
    }
    match tokio::time::timeout(limit, acceptor.accept(stream)).await {
        Err(_) => Err(format!("TLS handshake not finished within {limit:?}")),
        Ok(Err(e)) => Err(format!("TLS handshake failed: {e}")),
        Ok(Ok(stream)) => Ok(stream),
    }
}
