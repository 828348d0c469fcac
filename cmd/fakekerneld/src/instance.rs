// SPDX-License-Identifier: CDDL-1.0
//! One fakekerneld a root.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use devctl::Root;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

const LOCK: &str = "/var/run/fakekerneld.lock";
/// Where sockets and varpd's files lie.
const DIRECTORIES: [&str; 4] = ["/dev", "/dev/ipnet", "/var/run", "/etc/svc/volatile/dladm"];

/// Makes the root's directories and takes the root for this process until the result is dropped.
pub fn take(root: &Root) -> Result<File> {
    let make = |dir: &Path| {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("cannot make {}", dir.display()))
    };
    make(root.dir())?;
    let owner = std::fs::metadata(root.dir()).with_context(|| root.to_string())?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        // Under /tmp anyone can have made it, and would be in control of what is served there.
        bail!("{root} belongs to another user (uid {owner}); name another directory with -R");
    }
    for dir in DIRECTORIES {
        make(&root.path(dir))?;
    }
    lock(root)
}

fn lock(root: &Root) -> Result<File> {
    let path = root.path(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).with_context(|| path.display().to_string())?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            bail!(
                "another fakekerneld (pid {}) runs under {root}; end it with: \
                 fkadm -R {root} shutdown",
                pid.trim()
            );
        }
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}
