// SPDX-License-Identifier: CDDL-1.0
//! The virtual ARP daemon: answers the overlay driver's question where a frame goes.
//!
//! ```text
//!   dladm ==> <root>/var/run/varpd/varpd.door ==> varpd <== /dev/overlay
//!                                                   |
//!                                     libvarpd_direct.so, ...
//! ```
//!
//! The work is libvarpd's; here is the process (spec/varpd.md 1).
//!
//! | module | job |
//! |---|---|
//! | `options` | the command line |
//! | `run_dir` | the run directory, and that one varpd has it |
//! | `signals` | signals, taken one by one |
//! | `wait` | waiting for what others make |
//! | `process` | what is inherited, limits, the daemon and the parent that waits for it |
//! | `illumos`, `linux` | properties, privileges, core files: each has the same functions |
//! | `plugins` | which plugins are loaded |
//! | `metrics` | what is counted, for Prometheus |
//!
//! # Order
//!
//! Nothing inherited, signals blocked, run directory taken, /dev/overlay open: that much is the same
//! process that was started, as root, and a mistake is told on its standard error. Then a child goes
//! on (unless in the foreground), gives up root, loads plugins, starts lookup threads, makes the
//! door, and lets its parent end. What is not there yet is waited for, by whichever of the two needs
//! it, and one patience counts for both.
//!
//! # Threads
//!
//! One until the privileges are gone, for a fork and a change of user concern one. Then 2 x CPUs + 1,
//! or as many as an option says, ask the kernel for lookups, the door has its own, one takes signals,
//! and the first waits for what ends varpd. All have signals blocked.
//!
//! # End
//!
//! The door goes, lookups end, the device is closed. Instances stay: the kernel keeps their links,
//! their destinations and the questions that were not answered, the run directory their files, and
//! the next varpd restores them before it asks the kernel for anything. Those that cannot be restored
//! are tried again now and then.
//! Log lines are bunyan JSON on standard error. A log that cannot be written ends nothing.

#[cfg(target_os = "illumos")]
mod illumos;
#[cfg(not(target_os = "illumos"))]
mod linux;
mod log;
mod metrics;
mod options;
mod plugins;
mod process;
mod run_dir;
mod signals;
mod wait;

#[cfg(target_os = "illumos")]
use illumos as system;
#[cfg(not(target_os = "illumos"))]
use linux as system;

use clap::Parser;
use devctl::Root;
use libvarpd::{Error, Varpd};
use options::Options;
use overlay_abi::door::VARPD_DOOR;
use overlay_abi::errno::Errno;
use overlay_abi::target::OVERLAY_DEV;
use process::Parent;
use run_dir::RunDir;
use signals::{REREAD, Signals};
use slog::Logger;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use wait::{Try, Waiter};

#[cfg(target_os = "illumos")]
#[global_allocator]
static ALLOCATOR: illumos::Umem = illumos::Umem;

/// How often instances that could not be restored are tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Fatal error (`SMF_EXIT_ERR_FATAL`).
const FATAL: u8 = 95;

/// How long the start of a daemon waits: less than the minute that SMF gives it, so that what is
/// missing gets told.
const START_WAIT: u32 = 45;

/// How long the device may be busy when it is nobody's: the kernel has that of a killed varpd open
/// until its last LOOKUP is over, a second at most.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// What the system's configuration says about varpd.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_os = "illumos"), derive(serde::Deserialize))]
#[cfg_attr(not(target_os = "illumos"), serde(deny_unknown_fields, default))]
struct Properties {
    /// Directories with plugins.
    include_path: Vec<PathBuf>,
    /// Whom to become.
    user: Option<String>,
    /// How long to wait for what is missing, in seconds.
    wait: Option<u32>,
}

/// What ends varpd.
#[derive(Debug)]
enum End {
    /// A signal asked for it.
    Signal(i32),
    /// It cannot go on.
    Fatal(Fatal),
}

impl<E: Into<Fatal>> From<E> for End {
    fn from(e: E) -> End {
        End::Fatal(e.into())
    }
}

