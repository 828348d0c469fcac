// SPDX-License-Identifier: CDDL-1.0
//! Network namespaces, as ip-netns(8) names them.

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Calls `f` on a thread inside the namespace of this name. What it opens there stays there. It is
/// given the namespace's inode, which is its number among all on this machine.
///
/// # Errors
/// There is no such namespace, or it may not be entered; `f` failed.
pub fn inside<T: Send>(name: &str, f: impl FnOnce(u32) -> io::Result<T> + Send) -> io::Result<T> {
    let path = Path::new("/run/netns").join(name);
    let namespace = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let inode = u32::try_from(fstat(&namespace)?.st_ino).map_err(io::Error::other)?;
    let enter = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        f(inode)
    };
    // A namespace belongs to a thread; this one's shall stay what it is.
    std::thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
