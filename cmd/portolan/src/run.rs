// SPDX-License-Identifier: CDDL-1.0
//! The life of the server: open, listen, say so, wait for the order to stop, drain.

use crate::api::{Api, router};
use crate::args::Args;
use crate::directory::{Directory, OpenError};
use crate::metrics::Metrics;
use crate::notify;
use crate::serve::{Security, Server};
use crate::store::{Engine, StoreError, file, memory};
use clap::Parser;
use slog::{Drain, Level, LevelFilter, Logger, error, info, o, warn};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The command line, or a file that it names.
    #[error("{0}")]
    Config(String),
    /// The store cannot be used as it is.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The system.
    #[error("{0}")]
    System(String),
}

impl RunError {
    /// As SMF reads it: 96 and 95 keep the service from being started again and again.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Config(_) => 96,
            RunError::Store(OpenError::Store(StoreError::Io(_) | StoreError::InUse(_))) => 1,
            RunError::Store(_) => 95,
            RunError::System(_) => 1,
        }
    }
}

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

/// The whole program; `args` start with its name. A library function, so that the lab holds this program
/// too.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    let level = if args.verbose { Level::Debug } else { Level::Info };
    let drain = slog_bunyan::with_name("portolan", std::io::stdout()).build();
    let drain = Mutex::new(LevelFilter::new(drain, level)).fuse();
    let log = Logger::root(drain, o!());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            return end(
                &log,
                &RunError::System(format!("no threads, or nothing to wait for events with: {e}")),
            );
        }
    };
    let result = runtime.block_on(run(args, log.clone()));
    // Whoever did not end within the time to drain does not keep us.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => end(&log, &e),
    }
}

/// Where a person looks, and where a log collector does.
fn end(log: &Logger, e: &RunError) -> ExitCode {
    eprintln!("portolan: {e}");
    error!(log, "{}", e);
    ExitCode::from(e.exit_code())
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args, log: Logger) -> Result<(), RunError> {
    // Before anything is promised to anybody: an order to stop must not kill us.
    let order_to_stop =
        Signals::new().map_err(|e| RunError::System(format!("no signal handlers: {e}")))?;
    let token = token(&args)?;
    let security = security(&args)?;
    raise_descriptors(&log);
    let began = Instant::now();
    let metrics = Arc::new(Metrics::default());
    let engine: Box<dyn Engine> = match args.volatile {
        true => Box::new(memory::Memory::default()),
        false => Box::new(file::File::open(&args.store).map_err(OpenError::from)?),
    };
    let directory = Directory::open(engine, Arc::clone(&metrics))?;
    let counts = directory.read().counts();
    info!(log, "directory read"; "ports" => counts.ports, "hosts" => counts.hosts,
        "log entries" => counts.log, "ms" => began.elapsed().as_millis() as u64);

    let server = Server::new(directory, metrics, args.limits(), security, log.clone());
    let (order, stop) = watch::channel(false);
    for addr in &args.listen {
        let listener = listen(*addr)?;
        info!(log, "listening for hosts"; "addr" => local(&listener));
        tokio::spawn(Arc::clone(&server).listen(listener, stop.clone()));
    }
    let listener = listen(args.api)?;
    info!(log, "listening for administration"; "addr" => local(&listener));
    let api = Api { server: Arc::clone(&server), token, started: began, stop: stop.clone() };
    let mut ended = stop;
    let http = axum::serve(listener, router(api)).with_graceful_shutdown(async move {
        // An error says that the sender is gone: the end as well.
        let _ = ended.wait_for(|stop| *stop).await;
    });
    let http = tokio::spawn(http.into_future());

    tell(&log, "READY=1\nSTATUS=serving");
    order_to_stop.wait().await;
    info!(log, "stopping");
    tell(&log, "STOPPING=1\nSTATUS=draining");
    order.send_replace(true);
    server.drained().await;
    // Requests of administrators that are under way, within the same limit.
    let _ = tokio::time::timeout(server.limits.drain, http).await;
    info!(log, "stopped");
    Ok(())
}

fn token(args: &Args) -> Result<Option<Arc<str>>, RunError> {
    let Some(file) = &args.token_file else {
        if args.api.ip().is_loopback() {
            return Ok(None);
        }
        let why = format!(
            "--api {} is reachable from other machines: give a --token-file, or an address of this one",
            args.api
        );
        return Err(RunError::Config(why));
    };
    let text = read(file)?;
    let token = text.trim();
    if token.len() < 16 {
        let why = format!("{}: a token has at least 16 characters", file.display());
        return Err(RunError::Config(why));
    }
    Ok(Some(token.into()))
}

fn read(file: &Path) -> Result<String, RunError> {
    std::fs::read_to_string(file).map_err(|e| RunError::Config(format!("{}: {e}", file.display())))
}

#[cfg(not(target_os = "illumos"))]
fn security(args: &Args) -> Result<Security, RunError> {
    match (&args.tls_cert, &args.tls_key, &args.tls_ca) {
        (Some(cert), Some(key), Some(ca)) => crate::serve::tls::acceptor(cert, key, ca)
            .map(Security::Tls)
            .map_err(|e| RunError::Config(e.to_string())),
        _ => Ok(Security::Plain),
    }
}

#[cfg(target_os = "illumos")]
fn security(args: &Args) -> Result<Security, RunError> {
    match args.tls_cert {
        None => Ok(Security::Plain),
        Some(_) => Err(RunError::Config(
            "--tls-cert: this portolan was built without TLS, as all for illumos are yet: leave it \
             out, and listen where only hosts you trust reach it"
                .to_owned(),
        )),
    }
}

fn listen(addr: SocketAddr) -> Result<TcpListener, RunError> {
    let open = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|e| RunError::System(format!("cannot listen at {addr}: {e}")))
}

fn local(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|e| e.to_string(), |addr| addr.to_string())
}

/// Each host is a descriptor, and the usual limit is meant for other programs.
fn raise_descriptors(log: &Logger) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, wanted) {
        warn!(log, "cannot raise the number of descriptors"; "err" => %e);
    }
}

fn tell(log: &Logger, state: &str) {
    if let Err(e) = notify::systemd(state) {
        warn!(log, "cannot notify the service manager"; "err" => %e);
    }
}

/// SIGTERM and SIGINT.
struct Signals([Signal; 2]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    async fn wait(mut self) {
        let [term, int] = &mut self.0;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}
