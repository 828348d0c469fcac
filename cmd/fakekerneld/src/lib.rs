// SPDX-License-Identifier: CDDL-1.0
//! The overlay kernel modules in a process: one host of a simulated network.
//!
//! ```text
//!     dladm, varpd                dladm, varpd              fkadm, lab
//!   <root>/dev/overlay    dlmgmt_door (names of links)   <root>/var/run/fakekerneld.sock
//!   <root>/dev/dld               |                              |
//!   <root>/dev/ipnet/* (snoop)   |                              |
//!        |                 libdladm::dlmgmt                  control ---- guest, capture
//!      nodes                                                    |            |
//!        |                                                      |            |
//!   +----v------------------------------------------------------v------------v----+
//!   | fakekernel:  drv/overlay, overlay/vxlan, drv/ipnet   mac, VNICs, IP, kstats |
//!   +------------------------------------ UDP ------------------------------------+
//! ```
//!
//! # Vocabulary
//!
//! * **root**: the directory that is this host's `/`. One fakekerneld at a time has it: it holds a
//!   lock on `<root>/var/run/fakekerneld.lock`, which stays as a file when it ends.
//! * **guest**: what uses a VNIC ([`guest`]).
//! * **module**: `drv/overlay`, `overlay/vxlan` and `drv/ipnet` are linked in; files for illumos can take their
//!   place, or be others ([`krtld`]). The program is linked at a fixed address for that.
//!
//! # Order of start and end
//!
//! Lock, kernel, modules, nodes and door, control socket last: who can connect to that finds all
//! else there. The end is the reverse: control socket, guests, nodes (which closes every open),
//! links, modules, and then the kernel says what was done wrong. Links are taken away because a
//! driver with links does not unload; a real host would just halt.
//!
//! # Locks
//!
//! The table of guests is held over opening and closing a VNIC, so it comes before all of the
//! kernel's; below it are that of zones and that of nodes. The table of names and a guest's inbox are
//! leaves.

mod capture;
mod control;
mod datagram;
pub mod guest;
mod instance;
mod ip;
mod links;
mod log;
mod modules;
pub mod nodes;
mod underlay;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use devctl::Root;
use devctl::server::Server;
use fakekernel::host::{self, Config, Kernel};
use libdladm::dlmgmt::{self, Table};
use slog::Logger;

/// Run the illumos overlay kernel modules in a process, in the foreground, under a root directory.
///
/// dladm and varpd with the same root use it as their kernel; fkadm administers it. No privilege is
/// needed.
#[derive(Parser)]
#[command(name = "fakekerneld", version, max_term_width = 100)]
struct Options {
    /// Root directory of the host [default: $OVERLAY_ROOT, else $XDG_RUNTIME_DIR/illumos-overlay,
    /// else /tmp/illumos-overlay-UID]
    #[arg(short = 'R', long = "root", value_name = "DIR")]
    root: Option<PathBuf>,
    /// Sockets to send from: each has its own source port, and a flow keeps to one
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = txpool)]
    txpool: usize,
    /// Load this module file for illumos; if NAME is drv/overlay, overlay/vxlan or drv/ipnet, in place of what
    /// is built in. May be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = module_file)]
    modload: Vec<(String, PathBuf)>,
    /// Watch the modules as a debug kernel would; what they do wrong is told at the end, with exit
    /// status 1
    #[arg(long, value_enum, default_value_t = Checks::Off)]
    checks: Checks,
    /// Write a line to this file descriptor, and close it, when everything is ready
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(RawFd).range(0..))]
    ready_fd: Option<RawFd>,
}

fn txpool(s: &str) -> Result<usize, String> {
    match s.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("a number from 1 to 1024".into()),
    }
}

fn module_file(s: &str) -> Result<(String, PathBuf), String> {
    let parts = s.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty());
    let (name, file) = parts.ok_or("must be NAME=FILE, such as drv/overlay=target/kmod/overlay")?;
    Ok((name.to_owned(), file.into()))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Checks {
    /// Record every broken rule; many times slower
    Debug,
    /// None that cost anything
    Off,
}

