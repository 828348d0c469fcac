// SPDX-License-Identifier: CDDL-1.0
//! Shows what varpd does: the daemon, its instances, what became of their lookups, its plugins.
//!
//! ```text
//!   varpdadm ==VARPD_ADM_STATUS==> varpd's door          one value: libvarpd::status::Status
//!      |     ==names of links====> dlmgmtd's door
//!      +--> view: what a command shows, for --json  --> table: the same for people
//! ```
//!
//! It changes nothing; that is dladm's business. Whoever may use varpd's door may see all of it.
//!
//! # Vocabulary
//!
//! * *status*: what varpd says, of one moment.
//! * *view*: the part of a status that one command shows. People and `--json` see the same view.

mod table;
mod view;

use clap::{Args, Parser, Subcommand};
use devctl::Root;
use libdladm::dlmgmt;
use libvarpd::status::Status;
use libvarpd_client::Client;
use overlay_abi::door::VARPD_DOOR;
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use view::{Link, View};

/// Show what varpd, the virtual ARP daemon of overlay networks, does.
#[derive(Debug, Parser)]
#[command(name = "varpdadm", version, max_term_width = 100)]
struct Cli {
    /// Directory that stands for / [default: $OVERLAY_ROOT, else $XDG_RUNTIME_DIR/illumos-overlay,
    /// else /tmp/illumos-overlay-UID]
    #[arg(short = 'R', value_name = "ROOT", global = true)]
    root: Option<PathBuf>,
    /// varpd's door [default: ROOT/var/run/varpd/varpd.door]
    #[arg(short = 'd', value_name = "PATH", global = true)]
    door: Option<PathBuf>,
    /// Print JSON, with everything that is known
    #[arg(short = 'j', long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the daemon, and sums over all instances
    Status,
    /// Show instances: link, plugin, state, the last error
    Instances(Which),
    /// Show what became of lookups, how long they took, and what was proxied
    Lookups(Which),
    /// Show what plugins tell of instances: what they are connected to, what they have counted
    Counters(Which),
    /// Show the loaded plugins
    Plugins,
}

#[derive(Debug, Args)]
struct Which {
    /// Names or ids of links; without any, all that have an instance
    #[arg(value_name = "LINK")]
    links: Vec<String>,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("varpd does not run: nobody answers at {}; start it with \"{}\"", .0.display(), START)]
    NotRunning(PathBuf),
    #[error("{}: no permission for varpd's door; try as root", .0.display())]
    NotAllowed(PathBuf),
    #[error("{}: this varpd is another one, which does not know varpdadm", .0.display())]
    Other(PathBuf),
    #[error("{}: {error}", door.display())]
    Door { door: PathBuf, error: Errno },
    #[error("varpd's answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("{0}: no link of this name or id has an instance")]
    NoSuchLink(String),
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
}

/// What starts varpd.
const START: &str =
    if cfg!(target_os = "illumos") { "svcadm enable network/varpd" } else { "varpd -R ROOT" };

/// The whole program; `args` start with its name. A library function, so that the lab holds this
/// program too.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version come this way too.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    match run(cli) {
        // Who reads has enough.
        Err(Error::Write(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("varpdadm: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    let root = Root::from_env_or(cli.root);
    let door = cli.door.unwrap_or_else(|| root.path(VARPD_DOOR));
    let status = ask(door)?;
    let names = Names::of(&root);
    let view = match &cli.command {
        Command::Status => View::status(&status),
        Command::Plugins => View::Plugins(status.plugins),
        Command::Instances(which) => {
            View::Instances(view::instances(&status, &links(&status, &names, which)?))
        }
        Command::Lookups(which) => {
            View::Lookups(view::lookups(&status, &links(&status, &names, which)?))
        }
        Command::Counters(which) => {
            View::Counters(view::counters(&status, &links(&status, &names, which)?))
        }
    };
    let mut text = if cli.json { serde_json::to_string_pretty(&view)? } else { table::show(&view) };
    if cli.json {
        text.push('\n');
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Asks varpd.
fn ask(door: PathBuf) -> Result<Status, Error> {
    match Client::open_path(&door).and_then(|client| client.status()) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EBADF) => Err(Error::NotRunning(door)),
        Err(Errno::EACCES | Errno::EPERM) => Err(Error::NotAllowed(door)),
        Err(Errno::EINVAL) => Err(Error::Other(door)),
        Err(error) => Err(Error::Door { door, error }),
    }
}

/// Where names of links come from. Without it they have none.
struct Names(Option<dlmgmt::Client>);

impl Names {
    fn of(root: &Root) -> Names {
        Names(dlmgmt::Client::open(root.path(dlmgmt::DOOR)).ok())
    }

    fn name(&self, link: u32) -> Option<String> {
        self.0.as_ref()?.link(LinkId(link)).ok().map(|link| link.name)
    }
}

/// The links that are meant, of those that have an instance, in the order of these.
fn links(status: &Status, names: &Names, which: &Which) -> Result<Vec<Link>, Error> {
    let all = status.instances.iter().map(|i| i.report.link);
    let all: Vec<Link> = all.map(|id| Link { id, name: names.name(id) }).collect();
    let is = |link: &Link, wanted: &str| {
        link.name.as_deref() == Some(wanted) || link.id.to_string() == wanted
    };
    if let Some(none) = which.links.iter().find(|wanted| !all.iter().any(|l| is(l, wanted))) {
        return Err(Error::NoSuchLink(none.clone()));
    }
    let meant = |l: &Link| which.links.is_empty() || which.links.iter().any(|wanted| is(l, wanted));
    Ok(all.into_iter().filter(meant).collect())
}
