// SPDX-License-Identifier: CDDL-1.0
//! Telling the service manager how we are.
//!
//! systemd gives the name of a datagram socket in `NOTIFY_SOCKET`; one that begins with `@` is abstract. SMF
//! takes a process that keeps running as started (the manifest says `duration=child`), and reads exit codes.

use std::os::unix::net::UnixDatagram;

/// Sends a state such as `READY=1`, if somebody wants to know.
pub fn systemd(state: &str) -> std::io::Result<()> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(name) => send(&name, state),
        None => Ok(()),
    }
}

fn send(name: &std::ffi::OsStr, state: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;
        if let Some(name) = name.as_bytes().strip_prefix(b"@") {
            let addr = SocketAddr::from_abstract_name(name)?;
            return socket.send_to_addr(state.as_bytes(), &addr).map(drop);
        }
    }
    socket.send_to(state.as_bytes(), name).map(drop)
}
