// SPDX-License-Identifier: CDDL-1.0
//! A daemon that a test starts, waits for, kills and stops.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Waits until it holds, as long as a loaded machine may need.
///
/// # Errors
/// A minute was not enough.
pub fn wait(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        ensure!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A process with a file for its output. Killed on drop.
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`. All lives of a daemon may write to one file.
    ///
    /// # Errors
    /// The program or the file cannot be opened.
    pub fn start(command: &mut Command, log: &Path) -> Result<Daemon> {
        let file = std::fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        Ok(Daemon { child, log: log.into() })
    }

    /// The same once it is ready.
    ///
    /// # Errors
    /// It ended, or was not ready within a minute; what it wrote is in the error.
    pub fn when(mut self, mut ready: impl FnMut() -> bool) -> Result<Daemon> {
        let mut end = None;
        let waited = wait("it is not ready", || {
            end = self.child.try_wait().transpose();
            end.is_some() || ready()
        });
        if let Some(status) = end {
            bail!("{}", self.written(&format!("ended: {}", status?)));
        }
        waited.with_context(|| self.written("log"))?;
        Ok(self)
    }

    fn written(&self, what: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("{}: {what}\n{log}", self.log.display())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// waitpid(2) failed.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        ensure!(status.code().is_none(), "{}", self.written(&format!("had ended: {status}")));
        Ok(())
    }

    /// Ends it as an administrator does.
    ///
    /// # Errors
    /// It did not end well; what it wrote is in the error.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}", self.written(&status.to_string()));
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
