// SPDX-License-Identifier: CDDL-1.0
//! One host of a lab: its root directory, its daemons, and commands run on it.

use anyhow::{Context, Result, bail, ensure};
use fkadm::client::Client;
use rustix::process::{Pid, Signal};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long a daemon may take to stop before it is killed. varpd waits up to a second for its lookup threads.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Set for a daemon that must not outlive the lab: the lab's process id.
const PARENT_ENV: &str = "OVERLAY_LAB_PARENT";

/// A running host.
#[derive(Debug)]
pub struct Host {
    /// Name in the topology.
    pub name: String,
    /// Root directory: `/dev`, `/var/run` and so on of this host.
    pub root: PathBuf,
    daemons: Vec<Daemon>,
}

/// A daemon of a host. The newest is stopped first.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Daemon {
    /// `fakekerneld`, `varpd` or `portolan`.
    pub program: String,
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot (proc(5) field 22): tells a process from a later one of the same id.
    pub started: u64,
}

/// What the kernels of a lab run: the modules that are built in, or files.
#[derive(Debug, Default)]
pub struct Modules {
    /// Options for fakekerneld.
    args: Vec<OsString>,
}

impl Modules {
    /// The files `overlay`, `vxlan` and `ipnet` of a directory; without one, what is built in.
    ///
    /// # Errors
    /// A file is not there.
    pub fn new(dir: Option<&Path>) -> Result<Modules> {
        let mut args = Vec::new();
        let Some(dir) = dir else { return Ok(Modules { args }) };
        for name in ["drv/overlay", "overlay/vxlan", "drv/ipnet"] {
            let file = dir.join(name.rsplit('/').next().unwrap_or(name));
            // The daemons have another directory.
            let file = file
                .canonicalize()
                .with_context(|| format!("{} (cargo xtask kmod makes it)", file.display()))?;
            args.push("--modload".into());
            args.push([OsStr::new(name), OsStr::new("="), file.as_os_str()].into_iter().collect());
        }
        Ok(Modules { args })
    }
}

/// Whether daemons end with the lab (demo) or outlive it (`lab up`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Killed by the system when the lab process dies in whatever way.
    WithLab,
    /// Run on until `lab down`.
    Detached,
}

impl Host {
    /// A host whose daemons were started before, from the lab's record.
    #[must_use]
    pub fn recorded(name: &str, root: PathBuf, daemons: Vec<Daemon>) -> Host {
        Host { name: name.into(), root, daemons }
    }

