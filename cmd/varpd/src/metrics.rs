// SPDX-License-Identifier: CDDL-1.0
//! `--metrics`: what is counted, as Prometheus reads it, by HTTP on a Unix socket or on a TCP port of this machine.
//!
//! ```text
//!   curl --unix-socket /var/run/varpd/metrics http://varpd/metrics        one thread, one answer a connection;
//!   curl http://127.0.0.1:9471/metrics                                    who is slow is hung up on
//! ```
//!
//! Whoever may connect may read. A file is for varpd's user; a port is for every user of the machine, and only for
//! them. Nothing here touches a lookup: an answer is made of counters.

use libvarpd::Varpd;
use libvarpd::stats::prometheus::CONTENT_TYPE;
use portfs::{Port, Ready, Source};
use std::fmt;
use std::fs::remove_file;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How long a client may take for its request, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest request: a line and headers that nobody looks at.
const MAX_REQUEST: usize = 8192;

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A port of a loopback address.
    Tcp(SocketAddr),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Address, &'static str> {
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        let address: SocketAddr =
            text.parse().map_err(|_| "must be a path, or ADDRESS:PORT such as 127.0.0.1:9471")?;
        if !address.ip().is_loopback() {
            return Err("must be an address of this machine only, such as 127.0.0.1 or [::1]");
        }
        Ok(Address::Tcp(address))
    }
}

impl Address {
    /// The path of a Unix socket.
    pub fn path(&mut self) -> Option<&mut PathBuf> {
        match self {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => path.display().fmt(f),
            Address::Tcp(address) => address.fmt(f),
        }
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    port: Port,
    thread: Option<JoinHandle<()>>,
    file: Option<PathBuf>,
}

impl Server {
    /// Listens; a socket that a killed varpd has left is taken over.
    ///
    /// # Errors
    /// AddrInUse: somebody listens there, or something else lies there.
    pub fn start(address: &Address, varpd: &Arc<Varpd>) -> io::Result<Server> {
        let (listener, file) = match address {
            Address::Unix(path) => (Listener::Unix(bind(path)?), Some(path.clone())),
            Address::Tcp(address) => (Listener::Tcp(TcpListener::bind(address)?), None),
        };
        listener.set_nonblocking()?;
        let port = Port::new()?;
        port.associate(&listener, Ready::IN, 0)?;
        let (events, varpd) = (port.clone(), Arc::clone(varpd));
        let thread = Builder::new()
            .name("metrics".into())
            .spawn(move || serve(&events, &listener, &|| varpd.metrics()))?;
        Ok(Server { port, thread: Some(thread), file })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only a message ends the thread.
        if self.port.send(0, 0).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        if let Some(file) = &self.file {
            let _ = remove_file(file);
        }
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(e) if e.kind() == ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(refused) if refused.kind() == ErrorKind::ConnectionRefused => {
                remove_file(path)?;
                UnixListener::bind(path)
            }
            _ => Err(e),
        },
        result => result,
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Who has connected may have gone again when it is accepted.
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Unix(l) => l.set_nonblocking(true),
            Listener::Tcp(l) => l.set_nonblocking(true),
        }
    }

    fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Listener::Unix(l) => Box::new(l.accept()?.0),
            Listener::Tcp(l) => Box::new(l.accept()?.0),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(l) => l.as_fd(),
            Listener::Tcp(l) => l.as_fd(),
        }
    }
}

trait Connection: Read + Write {
    /// Reads and writes block, for no longer than this.
    fn set_timeout(&self, timeout: Duration) -> io::Result<()>;
}

macro_rules! connection {
    ($($t:ty)*) => { $(
        impl Connection for $t {
            fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
                self.set_nonblocking(false)?;
                self.set_read_timeout(Some(timeout))?;
                self.set_write_timeout(Some(timeout))
            }
        }
    )* };
}
connection! { UnixStream TcpStream }

fn serve(port: &Port, listener: &Listener, metrics: &dyn Fn() -> String) {
    loop {
        match port.get(None) {
            Ok(Some(event)) if matches!(event.source, Source::Fd(..)) => {}
            _ => return,
        }
        if let Ok(mut connection) = listener.accept() {
            // A client that does not behave is not answered, which is its own affair.
            let _ = converse(&mut *connection, metrics);
        }
        if port.associate(listener, Ready::IN, 0).is_err() {
            return;
        }
    }
}

fn converse(connection: &mut dyn Connection, metrics: &dyn Fn() -> String) -> io::Result<()> {
    let request = receive(connection)?;
    let response = answer(&request, metrics);
    let until = Instant::now() + PATIENCE;
    let mut rest = response.as_slice();
    while !rest.is_empty() {
        connection.set_timeout(left(until)?)?;
        let n = connection.write(rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    connection.flush()
}

/// A request up to the empty line behind its headers, or as much as there is of it.
fn receive(connection: &mut dyn Connection) -> io::Result<Vec<u8>> {
    let until = Instant::now() + PATIENCE;
    let mut request = Vec::new();
    let mut buf = [0; 1024];
    while request.len() < MAX_REQUEST && !request.windows(4).any(|w| w == b"\r\n\r\n") {
        connection.set_timeout(left(until)?)?;
        match connection.read(&mut buf)? {
            0 => break,
            n => request.extend_from_slice(buf.get(..n).unwrap_or_default()),
        }
    }
    Ok(request)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
    left.ok_or_else(|| ErrorKind::TimedOut.into())
}

/// The response to a request.
fn answer(request: &[u8], metrics: &dyn Fn() -> String) -> Vec<u8> {
    let line = request.split(|b| *b == b'\r').next().unwrap_or_default();
    let words: Vec<_> = line.split(|b| *b == b' ').collect();
    let (status, body) = match words.as_slice() {
        [b"GET", path, version] if version.starts_with(b"HTTP/1.") => {
            match path.split(|b| *b == b'?').next() {
                Some(b"/metrics" | b"/") => ("200 OK", metrics()),
                _ => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
            }
        }
        [_, _, version] if version.starts_with(b"HTTP/1.") => {
            ("405 Method Not Allowed", "metrics are for GET\n".to_owned())
        }
        _ => ("400 Bad Request", "this is no request of HTTP\n".to_owned()),
    };
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(request: &[u8]) -> String {
        let response = String::from_utf8(answer(request, &|| "varpd_x 1\n".into())).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        head.split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn requests() {
        for (request, code) in [
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), "200"),
            (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", "200"),
            (b"GET / HTTP/1.1\r\n\r\n", "200"),
            (b"GET /metric HTTP/1.1\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /metrics HTTP/2\r\n\r\n", "400"),
            (b"GET /metrics", "400"),
            (b"\xff\xfe \xff \xff\r\n", "400"),
            (b"", "400"),
        ] {
            assert_eq!(status(request), code, "{}", String::from_utf8_lossy(request));
        }
    }

    #[test]
    fn addresses() {
        assert_eq!("/run/m".parse(), Ok(Address::Unix("/run/m".into())));
        assert_eq!("./m".parse(), Ok(Address::Unix("./m".into())));
        assert_eq!("[::1]:1".parse(), Ok(Address::Tcp("[::1]:1".parse().unwrap())));
        assert!("127.0.0.1:9471".parse::<Address>().is_ok());
        assert!("0.0.0.0:9471".parse::<Address>().unwrap_err().contains("this machine only"));
        assert!("192.0.2.1:9471".parse::<Address>().is_err());
        assert!("9471".parse::<Address>().is_err());
    }
}
