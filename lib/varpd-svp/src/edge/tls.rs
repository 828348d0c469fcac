// SPDX-License-Identifier: CDDL-1.0
//! TLS over a socket that does not block: the directory shows a certificate of a given authority for the name it is
//! asked under, and this host shows its own, if it has one.
use crate::engine::TlsFiles;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

/// One connection.
pub struct Session(ClientConnection);

/// Whether the files can be used, or what is wrong.
pub fn check(files: &TlsFiles, host: &str) -> Result<(), String> {
    Session::new(files, host).map(drop)
}

impl Session {
    /// A connection to a directory under this name. The files are read each time, since certificates are renewed.
    pub fn new(files: &TlsFiles, host: &str) -> Result<Session, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate can have"))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca)? {
            roots.add(authority).map_err(|e| format!("{}: {e}", files.ca.display()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots);
        let config = match &files.identity {
            Some((cert, key)) => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| format!("{}: {e}", key.display()))?;
                let config = config.with_client_auth_cert(certificates(cert)?, private);
                config.map_err(|e| format!("{}: {e}", cert.display()))?
            }
            None => config.with_no_client_auth(),
        };
        let session = ClientConnection::new(Arc::new(config), name);
        session.map(Session).map_err(|e| e.to_string())
    }

    /// Goes on with the handshake; whether it is done.
    ///
    /// # Errors
    /// What ends the connection.
    pub fn handshake(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        loop {
            self.flush(socket)?;
            if !self.0.is_handshaking() {
                return Ok(true);
            }
            match self.receive(socket) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }

    /// As read(2).
    pub fn read(&mut self, socket: &mut TcpStream, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buf) {
                // The peer may have closed meanwhile, which the next attempt tells.
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.receive(socket).map(drop)?,
                result => return result,
            }
        }
    }

    /// As write(2); what is taken may still be here, see [`Session::wants_write`].
    pub fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.writer().write(bytes)?;
        self.flush(socket)?;
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Sends what is here, as far as the socket takes it.
    pub fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            match self.0.write_tls(socket) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Whether something is here that the socket did not take.
    pub fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    fn receive(&mut self, socket: &mut TcpStream) -> io::Result<usize> {
        let n = self.0.read_tls(socket)?;
        if let Err(e) = self.0.process_new_packets() {
            // The peer is told why, if it listens.
            let _ = self.flush(socket);
            return Err(io::Error::new(ErrorKind::InvalidData, format!("TLS: {e}")));
        }
        Ok(n)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |why: String| format!("{}: {why}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(|e| bad(e.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    if found.is_empty() { Err(bad("no certificate in it (PEM)".into())) } else { Ok(found) }
}