/// Runs fakekerneld with the arguments of a command line, the program's name first, until it is
/// told to end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_behind(args, Arc::new(nodes::Nodes::new()))
}

/// The same with something between programs and the devices, such as a kernel of another version.
pub fn main_behind(
    args: impl IntoIterator<Item = OsString>,
    devices: Arc<dyn devctl::server::Kernel>,
) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    match run(&options, devices) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("fakekerneld: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, devices: Arc<dyn devctl::server::Kernel>) -> Result<ExitCode> {
    let root = Root::from_env_or(options.root.clone());
    let _lock = instance::take(&root)?;
    let (end, ended) = channel();
    let signal = end.clone();
    ctrlc::set_handler(move || _ = signal.send(())).context("cannot handle signals")?;

    let log = log::logger();
    let kernels = log.clone();
    fakekernel::log::set_sink(Some(Arc::new(move |level, text: &str| {
        log::message(&kernels, level, text);
    })));
    let debug = options.checks == Checks::Debug;
    let checks = if debug { host::Checks::Debug } else { host::Checks::Off };
    let config = Config { checks, txpool: options.txpool, ..Config::default() };
    let kernel = Arc::new(host::boot(config));
    let served = serve(options, &root, devices, &kernel, &log, end, &ended);
    let clean = down(kernel, &log);
    served?;
    Ok(if debug && !clean { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// From modules to a control socket, and back when told to end.
fn serve(
    options: &Options,
    root: &Root,
    devices: Arc<dyn devctl::server::Kernel>,
    kernel: &Arc<Kernel>,
    log: &Logger,
    end: Sender<()>,
    ended: &Receiver<()>,
) -> Result<()> {
    modules::start(kernel, &options.modload).map_err(anyhow::Error::msg)?;

    let underlay = underlay::Underlay::new().map_err(anyhow::Error::msg)?;
    let devices = Arc::new(underlay::Devices::new(devices, underlay));
    let nodes = Arc::new(Server::start(root, &nodes::NODES, devices)?);
    ip::add_node(&nodes, underlay::NODE).map_err(anyhow::Error::msg)?;
    let ip = ip::Ip::new(root, Arc::clone(&nodes)).map_err(anyhow::Error::msg)?;
    let names = Arc::new(Mutex::new(Table::new()));
    let table = Arc::clone(&names);
    let door = door::Server::create(
        root.path(dlmgmt::DOOR),
        0o600,
        Arc::new(move |request, _| links::lock(&table).handle(request)),
    )?;
    let host = control::Host::new(Arc::clone(kernel), names, ip, end);
    let control = control::Server::start(root, host)?;
    ready(options, root)?;
    slog::info!(log, "fakekerneld started"; "root" => root.to_string());

    let _ = ended.recv();
    control.stop();
    drop(door);
    drop(nodes);
    links::remove_all(log);
    Ok(())
}

fn ready(options: &Options, root: &Root) -> Result<()> {
    // Nobody has to listen.
    let _ =
        writeln!(std::io::stdout(), "fakekerneld: ready under {root} (pid {})", std::process::id());
    if let Some(fd) = options.ready_fd {
        // SAFETY: the caller gave us this descriptor to write to and close; nothing else in the
        // process uses it.
        let mut file = unsafe { File::from_raw_fd(fd) };
        writeln!(file, "ready").with_context(|| format!("--ready-fd {fd}"))?;
    }
    Ok(())
}

/// Shuts the kernel down and says what was done wrong; whether that was nothing.
fn down(kernel: Arc<Kernel>, log: &Logger) -> bool {
    // All who held it are gone: the control server waited for its connections.
    let Some(kernel) = Arc::into_inner(kernel) else { return false };
    let Err(found) = kernel.shutdown() else { return true };
    for v in &found {
        slog::error!(log, "violation: {v}");
    }
    false
}
