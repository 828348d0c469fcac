// SPDX-License-Identifier: CDDL-1.0
//! The run directory, and that one varpd has it.
//!
//! The lock is one of the system, on the file `varpd.pid`: it goes with the process, however that
//! ends, so a file that lies there blocks nobody. What is in the file is for people, and for a
//! second varpd to name the first.

use crate::Fatal;
use devctl::Root;
use slog::Logger;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The directory, on the host.
const RUN_DIR: &str = "/var/run/varpd";
/// The file in it.
const LOCK: &str = "varpd.pid";

/// How long one that was killed may take to be gone, with all its threads.
const DYING: Duration = Duration::from_secs(1);

/// The run directory of this varpd.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: File,
}

impl RunDir {
    /// Makes the directory if there is none, for the owner alone, and takes it.
    pub fn claim(root: &Root, log: &Logger) -> Result<RunDir, Fatal> {
        let path = root.path(RUN_DIR);
        let failed = |what: &str, path: &Path, source: io::Error| Fatal::RunDir {
            what: format!("{what} {}", path.display()),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|e| failed("make run directory", &path, e))?;
        let owner = path.metadata().map_err(|e| failed("examine", &path, e))?.uid();
        let me = rustix::process::geteuid().as_raw();
        // What lies in there is believed. Root makes it its own in a moment.
        if owner != me && owner != 0 && me != 0 {
            return Err(Fatal::ForeignRunDir { path, owner });
        }
        let file = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        options.custom_flags(libc::O_NOFOLLOW);
        let mut lock = options.open(&file).map_err(|e| failed("create", &file, e))?;
        let begin = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begin.elapsed() < DYING => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    let pid = match lock.read_to_string(&mut pid) {
                        Ok(_) if !pid.trim().is_empty() => pid.trim().to_owned(),
                        _ => "unknown".to_owned(),
                    };
                    return Err(Fatal::Second { pid, file });
                }
                Err(TryLockError::Error(e)) => return Err(failed("lock", &file, e)),
            }
        }
        let mut run_dir = RunDir { path, lock };
        run_dir.write_pid(log);
        Ok(run_dir)
    }

    /// Says in the file who has it; again after a fork.
    pub fn write_pid(&mut self, log: &Logger) {
        let pid = format!("{}\n", std::process::id());
        let written = self
            .lock
            .rewind()
            .and_then(|()| self.lock.set_len(0))
            .and_then(|()| self.lock.write_all(pid.as_bytes()));
        // The lock counts, so a full disk is no reason to end.
        if let Err(e) = written {
            slog::warn!(log, "cannot write {}/{LOCK}", self.path.display(); "error" => %e);
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
