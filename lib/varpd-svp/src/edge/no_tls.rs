// SPDX-License-Identifier: CDDL-1.0
//! TLS where there is none: its cryptography is C and assembler, for which there is no compiler for illumos here. The
//! properties for it cannot be set, so nothing here is ever called with files.
use crate::engine::TlsFiles;
use std::convert::Infallible;
use std::io;
use std::net::TcpStream;

const NONE: &str = "not in this build";

/// A connection that cannot be.
pub struct Session(Infallible);

/// It does not.
pub fn check(_: &TlsFiles, _: &str) -> Result<(), String> {
    Err(NONE.into())
}

impl Session {
    pub fn new(_: &TlsFiles, _: &str) -> Result<Session, String> {
        Err(NONE.into())
    }

    pub fn handshake(&mut self, _: &mut TcpStream) -> io::Result<bool> {
        match self.0 {}
    }

    pub fn read(&mut self, _: &mut TcpStream, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn write(&mut self, _: &mut TcpStream, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub fn flush(&mut self, _: &mut TcpStream) -> io::Result<()> {
        match self.0 {}
    }

    pub fn wants_write(&self) -> bool {
        match self.0 {}
    }
}
