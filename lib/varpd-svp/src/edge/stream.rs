// SPDX-License-Identifier: CDDL-1.0
//! One connection: a socket that does not block, and TLS over it where that is used.
use super::tls::Session;
use crate::engine::TlsFiles;
use portfs::{Port, Ready};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Connecting,
    Handshake,
    Open,
}

/// A connection. Its events have the number `user`.
pub struct Stream {
    socket: TcpStream,
    session: Option<Session>,
    pub stage: Stage,
    user: usize,
}

impl Stream {
    /// Begins to connect.
    ///
    /// # Errors
    /// It failed already.
    pub fn connect(
        addr: SocketAddr,
        tls: Option<(&TlsFiles, &str)>,
        user: usize,
    ) -> io::Result<Stream> {
        let session = tls.map(|(files, host)| Session::new(files, host)).transpose();
        let session = session.map_err(|why| io::Error::new(ErrorKind::InvalidInput, why))?;
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Questions are small and many, and each is waited for.
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&addr.into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e),
            _ => {}
        }
        Ok(Stream { socket: socket.into(), session, stage: Stage::Connecting, user })
    }

    /// Asks for the next event.
    ///
    /// # Errors
    /// The port takes no more.
    pub fn associate(&self, port: &Port, more_to_write: bool) -> io::Result<()> {
        let more = more_to_write || self.wants_write();
        let interest = match self.stage {
            Stage::Connecting => Ready::OUT,
            _ if more => Ready::IN | Ready::OUT,
            _ => Ready::IN,
        };
        port.associate(&self.socket, interest, self.user)
    }

    /// Goes on until it is open; whether it is.
    ///
    /// # Errors
    /// It cannot be.
    pub fn advance(&mut self) -> io::Result<bool> {
        if self.stage == Stage::Connecting {
            if let Some(e) = self.socket.take_error()? {
                return Err(e);
            }
            // Some systems tell of an end before there was a beginning.
            self.socket.peer_addr()?;
            self.stage = Stage::Handshake;
        }
        let done = match &mut self.session {
            Some(session) => session.handshake(&mut self.socket)?,
            None => true,
        };
        if done {
            self.stage = Stage::Open;
        }
        Ok(done)
    }

    /// As read(2).
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.read(&mut self.socket, buf),
            None => self.socket.read(buf),
        }
    }

    /// As write(2).
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.write(&mut self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    /// Whether something that was written is still here.
    pub fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(Session::wants_write)
    }

    /// Sends what was written before and is still here.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.flush(&mut self.socket),
            None => Ok(()),
        }
    }
}
