// SPDX-License-Identifier: CDDL-1.0
//! The command line.

use crate::metrics;
use clap::Parser;
use std::path::PathBuf;

/// The virtual ARP daemon of overlay networks.
///
/// It goes on as a daemon, and its start is over when its door answers.
///
/// Exit status: 0 when it works, or, in the foreground, when SIGTERM, SIGINT, SIGHUP or SIGQUIT asked it to stop; 1 for
/// a bad option; 95 for a fatal error.
#[derive(Debug, Parser)]
#[command(version, args_override_self = true)]
pub struct Options {
    /// Directory that stands for / [default: $OVERLAY_ROOT, else $XDG_RUNTIME_DIR/illumos-overlay,
    /// else /tmp/illumos-overlay-UID]
    #[arg(short = 'R', value_name = "ROOT")]
    pub root: Option<PathBuf>,
    /// Directory whose files *.so are plugins, or those in its directory 64; may be given several
    /// times [default: libvarpd_*.so beside varpd]
    #[arg(short = 'i', value_name = "DIR")]
    pub include: Vec<PathBuf>,
    /// Where the door is created [default: ROOT/var/run/varpd/varpd.door]
    #[arg(short = 'd', value_name = "PATH")]
    pub door: Option<PathBuf>,
    /// Stay in the foreground
    #[arg(short = 'f', long)]
    pub foreground: bool,
    /// How long to wait for /dev/overlay and the directory of the door; 0 not at all
    /// [default: 45 as a daemon, without end in the foreground]
    #[arg(short = 'w', long, value_name = "SECONDS")]
    pub wait: Option<u32>,
    /// Threads that ask the driver what to look up, 1 to 1024 [default: two for each CPU and one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub lookup_threads: Option<u16>,
    /// Serve metrics for Prometheus: on a Unix socket if it is a path, else on a port of this machine,
    /// such as 127.0.0.1:9471 [default: not at all]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<metrics::Address>,
    /// User to become when started as root [default: nobody as a daemon; in the foreground root
    /// stays root]
    #[cfg(not(target_os = "illumos"))]
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// File of properties [default: ROOT/etc/varpd.toml, if there is one]
    #[cfg(not(target_os = "illumos"))]
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
