// SPDX-License-Identifier: CDDL-1.0
//! The command line of portolan.

use crate::serve::Limits;
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Directory server for the svp plugin of varpd: tells hosts of overlay networks where guests live.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// Where hosts ask; may be given more than once. The address :: takes IPv4 too.
    #[arg(long, value_name = "ADDR:PORT", default_value = "[::]:1296")]
    pub listen: Vec<SocketAddr>,

    /// Where it is administered (HTTP). Off this machine only with --token-file.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1297")]
    pub api: SocketAddr,

    /// File with the token that administrators show. Without it everybody on this machine is one.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The store: one file, made if it is not there.
    #[arg(
        long,
        value_name = "FILE",
        env = "PORTOLAN_STORE",
        default_value = "/var/portolan/portolan.redb"
    )]
    pub store: PathBuf,

    /// Keep everything in memory only, and lose it at the end.
    #[arg(long, conflicts_with = "store")]
    pub volatile: bool,

    /// TLS: certificate chain of this server (PEM). Hosts without TLS are then refused. Not on illumos yet.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    pub tls_cert: Option<PathBuf>,

    /// TLS: key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// TLS: authorities whose certificates hosts must show (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,

    /// Connections of hosts at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    pub max_connections: usize,

    /// Close a connection after so many seconds of silence.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().idle.as_secs())]
    pub idle: u64,

    /// Close it when a message, or a TLS handshake, takes longer to arrive.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().message.as_secs())]
    pub message_time: u64,

    /// Close it when the host takes none of its answers for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().stall.as_secs())]
    pub stall: u64,

    /// Answers kept for a host that does not read them, bytes; no more is read from it meanwhile.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().outstanding)]
    pub max_outstanding: usize,

    /// Time for connections to end after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().drain.as_secs())]
    pub drain: u64,

    /// Log connections that come and go, too.
    #[arg(short, long)]
    pub verbose: bool,
}

impl Args {
    /// What a peer may take.
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            idle: Duration::from_secs(self.idle),
            message: Duration::from_secs(self.message_time),
            stall: Duration::from_secs(self.stall),
            outstanding: self.max_outstanding.max(1),
            drain: Duration::from_secs(self.drain),
        }
    }
}
