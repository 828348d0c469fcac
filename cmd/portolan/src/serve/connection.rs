// SPDX-License-Identifier: CDDL-1.0
//! One connection: read, answer, write, within the limits.
//!
//! Reading and writing take turns: while answers wait to be written nothing is read, so a peer that does
//! not read its answers is not listened to either, and TCP tells it to stop.

use super::Server;
use super::answer::{Answerer, Halt};
use slog::{Logger, debug, info, warn};
use std::time::Duration;
use svp::Refusal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// Silence after which a connection that is to drain is closed.
const QUIET: Duration = Duration::from_millis(100);
/// For the peer to take the last answers and close as well.
const LINGER: Duration = Duration::from_secs(1);
/// Most bytes received between two rounds of answering.
const READ_MAX: usize = 64 * 1024;
/// First read buffer: with ten thousand hosts that ask now and then it is most of what they cost.
const READ_MIN: usize = 1024;

pub struct Connection<'a, S> {
    server: &'a Server,
    socket: S,
    stop: watch::Receiver<bool>,
    answerer: Answerer,
    out: Vec<u8>,
    /// Since when a message is incomplete.
    begun: Option<Instant>,
    /// How much to read next.
    appetite: usize,
}

/// Why a connection ends.
enum End {
    /// The peer closed and has all its answers.
    Closed,
    /// We are stopping.
    Drained,
    /// What it sent.
    Refused(Refusal),
    /// A limit, by its name in the metrics.
    Limit(&'static str, Duration),
    /// The socket.
    Lost(std::io::Error),
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Connection<'a, S> {
    pub fn new(server: &'a Server, socket: S, stop: watch::Receiver<bool>) -> Self {
        Connection {
            server,
            socket,
            stop,
            answerer: Answerer::default(),
            out: Vec::new(),
            begun: None,
            appetite: READ_MIN,
        }
    }

    pub async fn run(mut self, log: &Logger) {
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let metrics = &self.server.metrics;
        match &end {
            End::Closed | End::Drained => debug!(log, "connection closed"),
            End::Refused(why) => {
                metrics.refused(why);
                warn!(log, "connection closed: {}", why);
            }
            End::Limit(name, limit) => {
                metrics.closed(name);
                info!(log, "connection closed: {} for {:?}", name, limit);
            }
            End::Lost(e) => {
                metrics.closed("lost");
                info!(log, "connection lost"; "err" => %e);
            }
        }
        // What was answered before the end is still the peer's. It arrives if we close after reading all
        // that was sent: else TCP resets, and the peer may lose it.
        if !matches!(end, End::Lost(_) | End::Limit("stall", _)) {
            let _ = timeout(LINGER, self.say_goodbye()).await;
        }
    }

    async fn say_goodbye(&mut self) -> Result<(), End> {
        self.flush().await?;
        self.socket.shutdown().await.map_err(End::Lost)?;
        let mut rest = [0; 4096];
        while self.socket.read(&mut rest).await.map_err(End::Lost)? > 0 {}
        Ok(())
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            let Server { directory, metrics, limits, .. } = self.server;
            let halt = self.answerer.answer(directory, metrics, &mut self.out, limits.outstanding);
            match halt.map_err(End::Refused)? {
                Halt::Hungry => {
                    self.flush().await?;
                    self.read().await?;
                }
                Halt::Full => {
                    self.flush().await?;
                    // Others have waited for as long as a batch takes.
                    tokio::task::yield_now().await;
                }
                Halt::Remove(token, ids) => {
                    self.flush().await?;
                    let owners = self.answerer.owners();
                    let done = directory.remove_log(ids, owners).await.is_ok();
                    self.answerer.removed(token, done, metrics, &mut self.out);
                }
                Halt::Forget(host, ids) => {
                    self.flush().await?;
                    let n = ids.len() as u64;
                    // If the store does not take it, it is tried again when the host asks again.
                    if directory.remove_log(ids, vec![host]).await.is_ok() {
                        metrics.forgotten.inc_by(n);
                    }
                }
            }
        }
    }

    /// Writes all answers. The peer need not take them at once, but some of them every now and then.
    async fn flush(&mut self) -> Result<(), End> {
        let limit = self.server.limits.stall;
        let mut written = 0;
        while written < self.out.len() {
            match timeout(limit, self.socket.write(&self.out[written..])).await {
                Err(_) => return Err(End::Limit("stall", limit)),
                Ok(Err(e)) => return Err(End::Lost(e)),
                Ok(Ok(0)) => return Err(End::Lost(std::io::ErrorKind::WriteZero.into())),
                Ok(Ok(n)) => written += n,
            }
        }
        if written > 0 {
            timeout(limit, self.socket.flush())
                .await
                .map_err(|_| End::Limit("stall", limit))?
                .map_err(End::Lost)?;
            self.server.metrics.sent.inc_by(written as u64);
        }
        self.out.clear();
        if self.out.capacity() > READ_MAX {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Receives more bytes.
    async fn read(&mut self) -> Result<(), End> {
        let limits = &self.server.limits;
        let now = Instant::now();
        self.begun = match self.answerer.stream.is_mid_message() {
            true => self.begun.or(Some(now)),
            false => None,
        };
        let (until, name, limit) = match self.begun {
            Some(begun) => (begun + limits.message, "message", limits.message),
            None => (now + limits.idle, "idle", limits.idle),
        };
        let buffer = self.answerer.stream.buffer();
        buffer.reserve(self.appetite);
        let room = buffer.capacity() - buffer.len();
        let stopping = *self.stop.borrow();
        let result = if stopping {
            match timeout(QUIET, self.socket.read_buf(buffer)).await {
                Ok(result) => result,
                Err(_) => return Err(End::Drained),
            }
        } else {
            tokio::select! {
                read = timeout_at(until, self.socket.read_buf(buffer)) => match read {
                    Ok(result) => result,
                    Err(_) => return Err(End::Limit(name, limit)),
                },
                _ = self.stop.wait_for(|stop| *stop) => return Ok(()),
            }
        };
        match result {
            Err(e) => Err(End::Lost(e)),
            Ok(0) => match self.answerer.stream.end() {
                Ok(()) => Err(End::Closed),
                Err(why) => Err(End::Refused(why)),
            },
            Ok(n) => {
                self.server.metrics.received.inc_by(n as u64);
                // A peer that fills the buffer gets a larger one.
                self.appetite = if n == room { READ_MAX } else { READ_MIN.max(n) };
                Ok(())
            }
        }
    }
}
