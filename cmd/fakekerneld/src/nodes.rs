// SPDX-License-Identifier: CDDL-1.0
//! The kernel's devices as device nodes of the root.

use std::time::Duration;

use devctl::server::{self, Fault, Handle, Kernel, Messages, UserMem};
use devctl::{Got, Message, Model, OpenFlags, PeerCred};
use fakekernel::dev::{self, OpenDev};
use fakekernel::host::{self, Cred};
use fakekernel::streams;
use overlay_abi::errno::Errno;

/// Nodes and who may open them: as devfs has it, with the rights checked again by the drivers.
pub const NODES: [(&str, u32); 3] =
    [("/dev/overlay", 0o600), ("/dev/dld", 0o666), ("/dev/lo0", 0o666)];

/// Opens devices for programs.
pub struct Nodes {
    uid: u32,
}

impl Nodes {
    /// Nodes of a host whose administrator is the user that runs it.
    pub fn new() -> Nodes {
        Nodes { uid: rustix::process::geteuid().as_raw() }
    }
}

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes::new()
    }
}

impl Kernel for Nodes {
    fn open(
        &self,
        node: &str,
        flags: OpenFlags,
        cred: &PeerCred,
    ) -> Result<Box<dyn Handle>, Errno> {
        let administrator = cred.uid == 0 || cred.uid == self.uid;
        let (dl_config, observability) = (administrator, administrator);
        let cred = Cred { uid: cred.uid, dl_config, observability, ..Cred::KERNEL };
        Ok(Box::new(Open(dev::open(node, flags.0 as i32, &cred)?)))
    }
}

struct Open(OpenDev);

impl Handle for Open {
    fn ioctl(&self, cmd: u32, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let model = match model {
            Model::Lp64 => dev::Model::Lp64,
            Model::Ilp32 => dev::Model::Ilp32,
        };
        self.0.ioctl(cmd as i32, arg, model, &Memory(mem))
    }

    fn messages(&self) -> Option<&dyn Messages> {
        self.stream().is_ok().then_some(self)
    }
}

impl Open {
    fn stream(&self) -> Result<&streams::Stream, Errno> {
        self.0.stream().ok_or(Errno::ENOSTR)
    }
}

impl Messages for Open {
    fn put(&self, m: &Message) -> Result<(), Errno> {
        let Message { high, control, data } = m.clone();
        self.stream()?.putmsg(&streams::Message { high, control, data })
    }

    fn get(&self) -> Result<Got, Errno> {
        Ok(match self.stream()?.getmsg(Some(Duration::ZERO))? {
            streams::Got::Message(streams::Message { high, control, data }) => {
                Got::Message(Message { high, control, data })
            }
            streams::Got::Hangup => Got::Hangup,
            streams::Got::Nothing => Got::Nothing,
        })
    }

    fn wait(&self, patience: Duration) {
        let _ = self.stream().map(|s| s.wait_readable(patience));
    }

    fn wake(&self) {
        let _ = self.stream().map(streams::Stream::wake);
    }
}

/// A program's memory as the kernel wants it.
struct Memory<'a>(&'a dyn server::UserMem);

impl host::UserMem for Memory<'_> {
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), host::Fault> {
        self.0.copyin(addr, buf).map_err(|Fault| host::Fault)
    }

    fn copyout(&self, addr: u64, bytes: &[u8]) -> Result<(), host::Fault> {
        self.0.copyout(addr, bytes).map_err(|Fault| host::Fault)
    }
}
