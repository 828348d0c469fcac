// SPDX-License-Identifier: CDDL-1.0
//! Overlay networks of many hosts on one machine, in one command.
//!
//! ```text
//!     lab ──starts──►  host h1:  fakekerneld ◄─ioctls─ varpd          host h2: the same
//!      │                  ▲  ▲       │  UDP 127.64.1.1:4789  ◄─VXLAN─►  127.64.1.2:4789
//!      ├──dladm───────────┘  │       │
//!      └──control socket─────┘       └─ VNIC g1 ─ guest (smoltcp, or a TAP in a network namespace)
//! ```
//!
//! A *topology* names hosts, their overlay links and their guests. A *lab* is a topology that is up. Every *host* has
//! a root directory of its own, so all of them run on one machine without privilege; guests are inside fakekerneld
//! unless `--netns` asks for namespaces, which needs root. A *directory* is a portolan, which hosts with the svp plugin
//! ask; it has a root directory too. *Networks* of a topology have routers, and may be attached to one another; whether
//! only packets of attached ones cross is what [`crossing`] watches.
//!
//! This one executable holds the other programs too (`dladm`, `fakekerneld`, `fkadm`, `portolan`, `portolanadm`,
//! `snoop`, `varpd`, `varpdadm`), and is any of them when called by that name. So a lab starts its daemons from itself: what runs
//! is what was built with it.
//!
//! Invariants: daemons are stopped newest first (varpd before its kernel). The demo's daemons die with the demo,
//! whatever ends it; those of `lab up` are recorded in [`state`] before they are used, so `lab down` finds them.

pub mod crossing;
mod demo;
pub mod directory;
mod guests;
pub mod host;
mod hosts_file;
mod running;
pub mod state;
pub mod topology;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use host::Modules;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "lab", version, about = "Overlay networks of many hosts on one machine.")]
#[command(after_help = "As an ordinary user guests run inside the lab's processes; with root, \
    `lab up --netns` gives each a network namespace for ordinary programs.")]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Hosts and one overlay: lookups, ping, TCP, a guest that moves, counters; then clean up. About half a minute.
    Demo {
        /// How hosts find guests: by asking a directory or in a file, among three hosts, or not at all, between two.
        #[arg(long, value_enum, default_value_t = demo::Plugin::Svp)]
        plugin: demo::Plugin,
        /// Three virtual networks, of which two are attached to each other and detached while every guest pings every
        /// other one.
        #[arg(long, conflicts_with_all = ["lose_a_directory", "plugin", "tcp"])]
        routed: bool,
        /// With svp: start two directories under one name, and kill one of them.
        #[arg(long)]
        lose_a_directory: bool,
        /// Print the result as one JSON object on standard output (progress goes to standard error).
        #[arg(long)]
        json: bool,
        /// How much TCP data to move, in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        tcp: u64,
        /// Leave captures of the first packets in this directory: of VNICs, of IP, of the underlay.
        #[arg(long, value_name = "DIR")]
        capture: Option<PathBuf>,
        /// Run the module files `overlay` and `vxlan` of this directory instead of what is built in.
        #[arg(long, value_name = "DIR")]
        modload: Option<PathBuf>,
    },
    /// Start a lab.
    Up {
        /// A topology file, or the name of a ready one (`lab topologies`).
        topology: String,
        /// Give each guest a network namespace with a TAP device (needs root).
        #[arg(long)]
        netns: bool,
        /// Run the module files `overlay` and `vxlan` of this directory instead of what is built in.
        #[arg(long, value_name = "DIR")]
        modload: Option<PathBuf>,
    },
    /// Stop a lab and remove all it left.
    Down {
        /// Its name; may be left out when only one lab is up.
        name: Option<String>,
    },
    /// Show the labs that are up, their hosts, links and guests.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a command on a host: `lab exec h1 -- dladm show-overlay`.
    ///
    /// The lab's own dladm, fkadm, snoop, varpd, varpdadm and fakekerneld come first in PATH and know the host. In a lab started with
    /// --netns, HOST may also be a guest: the command runs in its namespace.
    Exec {
        /// The lab, when several are up.
        #[arg(short, long)]
        lab: Option<String>,
        /// Host (or guest) name.
        host: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// List the ready topologies, or print one.
    Topologies {
        /// Print this one.
        name: Option<String>,
    },
}

/// The `main` of the executable: the program that argv\[0\] names, the lab by any other name.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = args.first().and_then(|a| Path::new(a).file_name()).unwrap_or_default().to_owned();
    if let Some(applet) = name.to_str().filter(|n| state::APPLETS.contains(n)) {
        host::follow_parent();
        return match applet {
            "dladm" => dladm::main(args),
            "fakekerneld" => fakekerneld::main(args),
            "fkadm" => fkadm::main(args),
            "portolan" => portolan::run::main(args),
            "portolanadm" => portolan::adm::main(args),
            "snoop" => snoop::main(args),
            "varpdadm" => varpdadm::main(args),
            _ => varpd::main(args),
        };
    }
    match run(Cli::parse_from(args)) {
        Ok(code) => code,
        Err(e) if e.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("lab: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Who read standard output has had enough (`lab status | head`): no failure, and nothing to say.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output")]
struct ReaderGone;

/// Prints a line; what [`out!`] stands for.
fn print(line: std::fmt::Arguments<'_>) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        done => done.context("standard output"),
    }
}

/// `println!` whose failure is an error instead of a panic.
macro_rules! out {
    ($($arg:tt)*) => { crate::print(format_args!($($arg)*)) };
}
use out;

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Cmd::Demo { routed: true, json, capture, modload, .. } => {
            demo::routed(&demo::Routed { json, capture }, &Modules::new(modload.as_deref())?)
        }
        Cmd::Demo { plugin, lose_a_directory, json, tcp, capture, modload, .. } => {
            let svp = plugin == demo::Plugin::Svp;
            ensure!(svp || !lose_a_directory, "only svp has directories to lose");
            let tcp_bytes = tcp << 20;
            let show = demo::Show { plugin, lose_a_directory, json, tcp_bytes, capture };
            demo::demo(&show, &Modules::new(modload.as_deref())?)
        }
        Cmd::Up { topology, netns, modload } => {
            running::up(&topology, netns, &Modules::new(modload.as_deref())?)
        }
        Cmd::Down { name } => running::down(&pick(name)?),
        Cmd::Status { json } => running::status(json),
        Cmd::Exec { lab, host, command } => running::exec(&pick(lab)?, &host, &command),
        Cmd::Topologies { name: None } => {
            for (name, text) in topology::READY {
                let about: String = text
                    .lines()
                    .filter_map(|l| l.strip_prefix("# "))
                    .filter(|l| !l.starts_with("SPDX"))
                    .collect::<Vec<_>>()
                    .join(" ");
                out!("{name:<15} {about}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Cmd::Topologies { name: Some(name) } => {
            let (_, text) = topology::READY
                .iter()
                .find(|(n, _)| *n == name)
                .with_context(|| format!("no ready topology {name:?}"))?;
            out!("{}", text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The lab meant when none was named: the only one.
fn pick(name: Option<String>) -> Result<String> {
    if let Some(n) = name {
        return Ok(n);
    }
    let mut names = state::names();
    ensure!(!names.is_empty(), "no lab is up");
    ensure!(names.len() == 1, "several labs are up, name one: {}", names.join(", "));
    Ok(names.remove(0))
}