/// A fatal error, as told to the user.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("another varpd runs: process {pid}, which has {file} locked", file = file.display())]
    Second { pid: String, file: PathBuf },
    #[error("another program has {device} open{who}", device = device.display())]
    Busy { device: PathBuf, who: String },
    #[error(
        "cannot {what}: {source}; varpd is started by root, or for a simulated host (-R) by its owner"
    )]
    RunDir { what: String, source: std::io::Error },
    #[error(
        "run directory {path} belongs to user {owner}, who could make varpd believe anything: remove it or start \
         varpd as that user", path = path.display()
    )]
    ForeignRunDir { path: PathBuf, owner: u32 },
    #[error(
        "{0} cannot be opened: the overlay driver is the one in C, which refuses every program of \
         64 bits; install the driver that comes with this varpd"
    )]
    OtherDriver(PathBuf),
    #[error("gave up waiting for {what}: {why}")]
    Waited { what: String, why: String },
    #[cfg(not(target_os = "illumos"))]
    #[error("{path}: {why}", path = path.display())]
    Config { path: PathBuf, why: String },
    #[error(transparent)]
    Varpd(#[from] Error),
    #[error(transparent)]
    Persist(#[from] libvarpd::persist::Error),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("/dev/overlay does not work any more: {0}")]
    Kernel(Errno),
}

fn cannot(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Fatal {
    let what = what.into();
    move |source| Fatal::Io { what, source }
}

/// The whole program; `args` start with its name. A library function, so that the lab holds this
/// program too.
///
/// It closes all descriptors above 2 and may fork: nothing else must be going on in the process.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    system::close_inherited();
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(e) => {
            // Help and version come this way too.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    let log = log::logger();
    match run(options, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Signal(signal)) => {
            slog::info!(log, "varpd stops"; "signal" => signal);
            ExitCode::SUCCESS
        }
        Err(End::Fatal(e)) => {
            // Nobody can be told that this cannot be told.
            let _ = writeln!(std::io::stderr(), "varpd: {e}");
            ExitCode::from(FATAL)
        }
    }
}

/// Never ends well: a signal is an end as well.
fn run(mut options: Options, log: &Logger) -> Result<(), End> {
    absolute(&mut options).map_err(cannot("find the working directory"))?;
    process::detach_input().map_err(cannot("open /dev/null"))?;
    let signals = Signals::block().map_err(cannot("block signals"))?;
    libvarpd::crash::report("varpd").map_err(cannot("watch for crashes"))?;
    let root = Root::from_env_or(options.root.clone());
    let properties = system::properties(&root, &options)?;
    let identity = system::Identity::choose(user(&options, &properties), options.foreground)
        .map_err(cannot("become another user"))?;
    let wait = options.wait.or(properties.wait);
    let wait = if options.foreground { wait } else { Some(wait.unwrap_or(START_WAIT)) };
    let until = wait.map(|wait| Instant::now() + Duration::from_secs(wait.into()));
    let waiter = Waiter { signals: &signals, log, until };

    let mut run_dir = RunDir::claim(&root, log)?;
    let varpd = open(&root, &waiter)?;
    identity
        .own(run_dir.path(), &root.path(OVERLAY_DEV))
        .map_err(cannot(format!("give {} to its user", run_dir.path().display())))?;
    process::raise_limits(!options.foreground);
    system::core_pattern(run_dir.path());
    if !options.foreground || identity.name().is_some() {
        std::env::set_current_dir(run_dir.path())
            .map_err(cannot(format!("enter {}", run_dir.path().display())))?;
    }
    let parent = if options.foreground {
        Parent::none()
    } else {
        let parent = process::daemonize(&signals).map_err(cannot("become a daemon"))?;
        run_dir.write_pid(log);
        parent
    };
    #[cfg(target_os = "illumos")]
    if let Err(e) = libvarpd::probes::register() {
        slog::info!(log, "no probes for DTrace"; "error" => %e);
    }
    identity.assume().map_err(cannot("give up privileges"))?;
    if let Some(user) = identity.name() {
        slog::info!(log, "root no more"; "user" => user);
    }
    serve(&options, &properties, &identity.run_dir(run_dir.path()), &varpd, &waiter, parent)
}

/// Paths as they are from any working directory.
fn absolute(options: &mut Options) -> std::io::Result<()> {
    let paths = options.include.iter_mut().chain(&mut options.root).chain(&mut options.door);
    let metrics = options.metrics.iter_mut().filter_map(metrics::Address::path);
    for path in paths.chain(metrics) {
        *path = std::path::absolute(&*path)?;
    }
    Ok(())
}

#[cfg(target_os = "illumos")]
fn user<'a>(_: &'a Options, properties: &'a Properties) -> Option<&'a str> {
    properties.user.as_deref()
}

#[cfg(not(target_os = "illumos"))]
fn user<'a>(options: &'a Options, properties: &'a Properties) -> Option<&'a str> {
    options.user.as_deref().or(properties.user.as_deref())
}

/// Opens the device, when it is there and free.
fn open(root: &Root, waiter: &Waiter<'_>) -> Result<Arc<Varpd>, End> {
    let device = root.path(OVERLAY_DEV);
    let mut busy = None;
    waiter.wait("the overlay driver", || {
        let error = match Varpd::new(root, waiter.log.clone()) {
            Ok(varpd) => return Ok(Try::Done(varpd)),
            Err(Error::Device(e)) => e,
            Err(e) => return Err(e.into()),
        };
        match error.errno {
            Errno::EEXIST | Errno::EBUSY => {
                if busy.get_or_insert_with(Instant::now).elapsed() < BUSY_WAIT {
                    return Ok(Try::NotYet("the last one who had it open is not done".into()));
                }
                // The door's server, whoever that is: this varpd has none yet.
                let who = match door::server(root.path(VARPD_DOOR)) {
                    Some(pid) => format!(": perhaps process {pid}, which serves varpd's door"),
                    None => String::new(),
                };
                Err(Fatal::Busy { device: device.clone(), who })
            }
            // No node; no driver behind it; off illumos, no process behind it.
            Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => Ok(Try::NotYet(error.to_string())),
            Errno::EIO if cfg!(not(target_os = "illumos")) => Ok(Try::NotYet(error.to_string())),
            // An open from 64 bits carries FOFFMAX, and std adds FCLOEXEC: mistakes to that driver.
            Errno::EINVAL if cfg!(target_os = "illumos") => Err(Fatal::OtherDriver(device.clone())),
            _ => Err(Error::Device(error).into()),
        }
    })
}

/// From plugins to the end.
fn serve(
    options: &Options,
    properties: &Properties,
    run_dir: &Path,
    varpd: &Arc<Varpd>,
    waiter: &Waiter<'_>,
    parent: Parent,
) -> Result<(), End> {
    let log = waiter.log;
    plugins::load(varpd, &options.include, &properties.include_path)?;
    varpd.persist_enable(run_dir).map_err(Fatal::from)?;
    varpd.persist_restore().map_err(Fatal::from)?;
    let (send, ends) = channel();
    let mut lookups = Vec::new();
    let n = options.lookup_threads.map_or_else(default_lookup_threads, usize::from);
    let result = start_lookups(varpd, n, &send, &mut lookups).map_err(End::from).and_then(|()| {
        let path = options
            .door
            .clone()
            .unwrap_or_else(|| run_dir.join(Path::new(VARPD_DOOR).file_name().unwrap_or_default()));
        let door = waiter.wait("the directory of the door", || match varpd.serve(&path) {
            Ok(door) => Ok(Try::Done(door)),
            Err(Error::Door { path, source }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Try::NotYet(Error::Door { path, source }.to_string()))
            }
            Err(e) => Err(e.into()),
        })?;
        // One that does not work from the start does not say that it does.
        if let Ok(end) = ends.try_recv() {
            return Err(end);
        }
        let metrics = options.metrics.as_ref().map(|at| {
            metrics::Server::start(at, varpd).map_err(cannot(format!("serve metrics at {at}")))
        });
        let metrics = metrics.transpose()?;
        slog::info!(log, "varpd started";
            "door" => std::path::absolute(&path).unwrap_or(path).display().to_string(),
            "plugins" => varpd.plugins().join(","),
            "foreground" => options.foreground);
        parent.ready().map_err(cannot("tell the parent process"))?;
        let signals = *waiter.signals;
        let (told, reader) = (send.clone(), Arc::downgrade(varpd));
        spawn("signals", move || {
            signals.take(|signal| {
                if signal != REREAD {
                    return told.send(End::Signal(signal)).is_ok();
                }
                if let Some(varpd) = reader.upgrade() {
                    varpd.reread();
                }
                true
            });
        })?;
        // A sender is alive here, so there is an end to receive.
        let end = loop {
            match ends.recv_timeout(RETRY) {
                Ok(end) => break end,
                Err(RecvTimeoutError::Timeout) => varpd.persist_retry(),
                Err(RecvTimeoutError::Disconnected) => break Fatal::Kernel(Errno::EIO).into(),
            }
        };
        drop((door, metrics));
        Err(end)
    });
    // With its last user the device is closed, so that the next varpd can have it when this one is
    // gone.
    varpd.quiesce();
    for thread in lookups {
        let _ = thread.join();
    }
    result
}

fn default_lookup_threads() -> usize {
    2 * std::thread::available_parallelism().map_or(1, usize::from) + 1
}

fn start_lookups(
    varpd: &Arc<Varpd>,
    number: usize,
    ends: &Sender<End>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), Fatal> {
    for n in 0..number {
        let (varpd, ends) = (Arc::clone(varpd), ends.clone());
        threads.push(spawn(&format!("lookup-{n}"), move || {
            if let Err(e) = varpd.run_lookups() {
                let _ = ends.send(Fatal::Kernel(e).into());
            }
        })?);
    }
    Ok(())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fatal> {
    Builder::new().name(name.into()).spawn(run).map_err(cannot("start a thread"))
}
