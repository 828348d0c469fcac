// SPDX-License-Identifier: CDDL-1.0
//! varpd as a process: started, watched through its log, and gone at the end of the test.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something may take that should take no time: the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A varpd, whose log goes to a file. It is killed if the test ends without stopping it.
pub struct Running {
    /// The process that was started: varpd in the foreground, else the one that waits for it.
    pub child: Child,
    log: PathBuf,
    /// The daemon, once it is known.
    daemon: Option<Pid>,
}

impl Running {
    /// Starts a command with its log in `dir`.
    pub fn launch(command: &mut Command, dir: &Path) -> Running {
        let log = (0..).map(|n| dir.join(format!("varpd.log.{n}"))).find(|p| !p.exists()).unwrap();
        let file = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stderr(file).spawn().expect("varpd runs");
        Running { child, log, daemon: None }
    }

    /// Starts a command and waits until it works.
    pub fn start(command: &mut Command, dir: &Path) -> Running {
        let mut running = Running::launch(command, dir);
        wait_for("varpd started", || {
            let ended = running.child.try_wait().unwrap().is_some_and(|status| !status.success());
            assert!(!ended, "{}", running.text());
            running.said("varpd started")
        });
        running
    }

    /// Starts a daemon: when its parent is done it must work. Its pid is in the run directory.
    pub fn daemon(command: &mut Command, dir: &Path, root: &Path) -> Running {
        let mut running = Running::launch(command, dir);
        assert_eq!(running.status(), 0, "{}", running.text());
        assert!(running.said("varpd started"));
        let pid = std::fs::read_to_string(root.join("var/run/varpd/varpd.pid")).unwrap();
        running.daemon = Pid::from_raw(pid.trim().parse().unwrap());
        running
    }

    /// The process that is varpd.
    pub fn pid(&self) -> Pid {
        self.daemon.unwrap_or_else(|| Pid::from_child(&self.child))
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until the started process ends; its exit status, -1 if a signal ended it.
    pub fn status(&mut self) -> i32 {
        let mut status = None;
        wait_for("varpd ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|s| s.code()).unwrap_or(-1)
    }

    /// Waits until the daemon is gone, whoever reaps it.
    pub fn gone(&mut self) {
        wait_for("the daemon ends", || {
            let stat = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            stat.is_empty() || stat.rsplit(')').next().is_some_and(|s| s.starts_with(" Z"))
        });
        self.daemon = None;
    }

    /// What it wrote so far.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether a record's message holds these words.
    pub fn said(&self, what: &str) -> bool {
        let text = self.text();
        // The message comes first, and behind it the version of the format.
        text.lines().filter_map(|line| line.split("\",\"v\":").next()).any(|m| m.contains(what))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon
            && test_kill_process(daemon).is_ok()
        {
            let _ = kill_process(daemon, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
