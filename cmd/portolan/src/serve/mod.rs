// SPDX-License-Identifier: CDDL-1.0
//! The SVP side: who is let in, for how long, and how it ends.
//!
//! Every limit closes one connection, says so in the log, and counts it. On drain the listeners close
//! at once; a connection is closed when its host has been silent for a moment, or when time is up.

pub mod answer;
mod connection;
#[cfg(not(target_os = "illumos"))]
pub mod tls;

use crate::directory::Directory;
use crate::metrics::Metrics;
use connection::Connection;
use slog::{Logger, debug, info, o, warn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What one peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Silence between messages.
    pub idle: Duration,
    /// From the first byte of a message to its last, and for the whole of a TLS handshake.
    pub message: Duration,
    /// For a peer to take some of what it was sent.
    pub stall: Duration,
    /// Answers kept for a peer that does not read, bytes. No more is read from it meanwhile.
    pub outstanding: usize,
    /// From the order to stop to the end.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 20_000,
            idle: Duration::from_secs(600),
            message: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            outstanding: 256 * 1024,
            drain: Duration::from_secs(5),
        }
    }
}

/// How connections begin.
#[derive(Clone)]
pub enum Security {
    /// With the first message.
    Plain,
    /// With a TLS handshake in which both sides show a certificate.
    #[cfg(not(target_os = "illumos"))]
    Tls(tokio_rustls::TlsAcceptor),
}

/// All that connections share.
pub struct Server {
    /// What is asked about.
    pub directory: Directory,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What a peer may take.
    pub limits: Limits,
    /// How connections begin.
    pub security: Security,
    /// JSON lines.
    pub log: Logger,
    open: AtomicUsize,
}

impl Server {
    /// A server that listens nowhere yet.
    pub fn new(
        directory: Directory,
        metrics: Arc<Metrics>,
        limits: Limits,
        security: Security,
        log: Logger,
    ) -> Arc<Server> {
        Arc::new(Server { directory, metrics, limits, security, log, open: AtomicUsize::new(0) })
    }

    /// Accepts connections until `stop` becomes true.
    pub async fn listen(self: Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &stop),
                Err(e) => {
                    // Of the connection that is gone already, or out of descriptors: the latter passes
                    // when others close, and must not be asked about in a tight loop.
                    warn!(self.log, "cannot accept a connection"; "err" => %e);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, stop: &watch::Receiver<bool>) {
        self.metrics.accepted.inc();
        let open = Open::new(self);
        let count = self.open.load(Ordering::Relaxed);
        if count > self.limits.connections {
            warn!(self.log, "connection refused: too many"; "peer" => %peer, "open" => count);
            self.metrics.closed("too_many");
            return;
        }
        // Answers are small and somebody waits for each (B29).
        if let Err(e) = stream.set_nodelay(true) {
            debug!(self.log, "no TCP_NODELAY"; "peer" => %peer, "err" => %e);
        }
        let (server, stop) = (Arc::clone(self), stop.clone());
        tokio::spawn(async move {
            let _open = open;
            server.serve(stream, peer, stop).await;
        });
    }

    async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        stop: watch::Receiver<bool>,
    ) {
        let log = self.log.new(o!("peer" => peer.to_string()));
        debug!(log, "connection accepted");
        match &self.security {
            Security::Plain => Connection::new(&self, stream, stop).run(&log).await,
            #[cfg(not(target_os = "illumos"))]
            Security::Tls(acceptor) => {
                match tls::accept(acceptor, stream, self.limits.message).await {
                    Ok(stream) => Connection::new(&self, stream, stop).run(&log).await,
                    Err(why) => {
                        self.metrics.closed("tls");
                        warn!(log, "connection refused: {}", why);
                    }
                }
            }
        }
    }

    /// Waits until all connections are closed, or the time to drain is up.
    pub async fn drained(&self) {
        let poll = async {
            while self.open.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(self.limits.drain, poll).await.is_err() {
            let open = self.open.load(Ordering::Relaxed);
            info!(self.log, "connections still open after the time to drain"; "open" => open);
        }
    }
}

/// Counts a connection while it exists.
struct Open(Arc<Server>);

impl Open {
    fn new(server: &Arc<Server>) -> Open {
        server.open.fetch_add(1, Ordering::Relaxed);
        server.metrics.connections.inc();
        Open(Arc::clone(server))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections.dec();
    }
}
