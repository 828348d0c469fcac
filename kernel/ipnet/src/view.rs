// SPDX-License-Identifier: CDDL-1.0
//! A look at the interfaces and addresses of a stack.
use crate::accept::{V4, V6};
use crate::header::ALL_ZONES;
use crate::table::{Name, View};
use ddi::Errno;
use ddi::mem::KArc;
use ddi::neti::{Address, Protocol};
use ddi::sys;

/// What each IP says now. Waits for memory.
///
/// # Errors
/// `ENOMEM`: more than the address space.
pub(crate) fn look(protocols: &[KArc<Protocol>]) -> Result<View, Errno> {
    let mut view = View::default();
    for ip in protocols {
        for index in ip.interfaces() {
            // Either may be gone since it was listed.
            let name = ip.name(index).and_then(|name| Name::new(&name));
            let (Some(name), Ok(number)) = (name, u32::try_from(index)) else { continue };
            let up_to = ip.flags(index, 0).unwrap_or(0);
            let loopback = up_to & sys::IFF_LOOPBACK != 0;
            let seen = view.seen(ip.family(), number, name, loopback)?;
            for lif in ip.addresses(index) {
                if ip.flags(index, lif).is_none_or(|f| f & sys::IFF_UP == 0) {
                    continue;
                }
                let (Some(address), Some(zone)) = (ip.address(index, lif), ip.zone(index, lif))
                else {
                    continue;
                };
                match address {
                    Address::V4(addr) => {
                        let broadcast = match ip.broadcast(index, lif) {
                            Some(Address::V4(b)) => b,
                            _ => [0; 4],
                        };
                        seen.add_v4(V4 { addr, broadcast, zone })?;
                    }
                    Address::V6(addr) => seen.add_v6(V6 { addr, zone })?,
                }
            }
        }
    }
    Ok(view)
}

const _: () = assert!(ALL_ZONES == sys::ALL_ZONES);
