// SPDX-License-Identifier: CDDL-1.0
//! The virtual ARP daemon: answers the overlay driver's question where a frame goes.
//!
//! ```text
//!   dladm ==> <root>/var/run/varpd/varpd.door ==> varpd <== /dev/overlay
//!                                                   |
//!                                     libvarpd_direct.so, ...
//! ```
//!
//! All the work is libvarpd's; here are options, order of start-up and end (spec/varpd.md 1).
//! Threads: one waits for signals and for the end of a lookup thread, 2 x CPUs + 1 ask the kernel
//! for lookups, the door has its own. Log lines are bunyan JSON on standard error.
//!
//! On illumos varpd is a service: a daemon with few privileges. Elsewhere it runs in the foreground
//! as whoever started it. Persistence is still to come; instances are not destroyed when it ends,
//! and the kernel keeps their links and the questions that were not answered.

#[cfg(target_os = "illumos")]
mod service;
#[cfg(target_os = "illumos")]
mod umem;

#[cfg(not(target_os = "illumos"))]
mod service {
    //! What stands for a service where there is none.

    use std::io;
    use std::path::{Path, PathBuf};

    #[derive(Debug)]
    pub struct Service {
        /// More plugin directories: none.
        pub include_path: Vec<PathBuf>,
    }

    impl Service {
        pub fn start(_dir: &Path, _foreground: bool) -> io::Result<Service> {
            Ok(Service { include_path: Vec::new() })
        }

        pub fn ready(self) -> io::Result<()> {
            Ok(())
        }
    }
}

use clap::Parser;
use devctl::Root;
use libvarpd::{Error, Varpd};
use overlay_abi::door::VARPD_DOOR;
use overlay_abi::errno::Errno;
use service::Service;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use slog::{Drain, Logger, o};
use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

#[cfg(target_os = "illumos")]
#[global_allocator]
static ALLOCATOR: umem::Umem = umem::Umem;

/// Fatal error (`SMF_EXIT_ERR_FATAL`).
const FATAL: u8 = 95;

/// The virtual ARP daemon of overlay networks; a daemon on illumos, elsewhere in the foreground.
///
/// Exit status: 0 when asked to stop by SIGTERM, SIGINT, SIGHUP or SIGQUIT; 1 for a bad option; 95
/// for a fatal error.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Directory that stands for / [default: $OVERLAY_ROOT, else $XDG_RUNTIME_DIR/illumos-overlay,
    /// else /tmp/illumos-overlay-UID]
    #[arg(short = 'R', value_name = "ROOT")]
    root: Option<PathBuf>,
    /// Directory whose files *.so are plugins, or those in its directory 64; may be given several
    /// times [default: libvarpd_*.so beside varpd]
    #[arg(short = 'i', value_name = "DIR")]
    include: Vec<PathBuf>,
    /// Where the door is created [default: ROOT/var/run/varpd/varpd.door]
    #[arg(short = 'd', value_name = "PATH")]
    door: Option<PathBuf>,
    /// Stay in the foreground, as varpd always does where there is no SMF
    #[arg(short = 'f', long)]
    foreground: bool,
}

/// What ends varpd.
enum End {
    /// A signal asked for it.
    Signal(i32),
    /// /dev/overlay does not work any more.
    Kernel(Errno),
}

/// A fatal error, as told to the user.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("another varpd has {0} open")]
    Second(PathBuf),
    #[error(
        "{0} cannot be opened: the overlay driver is the one in C, which refuses every program of \
         64 bits; install the driver that comes with this varpd"
    )]
    OtherDriver(PathBuf),
    #[error(transparent)]
    Varpd(#[from] Error),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("/dev/overlay does not work any more: {0}")]
    Kernel(Errno),
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Fatal {
    let what = what.into();
    move |source| Fatal::Io { what, source }
}

/// The whole program; `args` start with its name. A library function, so that the lab holds this
/// program too.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(e) => {
            // Help and version come this way too.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("varpd: {e}");
            ExitCode::from(FATAL)
        }
    }
}

