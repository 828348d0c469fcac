// SPDX-License-Identifier: CDDL-1.0
//! The notification thread: link state, MTU and transmit wakeups reach clients outside the
//! provider's call.

use super::mac;
use parking_lot::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// What changed on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Link state: -1 unknown, 0 down, 1 up.
    Link(i32),
    /// Largest payload in bytes.
    Mtu(u32),
    /// The provider has room to transmit again.
    Tx,
}

/// A MAC by its handle, and what changed.
type Event = (usize, Note);

static WORKER: Mutex<Option<(Sender<Event>, JoinHandle<()>)>> = Mutex::new(None);

/// Starts the thread.
pub fn start() {
    let (tx, rx) = channel::<Event>();
    let run = move || {
        for (mh, note) in rx {
            let Some(mac) = mac::hold(mh as _) else { continue };
            for port in mac.ports() {
                port.notify(note);
            }
        }
    };
    *WORKER.lock() =
        std::thread::Builder::new().name("mac_notify".into()).spawn(run).ok().map(|t| (tx, t));
}

/// Ends the thread after what was posted.
pub fn stop() {
    let worker = WORKER.lock().take();
    if let Some((tx, thread)) = worker {
        drop(tx);
        let _ = thread.join();
    }
}

/// Posts a change of a MAC.
pub fn post(mh: illumos_sys_hdrs::mac_handle_t, note: Note) {
    if let Some((tx, _)) = &*WORKER.lock() {
        let _ = tx.send((mh as usize, note));
    }
}
