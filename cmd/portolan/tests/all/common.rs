// SPDX-License-Identifier: CDDL-1.0
//! A server on a free port, and raw connections to it.

use portolan::change::{Change, Changes};
use portolan::directory::Directory;
use portolan::moray;
use portolan::serve::{Limits, Security, Server};
use portolan::store::memory::Memory;
use portolan::store::{Engine, Kv, Revision, Snapshot, StoreError};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use svp::{Body, Id, Message};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Longer than anything takes on a loaded machine.
pub const LONG: Duration = Duration::from_secs(60);

/// A store whose commits can be made to fail.
#[derive(Clone, Default)]
pub struct Faulty {
    pub inner: Memory,
    pub broken: Arc<AtomicBool>,
}

impl Engine for Faulty {
    fn commit(&self, at: Revision, writes: &[Kv]) -> Result<Revision, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Io("No space left on device".into()));
        }
        self.inner.commit(at, writes)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot()
    }
}

pub struct Running {
    pub runtime: Runtime,
    pub server: Arc<Server>,
    pub addr: SocketAddr,
    pub stop: watch::Sender<bool>,
}

pub fn logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

pub fn run(engine: Box<dyn Engine>, limits: Limits) -> Running {
    let metrics = Arc::default();
    let directory = Directory::open(engine, Arc::clone(&metrics)).unwrap();
    let server = Server::new(directory, metrics, limits, Security::Plain, logger());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    runtime.spawn(Arc::clone(&server).listen(listener, stopped));
    Running { runtime, server, addr, stop }
}

impl Running {
    /// Makes changes that must work.
    pub fn change(&self, restore: bool, changes: Vec<Change>) -> portolan::change::Outcome {
        let changes = Changes { restore, changes };
        self.runtime.block_on(self.server.directory.change(changes)).unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// Sends bytes and reads as many as are expected.
pub fn exchange(stream: &mut TcpStream, send: &[u8], expect: usize) -> Vec<u8> {
    stream.write_all(send).unwrap();
    let mut got = vec![0; expect];
    stream.read_exact(&mut got).unwrap();
    got
}

/// Whether the peer closes, after at most these bytes.
pub fn closes_after(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("a clean end");
    rest
}

pub fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

pub fn vectors(name: &str) -> Value {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap()
}

/// The changes that restore a database of buckets.
pub fn restore(db: &Value) -> Vec<Change> {
    let objects = |bucket: &'static str| db[bucket].as_object().into_iter().flatten();
    let all = moray::BUCKETS.iter().flat_map(|b| objects(b).map(|(k, v)| (*b, k.clone(), v)));
    all.map(|(bucket, key, value)| moray::read(bucket, &key, value).unwrap()).collect()
}

/// A PING of version 1.
pub fn ping(id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Message { version: 1, id: Id::from(id), body: Body::Ping }.encode(&mut out);
    out
}

/// Its answer.
pub fn pong(id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Message { version: 1, id: Id::from(id), body: Body::Pong }.encode(&mut out);
    out
}

/// Closes with RST.
pub fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Waits until something is so.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