fn run(options: Options) -> Result<(), Fatal> {
    let root = Root::from_env_or(options.root);
    let log = logger();
    libvarpd::crash::report("varpd").map_err(io("cannot watch for crashes"))?;
    let varpd = open(&root, &log)?;
    let door = options.door.unwrap_or_else(|| root.path(VARPD_DOOR));
    let run_dir = root.path("/var/run/varpd");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&run_dir)
        .map_err(io(format!("cannot create {}", run_dir.display())))?;
    let service =
        Service::start(&run_dir, options.foreground).map_err(io("cannot run as a service"))?;
    for dir in options.include.iter().chain(&service.include_path) {
        varpd.load_plugins(dir)?;
    }
    if options.include.is_empty() && service.include_path.is_empty() {
        load_own_plugins(&varpd)?;
    }

    let (send, ends) = channel();
    wait_for_signals(send.clone())?;
    let mut lookups = Vec::new();
    let result = start_lookups(&varpd, &send, &mut lookups)
        .and_then(|()| varpd.serve(&door).map_err(Fatal::from))
        .and_then(|server| {
            slog::info!(log, "varpd started";
                "root" => root.to_string(),
                "door" => door.display().to_string(),
                "plugins" => varpd.plugins().join(","),
                "foreground" => options.foreground);
            service.ready().map_err(io("cannot tell the parent process"))?;
            // A sender is alive here, so there is an end to receive.
            let end = ends.recv().unwrap_or(End::Kernel(Errno::EIO));
            drop(server);
            match end {
                End::Signal(signal) => {
                    slog::info!(log, "varpd stops"; "signal" => signal);
                    Ok(())
                }
                End::Kernel(e) => Err(Fatal::Kernel(e)),
            }
        });
    // With its last user the device is closed, so that the next varpd can have it when this one is
    // gone.
    varpd.quiesce();
    for thread in lookups {
        let _ = thread.join();
    }
    result
}

/// Opens the device. The kernel has that of a killed varpd open until its last LOOKUP is over, a
/// second at most.
fn open(root: &Root, log: &Logger) -> Result<Arc<Varpd>, Fatal> {
    let patience = Instant::now() + Duration::from_secs(2);
    loop {
        match Varpd::new(root, log.clone()) {
            Err(Error::Device(e)) if e.errno == Errno::EEXIST => {
                if Instant::now() > patience {
                    return Err(Fatal::Second(root.path("/dev/overlay")));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            // An open from 64 bits carries FOFFMAX, and std adds FCLOEXEC: mistakes to that driver.
            Err(Error::Device(e)) if cfg!(target_os = "illumos") && e.errno == Errno::EINVAL => {
                return Err(Fatal::OtherDriver(root.path("/dev/overlay")));
            }
            result => return Ok(result?),
        }
    }
}

/// The log: bunyan records on standard error, a line each.
fn logger() -> Logger {
    let json = slog_bunyan::with_name("varpd", std::io::stderr()).build();
    Logger::root(Mutex::new(json).fuse(), o!())
}

/// Loads the plugins that belong to this varpd: of its directory on illumos, elsewhere those beside
/// the executable, or in `deps` beside it, where cargo leaves them.
fn load_own_plugins(varpd: &Varpd) -> Result<(), Fatal> {
    if cfg!(target_os = "illumos") {
        return Ok(varpd.load_plugins(Path::new("/usr/lib/varpd"))?);
    }
    let exe = std::env::current_exe().map_err(io("cannot find the directory of varpd"))?;
    let beside = exe.parent().unwrap_or(Path::new("/"));
    let mut dirs = [beside.to_owned(), beside.join("deps")].into_iter().map(|d| plugins_in(&d));
    // Other shared objects of a build lie there too, so the name counts.
    let files = dirs.find(|files| !files.is_empty()).unwrap_or_default();
    files.iter().for_each(|file| varpd.load_plugin(file));
    Ok(())
}

/// The files `libvarpd_*.so` of a directory, in order.
fn plugins_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libvarpd_") && name.ends_with(".so")
        })
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

fn wait_for_signals(ends: Sender<End>) -> Result<(), Fatal> {
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).map_err(io("cannot handle signals"))?;
    let wait = move || {
        for signal in signals.forever() {
            // Nobody listens any more once varpd is on its way out.
            let _ = ends.send(End::Signal(signal));
        }
    };
    let thread = Builder::new().name("signals".into()).spawn(wait);
    thread.map(drop).map_err(io("cannot start a thread"))
}

fn start_lookups(
    varpd: &Arc<Varpd>,
    ends: &Sender<End>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), Fatal> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for n in 0..2 * cpus + 1 {
        let (varpd, ends) = (Arc::clone(varpd), ends.clone());
        let run = move || {
            if let Err(e) = varpd.run_lookups() {
                let _ = ends.send(End::Kernel(e));
            }
        };
        let thread = Builder::new().name(format!("lookup-{n}")).spawn(run);
        threads.push(thread.map_err(io("cannot start a thread"))?);
    }
    Ok(())
}
