// SPDX-License-Identifier: CDDL-1.0
//! A kernel that is older: ours behind something that hides what came with version 2.
//!
//! ```text
//!    varpd, dladm --> V1 --> the devices of fakekerneld
//!                     |
//!                     OVERLAY_TARG_ABI: ENOTTY; with `Age::Kernel` properties 4 to 8 are not there
//! ```
//!
//! An open of /dev/overlay that was never asked for version 2 speaks version 1, so all that varpd
//! and the driver say to each other is what the two of them would say.

use devctl::server::{Handle, Kernel, Messages, UserMem};
use devctl::{Model, OpenFlags, PeerCred};
use fakekerneld::nodes::Nodes;
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::target::OVERLAY_TARG_ABI;

/// Which of the two is old.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// The kernel.
    Kernel,
    /// varpd: it does not know that it can ask for version 2, and nothing else is different.
    Varpd,
}

/// Properties of the driver that version 1 has, in front of those of version 2.
const OLD: i32 = 4;
/// Those of version 2, in front of the encapsulation's.
const NEW: [&str; 5] =
    ["dcid", "vl2_cache_size", "_vl2_cache_a", "route_cache_size", "_route_cache_a"];
/// Where all structures of properties have the id, and the name.
const ID: u64 = 4;
const NAME: u64 = 8;

/// The devices.
pub struct V1 {
    devices: Nodes,
    age: Age,
}

impl V1 {
    /// The devices of fakekerneld, or some of what they do.
    pub fn new(age: Age) -> V1 {
        V1 { devices: Nodes::new(), age }
    }
}

impl Kernel for V1 {
    fn open(
        &self,
        node: &str,
        flags: OpenFlags,
        cred: &PeerCred,
    ) -> Result<Box<dyn Handle>, Errno> {
        let open = self.devices.open(node, flags, cred)?;
        Ok(Box::new(Open { open, age: self.age }))
    }
}

struct Open {
    open: Box<dyn Handle>,
    age: Age,
}

impl Handle for Open {
    fn ioctl(&self, cmd: u32, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let real = || self.open.ioctl(cmd, arg, model, mem);
        match cmd {
            OVERLAY_TARG_ABI => Err(Errno::ENOTTY),
            _ if self.age == Age::Varpd => real(),
            // What is the data center in version 2 is not looked at.
            OVERLAY_IOC_CREATE => with(mem, arg + 4, 0, real),
            OVERLAY_IOC_NPROPS => {
                let done = real()?;
                let all = get(mem, arg + 4)?;
                put(mem, arg + 4, all - NEW.len() as i32)?;
                Ok(done)
            }
            OVERLAY_IOC_PROPINFO | OVERLAY_IOC_GETPROP | OVERLAY_IOC_SETPROP => {
                match get(mem, arg + ID)? {
                    -1 => {
                        let mut name = [0; OVERLAY_PROP_NAMELEN];
                        mem.copyin(arg + NAME, &mut name).map_err(|_| Errno::EFAULT)?;
                        if overlay_abi::c_name(&name).is_some_and(|name| NEW.contains(&name)) {
                            return Err(Errno::ENOENT);
                        }
                        let done = real()?;
                        let id = get(mem, arg + ID)?;
                        if id >= OLD {
                            put(mem, arg + ID, id - NEW.len() as i32)?;
                        }
                        Ok(done)
                    }
                    id if id >= OLD => with(mem, arg + ID, id + NEW.len() as i32, real),
                    _ => real(),
                }
            }
            _ => real(),
        }
    }

    fn messages(&self) -> Option<&dyn Messages> {
        self.open.messages()
    }
}

fn get(mem: &dyn UserMem, at: u64) -> Result<i32, Errno> {
    let mut word = [0; 4];
    mem.copyin(at, &mut word).map_err(|_| Errno::EFAULT)?;
    Ok(i32::from_ne_bytes(word))
}

fn put(mem: &dyn UserMem, at: u64, word: i32) -> Result<(), Errno> {
    mem.copyout(at, &word.to_ne_bytes()).map_err(|_| Errno::EFAULT)
}

/// Makes a call with another word in the caller's memory, which is as it was afterwards.
fn with(
    mem: &dyn UserMem,
    at: u64,
    word: i32,
    call: impl FnOnce() -> Result<i32, Errno>,
) -> Result<i32, Errno> {
    let old = get(mem, at)?;
    put(mem, at, word)?;
    let done = call();
    put(mem, at, old)?;
    done
}
