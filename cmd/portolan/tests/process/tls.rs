// SPDX-License-Identifier: CDDL-1.0
//! TLS with mutual authentication: who is let in, and what is said of who is not.

use crate::common::{Portolan, fails};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

const PING: [u8; 16] = [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xb5, 0xb6, 0x60, 0x88];

/// An authority, and a certificate of it for `localhost`, as files NAME-ca.pem, NAME.pem, NAME.key.
fn authority(dir: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
    let write = |suffix: &str, text: String| {
        std::fs::write(dir.join(format!("{name}{suffix}")), text).unwrap();
    };
    write("-ca.pem", ca.pem());
    write(".pem", leaf.pem());
    write(".key", leaf_key.serialize_pem());
}

fn files(dir: &Path, name: &str) -> Vec<String> {
    let file = |suffix: &str| dir.join(format!("{name}{suffix}")).display().to_string();
    let args =
        ["--tls-cert", &file(".pem"), "--tls-key", &file(".key"), "--tls-ca", &file("-ca.pem")];
    args.map(str::to_owned).to_vec()
}

/// A client that trusts the server's authority and shows a certificate of `name`, if any.
fn client(
    dir: &Path,
    stream: TcpStream,
    name: Option<&str>,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("good-ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match name {
        Some(name) => {
            let cert = CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(vec![cert], key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let name = "localhost".try_into().unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

#[test]
fn only_hosts_with_a_certificate_of_the_authority_are_served() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "good");
    authority(dir.path(), "other");
    let args = files(dir.path(), "good");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut portolan = Portolan::start(&dir.path().join("portolan.redb"), &args);

    let mut good = client(dir.path(), portolan.connect(), Some("good"));
    good.write_all(&PING).unwrap();
    let mut pong = [0; 16];
    good.read_exact(&mut pong).unwrap();
    assert_eq!(pong[..4], [0, 1, 0, 2]);

    for name in [Some("other"), None] {
        let mut bad = client(dir.path(), portolan.connect(), name);
        let outcome = bad.write_all(&PING).and_then(|()| bad.read_exact(&mut [0; 16]));
        assert!(outcome.is_err(), "{name:?} is served");
        portolan.log_line("TLS handshake failed");
    }

    let mut plain = portolan.connect();
    plain.write_all(&PING).unwrap();
    // Closed with bytes unread, which TCP may say with a reset.
    assert_eq!(plain.read(&mut [0; 16]).unwrap_or(0), 0);
    let line = portolan.log_line("without TLS, which this server requires");
    assert_eq!(line["level"], 40, "a warning");

    // Whoever was served still is.
    good.write_all(&PING).unwrap();
    good.read_exact(&mut pong).unwrap();
}

#[test]
fn files_that_do_not_serve_are_named() {
    let dir = tempfile::tempdir().unwrap();
    authority(dir.path(), "good");
    let mut args = files(dir.path(), "good");
    args[5] = dir.path().join("nowhere.pem").display().to_string();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = fails(&dir.path().join("portolan.redb"), &args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nowhere.pem"), "{said}");
    assert_eq!(output.status.code(), Some(96));
    let half = fails(&dir.path().join("portolan.redb"), &args[..2]);
    assert!(String::from_utf8(half.stderr).unwrap().contains("--tls-key"));
}
