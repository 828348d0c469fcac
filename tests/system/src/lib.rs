// SPDX-License-Identifier: CDDL-1.0
//! What the whole-system tests share: network namespaces, hosts in them, and a way to be skipped honestly.
//!
//! ```text
//!     netns guest          netns host                      netns linux
//!     ping, TCP  <-TAP->  fakekerneld, varpd  <-- veth -->  Linux vxlan device
//! ```
//!
//! Nothing outlives a test: namespaces and processes are removed on drop, also when the test fails.

mod daemon;
pub mod home;
pub mod packet;
pub mod routed;
pub mod svp_v1;

use anyhow::{Context, Result, bail};
pub use daemon::{Daemon, wait};
use std::path::PathBuf;
use std::process::{Command, Output};
pub use test_skip::skip;

/// Why tests with network namespaces cannot run here; `None` where they can.
#[must_use]
pub fn cannot_use_netns() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    for (program, why) in [
        ("ip", "needs ip(8) of iproute2"),
        ("ping", "needs ping(8) of iputils"),
        ("ethtool", "needs ethtool(8)"),
    ] {
        if Command::new(program).arg("-V").output().is_err() {
            return Some(why);
        }
    }
    let probe = format!("ovt-probe-{}", std::process::id());
    match Netns::create(&probe) {
        Ok(_) => None,
        Err(_) => Some("this system gives no network namespaces"),
    }
}

/// A network namespace under /run/netns, removed on drop.
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes the namespace and brings its loopback interface up.
    ///
    /// # Errors
    /// ip(8) failed; what it printed is in the error.
    pub fn create(name: &str) -> Result<Netns> {
        ip(&["netns", "add", name])?;
        let ns = Netns { name: name.into() };
        ns.ip(&["link", "set", "lo", "up"])?;
        Ok(ns)
    }

    /// The name under /run/netns.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs ip(8) in the namespace.
    ///
    /// # Errors
    /// As [`Netns::create`].
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        let mut all = vec!["-n", &self.name];
        all.extend_from_slice(args);
        ip(&all)
    }

    /// A command that will run in the namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.name, program]);
        c
    }

    /// [`in_netns`] of this one.
    pub fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> std::thread::JoinHandle<Result<T>> {
        in_netns(&self.name, f)
    }
}

/// Runs `f` on a thread inside a namespace: sockets it makes are of that namespace.
///
/// # Errors
/// The namespace cannot be entered, or `f` fails.
pub fn in_netns<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::thread::JoinHandle<Result<T>> {
    let path = format!("/run/netns/{name}");
    std::thread::spawn(move || {
        let ns = std::fs::File::open(&path).with_context(|| format!("open {path}"))?;
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&ns),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .context("setns")?;
        f()
    })
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    checked(Command::new("ip").args(args)).map(drop)
}

/// Runs a command to its end.
///
/// # Errors
/// It cannot be started or fails; what it printed is in the error.
pub fn checked(cmd: &mut Command) -> Result<Output> {
    let out = cmd.output().with_context(|| format!("{cmd:?}"))?;
    if !out.status.success() {
        bail!(
            "{cmd:?}: {}\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(out)
}

/// A host in a namespace: fakekerneld and varpd there, and the tools to manage it. Stopped on drop.
pub struct NetnsHost {
    varpd: Daemon,
    kernel: Daemon,
    place: Place,
}

/// Where a host is: what is run there.
struct Place {
    ns: Netns,
    dir: tempfile::TempDir,
}

impl Place {
    fn command(&self, program: &str) -> Command {
        let mut c = self.ns.command(&self.dir.path().join(program).to_string_lossy());
        c.env("OVERLAY_ROOT", self.dir.path().join("root"));
        c
    }

    fn daemon(&self, program: &str, args: &[&str], ready: &str) -> Result<Daemon> {
        let log = self.dir.path().join(format!("{program}.log"));
        let ready = self.dir.path().join("root").join(ready);
        Daemon::start(self.command(program).args(args), &log)?.when(|| ready.exists())
    }
}

impl NetnsHost {
    /// Starts fakekerneld (with the debug kernel's checks) and varpd in `ns`. `exe` is the test's `overlay-tools`.
    ///
    /// # Errors
    /// A daemon did not start; its output is in the error.
    pub fn start(ns: Netns, exe: &str) -> Result<NetnsHost> {
        NetnsHost::start_with(ns, exe, "fakekerneld", &[])
    }

    /// The same with another kernel (`kernel-v1`, `kernel-for-v1`) and plugins more.
    ///
    /// # Errors
    /// As [`NetnsHost::start`].
    pub fn start_with(
        ns: Netns,
        exe: &str,
        kernel: &str,
        more_plugins: &[PathBuf],
    ) -> Result<NetnsHost> {
        let place = Place { ns, dir: tempfile::tempdir()? };
        let dir = place.dir.path();
        for a in lab::state::APPLETS.iter().chain([&"kernel-v1", &"kernel-for-v1"]) {
            std::os::unix::fs::symlink(exe, dir.join(a))?;
        }
        let kernel = place.daemon(kernel, &["--checks", "debug"], "dev/overlay")?;
        let plugins = dir.join("plugins");
        std::fs::create_dir(&plugins)?;
        for p in lab::state::built_plugins(exe.as_ref())?.iter().chain(more_plugins) {
            std::os::unix::fs::symlink(p, plugins.join(p.file_name().unwrap_or_default()))?;
        }
        let args = ["-f", "-i", &plugins.to_string_lossy()];
        let varpd = place.daemon("varpd", &args, "var/run/varpd/varpd.door")?;
        Ok(NetnsHost { varpd, kernel, place })
    }

    /// One of the lab's programs, to be run on this host.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.place.command(program)
    }

    /// Runs one of the lab's programs and returns its output.
    ///
    /// # Errors
    /// It failed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        Ok(String::from_utf8(checked(self.command(program).args(args))?.stdout)?)
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> devctl::Root {
        devctl::Root::from_env_or(Some(self.place.dir.path().join("root")))
    }

    /// What a daemon has logged.
    #[must_use]
    pub fn log(&self, program: &str) -> String {
        let path = self.place.dir.path().join(format!("{program}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The namespace.
    #[must_use]
    pub fn ns(&self) -> &Netns {
        &self.place.ns
    }

    /// Stops the daemons and reports how they ended: fakekerneld fails when its checks found a violation.
    ///
    /// # Errors
    /// A daemon did not end well; its log is in the error.
    pub fn stop(self) -> Result<()> {
        self.varpd.stop()?;
        self.kernel.stop()
    }
}
