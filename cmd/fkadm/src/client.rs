// SPDX-License-Identifier: CDDL-1.0
//! A connection to a fakekerneld.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devctl::{Model, Root};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags};
use serde::de::DeserializeOwned;

use crate::proto::*;

/// Longest answer, in bytes; the kstats of many thousand links fit.
const MAX_REPLY: u64 = 256 << 20;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing serves the control socket.
    #[error("no fakekerneld is running under {root} (start it with: fakekerneld -R {root})")]
    NotRunning {
        /// The root directory.
        root: String,
    },
    /// The control socket cannot be reached.
    #[error("{path}: {error}", path = path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It went away, or does not speak the protocol.
    #[error("fakekerneld does not answer as it should: {0}")]
    Connection(#[from] io::Error),
    /// It refused the request.
    #[error("{0}")]
    Refused(String),
}

/// A connection. Requests go one at a time; open more for parallel ones.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the fakekerneld of a root.
    pub fn open(root: &Root) -> Result<Client, Error> {
        Self::open_path(&root.path(SOCKET)).map_err(|e| match e {
            Error::Connect { error, .. } if Self::nobody_there(&error) => {
                Error::NotRunning { root: root.to_string() }
            }
            e => e,
        })
    }

    fn open_path(path: &Path) -> Result<Client, Error> {
        let fd = door::sock::connect(path, SocketType::STREAM)
            .map_err(|error| Error::Connect { path: path.to_owned(), error })?;
        Ok(Client { stream: BufReader::new(UnixStream::from(fd)) })
    }

    fn nobody_there(e: &io::Error) -> bool {
        matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    }

    /// Sends a request and waits for its answer, whose type is named at the request.
    pub fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Error> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        line.clear();
        (&mut self.stream).take(MAX_REPLY).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match parse_reply(&line).map_err(io::Error::from)? {
            Reply::Ok(value) => Ok(value),
            Reply::Error(why) => Err(Error::Refused(why)),
        }
    }

    fn done(&mut self, request: &Request) -> Result<(), Error> {
        self.call(request).map(|Done {}| ())
    }

    /// The process that serves.
    pub fn status(&mut self) -> Result<Status, Error> {
        self.call(&Request::Status {})
    }

    /// Loaded modules.
    pub fn modinfo(&mut self) -> Result<Vec<Module>, Error> {
        self.call(&Request::Modinfo {})
    }

    /// Loads a module; with a file, that is the module of that name from now on.
    pub fn modload(&mut self, name: &str, file: Option<&Path>) -> Result<Module, Error> {
        // What is relative here is so to another directory there.
        let file = file.map(std::path::absolute).transpose()?;
        self.call(&Request::Modload(Modload { name: name.into(), file }))
    }

    /// Unloads a module.
    pub fn modunload(&mut self, name: &str) -> Result<(), Error> {
        self.done(&Request::Modunload(OfModule { name: name.into() }))
    }

    /// Data links by id.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        self.call(&Request::Links {})
    }

    /// Gives a VNIC to a TAP device.
    pub fn guest_attach_tap(&mut self, attach: AttachTap) -> Result<Guest, Error> {
        self.call(&Request::GuestAttachTap(attach))
    }

    /// Gives a VNIC to a host inside fakekerneld, with addresses such as `10.0.0.1/24`.
    pub fn guest_attach<S: Into<String>>(
        &mut self,
        link: &str,
        addresses: impl IntoIterator<Item = S>,
    ) -> Result<Guest, Error> {
        let addresses = addresses.into_iter().map(Into::into).collect();
        self.guest_attach_as(Attach { link: link.into(), addresses, ..Attach::default() })
    }

    /// Gives a VNIC to a host inside fakekerneld.
    pub fn guest_attach_as(&mut self, attach: Attach) -> Result<Guest, Error> {
        self.call(&Request::GuestAttach(attach))
    }

    /// Takes a VNIC from its guest.
    pub fn guest_detach(&mut self, link: &str) -> Result<(), Error> {
        self.done(&Request::GuestDetach(OfLink { link: link.into() }))
    }

    /// Guests by link id.
    pub fn guests(&mut self) -> Result<Vec<Guest>, Error> {
        self.call(&Request::GuestList {})
    }

    /// Pings from a guest, and waits until all is answered or lost. Lost ones are not an error.
    pub fn guest_ping(&mut self, ping: Ping) -> Result<PingReport, Error> {
        self.call(&Request::GuestPing(ping))
    }

    /// Lets a guest take streams on a port; returns when it does.
    pub fn guest_tcp_serve(&mut self, link: &str, port: u16) -> Result<(), Error> {
        self.done(&Request::GuestTcpServe(TcpServe { link: link.into(), port }))
    }

    /// Sends a stream and waits until the receiver has found it whole. A stream that was not is an
    /// error.
    pub fn guest_tcp_send(&mut self, send: TcpSend) -> Result<TcpReport, Error> {
        self.call(&Request::GuestTcpSend(send))
    }

    /// Statistics, by module, instance and name.
    pub fn kstat(&mut self, filter: KstatFilter) -> Result<Vec<Kstat>, Error> {
        self.call(&Request::Kstat(filter))
    }

    /// What the kernel's checks found so far.
    pub fn violations(&mut self) -> Result<Vec<String>, Error> {
        self.call(&Request::Violations {})
    }

    /// Starts a capture: what is read is a pcapng file. Dropping the reader ends it.
    pub fn capture(mut self, capture: Capture) -> Result<Captured, Error> {
        self.done(&Request::Capture(capture))?;
        Ok(Captured(self.stream))
    }

    /// Asks fakekerneld to end, and waits until its process has.
    pub fn shutdown(mut self) -> Result<(), Error> {
        let pid = door::sock::peer(self.stream.get_ref(), Model::NATIVE)?.pid;
        // Opened before it ends, so that it cannot be another process of the same number.
        let process = Pid::from_raw(pid)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        self.done(&Request::Shutdown {})?;
        if let Some(process) = process {
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut ended, None)).map_err(io::Error::from)?;
        }
        Ok(())
    }
}

/// A running capture.
#[derive(Debug)]
pub struct Captured(BufReader<UnixStream>);

impl Captured {
    /// Reading fails with [`io::ErrorKind::WouldBlock`] when nothing comes for so long.
    ///
    /// # Errors
    /// The time is zero.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.0.get_ref().set_read_timeout(Some(patience))
    }

    /// Ends it: what was captured so far is still to be read, and the counts behind it.
    ///
    /// # Errors
    /// fakekerneld is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.0.get_ref().shutdown(Shutdown::Write)
    }
}

impl Read for Captured {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}
