// SPDX-License-Identifier: CDDL-1.0
//! Who varpd is off illumos: root becomes an unprivileged user with no capability, and can gain
//! none again.

use nix::unistd::User;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};
use std::io;
use std::path::{Path, PathBuf};

/// Whom a daemon becomes if nothing else is said.
const NOBODY: &str = "nobody";

/// The user varpd is going to be; none if it stays who it is.
#[derive(Debug)]
pub struct Identity(Option<User>);

impl Identity {
    /// The user of that name, or `nobody` for a daemon, if varpd runs as root.
    pub fn choose(name: Option<&str>, foreground: bool) -> io::Result<Identity> {
        let name = match name {
            None if foreground => return Ok(Identity(None)),
            name => name.unwrap_or(NOBODY),
        };
        if !rustix::process::geteuid().is_root() {
            return Ok(Identity(None));
        }
        match User::from_name(name)? {
            Some(user) if !user.uid.is_root() => Ok(Identity(Some(user))),
            // Root by its own name: somebody wants it so.
            Some(_) => Ok(Identity(None)),
            None => Err(io::Error::other(format!("there is no user \"{name}\""))),
        }
    }

    /// The user's name, if it is not the one that varpd was started as.
    pub fn name(&self) -> Option<&str> {
        self.0.as_ref().map(|user| user.name.as_str())
    }

    /// Gives the user what it needs: the run directory with what an earlier varpd left there, and
    /// the device, which the stand-in opens anew for every call at the same time.
    pub fn own(&self, run_dir: &Path, device: &Path) -> io::Result<()> {
        let Some(user) = &self.0 else { return Ok(()) };
        let give = |path: &Path| {
            std::os::unix::fs::lchown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        };
        for entry in std::fs::read_dir(run_dir)? {
            give(&entry?.path())?;
        }
        give(run_dir)?;
        give(device)
    }

    /// Becomes the user. There must be one thread.
    pub fn assume(&self) -> io::Result<()> {
        if let Some(user) = &self.0 {
            for capability in CapabilitySet::all().iter() {
                // One that this kernel does not know is not there to be removed.
                let _ = remove_capability_from_bounding_set(capability);
            }
            let (uid, gid) = (Uid::from_raw(user.uid.as_raw()), Gid::from_raw(user.gid.as_raw()));
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
        }
        if !rustix::process::geteuid().is_root() {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
            let _ = clear_ambient_capability_set();
            set_capabilities(None, sets)?;
            set_no_new_privs(true)?;
        }
        Ok(())
    }

    /// The run directory as it is named from then on: directories above it may be closed to the
    /// user, and it is the working directory.
    pub fn run_dir(&self, run_dir: &Path) -> PathBuf {
        if self.0.is_some() { PathBuf::from(".") } else { run_dir.to_owned() }
    }
}