    /// Makes the root directory and starts fakekerneld and varpd, with the lookup plugins in `plugins`, under it.
    ///
    /// # Errors
    /// A daemon does not become ready; the end of its log is in the error, and nothing of the host is left running.
    pub fn start(
        name: &str,
        root: PathBuf,
        plugins: &Path,
        modules: &Modules,
        lifetime: Lifetime,
    ) -> Result<Host> {
        std::fs::create_dir_all(root.join("log"))
            .with_context(|| format!("cannot create {}", root.display()))?;
        let mut host = Host { name: name.into(), root, daemons: Vec::new() };
        let root = host.root.clone();
        let below = [OsStr::new("-R"), root.as_os_str()];
        let ready = |socket: &'static str| {
            let socket = root.join(socket);
            move || {
                std::os::unix::net::UnixStream::connect(&socket).is_ok() || seqpacket_ready(&socket)
            }
        };
        let modules: Vec<&OsStr> = modules.args.iter().map(OsString::as_os_str).collect();
        let args = [&below, &modules[..]].concat();
        let started = host
            .spawn("fakekerneld", &args, ready("var/run/fakekerneld.sock"), lifetime)
            .and_then(|()| {
                let args = [&below, &[OsStr::new("-f"), OsStr::new("-i"), plugins.as_os_str()][..]]
                    .concat();
                host.spawn("varpd", &args, ready("var/run/varpd/varpd.door"), lifetime)
            });
        host.or_stopped(started)
    }

    /// Starts a portolan that listens at these addresses, for hosts and for administration.
    ///
    /// # Errors
    /// As [`Host::start`].
    pub fn start_directory(
        name: &str,
        root: PathBuf,
        svp: SocketAddr,
        api: SocketAddr,
        lifetime: Lifetime,
    ) -> Result<Host> {
        std::fs::create_dir_all(root.join("log"))
            .with_context(|| format!("cannot create {}", root.display()))?;
        let mut host = Host { name: name.into(), root, daemons: Vec::new() };
        let store = host.root.join("portolan.redb");
        let (svp_text, api_text) = (svp.to_string(), api.to_string());
        let args = ["--listen", &svp_text, "--api", &api_text, "--store"].map(OsStr::new);
        let args = [&args[..], &[store.as_os_str()]].concat();
        let ready = || [svp, api].iter().all(|addr| TcpStream::connect(addr).is_ok());
        let started = host.spawn("portolan", &args, ready, lifetime);
        host.or_stopped(started)
    }

    fn or_stopped(mut self, started: Result<()>) -> Result<Host> {
        match started {
            Ok(()) => Ok(self),
            Err(e) => {
                self.stop();
                Err(e).with_context(|| format!("host {}", self.name))
            }
        }
    }

    /// The daemons, in the order of their start.
    #[must_use]
    pub fn daemons(&self) -> &[Daemon] {
        &self.daemons
    }

    fn spawn(
        &mut self,
        program: &str,
        args: &[&OsStr],
        ready: impl Fn() -> bool,
        lifetime: Lifetime,
    ) -> Result<()> {
        let log_path = self.root.join("log").join(format!("{program}.log"));
        let log = File::create(&log_path)?;
        let mut cmd = applet(program)?;
        // By this the svp plugin finds the host's /etc/hosts.
        cmd.args(args).env("OVERLAY_ROOT", &self.root);
        cmd.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Not in the terminal's process group: Ctrl-C is the lab's to handle, and it stops hosts in order.
        cmd.process_group(0);
        if lifetime == Lifetime::WithLab {
            cmd.env(PARENT_ENV, std::process::id().to_string());
        }
        let mut child = cmd.spawn().with_context(|| format!("cannot start {program}"))?;
        let pid = i32::try_from(child.id())?;
        let started = start_time(pid).unwrap_or(0);
        self.daemons.push(Daemon { program: program.into(), pid, started });
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("{program} ended at start ({status}): {}", tail(&log_path));
            }
            if ready() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{program} is not ready after {START_LIMIT:?}: {}",
                tail(&log_path)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The modules its kernel has loaded.
    ///
    /// # Errors
    /// fakekerneld does not answer.
    pub fn modules(&self) -> Result<Vec<fkadm::proto::Module>> {
        Ok(self.client()?.modinfo()?)
    }

    /// A connection to its kernel.
    ///
    /// # Errors
    /// fakekerneld does not answer.
    pub fn client(&self) -> Result<Client> {
        let root = devctl::Root::from_env_or(Some(self.root.clone()));
        Client::open(&root).with_context(|| format!("host {}", self.name))
    }

    /// A command of the lab's tools set up to run on this host.
    ///
    /// # Errors
    /// This executable cannot be found.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut cmd = applet(program)?;
        cmd.env("OVERLAY_ROOT", &self.root);
        Ok(cmd)
    }

    /// Runs dladm on this host and returns what it printed.
    ///
    /// # Errors
    /// It failed; its diagnostics are in the error.
    pub fn dladm(&self, args: &[&str]) -> Result<String> {
        let out = self.command("dladm")?.args(args).stdin(Stdio::null()).output()?;
        if !out.status.success() {
            bail!(
                "dladm {} on {}: {}",
                args.join(" "),
                self.name,
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// Ends the daemons at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        while let Some(d) = self.daemons.pop() {
            d.kill();
        }
    }

    /// Stops the daemons, newest first, and waits for them.
    ///
    /// Returns what did not go as it should: a daemon that had to be killed or that failed at its end.
    pub fn stop(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        while let Some(d) = self.daemons.pop() {
            if let Some(c) = d.stop() {
                complaints.push(format!("{} on {}: {c}", d.program, self.name));
            }
        }
        complaints
    }
}

impl Daemon {
    /// Whether this very process still runs.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.pid > 0 && start_time(self.pid) == Some(self.started)
    }

    fn kill(&self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.alive()) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let deadline = Instant::now() + STOP_LIMIT;
            while reap(pid).is_none() && self.alive() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn stop(&self) -> Option<String> {
        let pid = Pid::from_raw(self.pid)?;
        if !self.alive() {
            return reap(pid).or_else(|| Some("was no longer running".into()));
        }
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.alive() && Instant::now() < deadline {
            if let Some(status) = reap(pid) {
                return Some(status).filter(|s| !s.is_empty());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.alive() {
            self.kill();
            return Some(format!("did not stop within {STOP_LIMIT:?} and was killed"));
        }
        None
    }
}

/// The end of a child of ours: empty when it was good. `None` while it runs, or when it is no child of ours.
fn reap(pid: Pid) -> Option<String> {
    use rustix::process::{WaitOptions, waitpid};
    let (_, status) = waitpid(Some(pid), WaitOptions::NOHANG).ok()??;
    Some(match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => String::new(),
        (Some(n), _) => format!("ended with exit status {n}"),
        (None, Some(s)) => format!("was killed by signal {s}"),
        (None, None) => "ended in an unknown way".into(),
    })
}

/// In a daemon started by a lab: asks to be ended with the lab, however that ends, `kill -9` included.
pub fn follow_parent() {
    let Some(parent) = std::env::var(PARENT_ENV).ok().and_then(|p| p.parse::<i32>().ok()) else {
        return;
    };
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    // The lab may have died before the line above.
    if rustix::process::getppid().is_some_and(|p| p.as_raw_nonzero().get() != parent) {
        std::process::exit(0);
    }
}

/// This executable under the name of one of the programs in it.
fn applet(program: &str) -> Result<Command> {
    let exe = std::env::current_exe().context("cannot find this executable")?;
    let mut cmd = Command::new(exe);
    cmd.arg0(program);
    Ok(cmd)
}

/// proc(5) field 22. The command name in field 2 may hold blanks and parentheses, so count from the last one.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn seqpacket_ready(path: &Path) -> bool {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let Ok(s) = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None) else { return false };
    SocketAddrUnix::new(path).is_ok_and(|a| connect(&s, &a).is_ok())
}

/// The last lines of a log, for an error message.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(8)..].join("\n  ");
    if last.is_empty() { "it printed nothing".into() } else { format!("\n  {last}") }
}
