// SPDX-License-Identifier: CDDL-1.0
//! The module `drv/ipnet` and its device.
use crate::stack::Stack;
use crate::stream::{MINOR_LO, ROOM, Stream};
use crate::{Ipnet, STATE, dlpi, ipnet};
use core::ffi::{CStr, c_int};
use ddi::dev::{Cred, DevInfo, Driver, major_of};
use ddi::ids::IdSpace;
use ddi::mem::{KArc, KBox, KVec, Table};
use ddi::module::{self, Module};
use ddi::stream::{self, Ioctl, ReadQueue, StreamDriver};
use ddi::sync::{KMutex, Rcu};
use ddi::task::TaskQueue;
use ddi::{Errno, netstack, sys};

static INFO: Table<sys::module_info> = Table::new(stream::module_info::<Node>());
static READ: Table<sys::qinit> = Table::new(stream::read_init::<Node>(&INFO));
static WRITE: Table<sys::qinit> = Table::new(stream::write_init::<Node>(&INFO));
static STREAMS: Table<sys::streamtab> = Table::new(stream::streamtab(&READ, &WRITE));
static CB_OPS: Table<sys::cb_ops> = Table::new(stream::stream_cb_ops(&STREAMS));
static DEV_OPS: Table<sys::dev_ops> = Table::new(stream::stream_dev_ops::<Node>(&CB_OPS));
static DRIVER: sys::modldrv = module::driver_linkage(c"IP observability driver", &DEV_OPS);
static LINKAGE: sys::modlinkage = module::linkage(&DRIVER);

/// The first minor number that is given out.
const MINOR_MIN: i32 = 2;
/// Behind the last: what fits a 32-bit program's dev_t (`MAXMIN32`).
const MINOR_END: i32 = 0x3ffff;

/// The module `drv/ipnet`.
pub fn module() -> Module {
    Module {
        name: "drv/ipnet",
        init: ipnet_module_init,
        fini: ipnet_module_fini,
        info: ipnet_module_info,
    }
}

unsafe extern "C" fn ipnet_module_init() -> c_int {
    Errno::code(init())
}

fn init() -> Result<(), Errno> {
    let state = Ipnet {
        stacks: KMutex::new(KVec::new()),
        bpf: Rcu::new(None),
        dip: KMutex::new(None),
        looks: TaskQueue::new(c"ipnet_nic_event_queue").ok_or(Errno::ENOMEM)?,
        minors: KArc::new(IdSpace::new(c"ipnet_minor_space", MINOR_MIN, MINOR_END)),
        major: major_of(c"ipnet").ok_or(Errno::ENODEV)?,
    };
    if !STATE.set(KBox::new(state)) {
        return Err(Errno::EBUSY);
    }
    netstack::register::<Stack>();
    module::install(&LINKAGE).inspect_err(|_| unload())
}

/// Takes down what a module that is not installed has.
fn unload() {
    netstack::unregister::<Stack>();
    // SAFETY: not installed: no entry point runs or will; stacks are gone, and with the state goes
    // the thread, after its last task.
    drop(unsafe { STATE.take() });
}

unsafe extern "C" fn ipnet_module_fini() -> c_int {
    Errno::code(module::remove(&LINKAGE).map(|()| unload()))
}

unsafe extern "C" fn ipnet_module_info(info: *mut sys::modinfo) -> c_int {
    // SAFETY: the kernel's.
    unsafe { module::info(&LINKAGE, info) }
}

/// `/dev/lo0` and `/dev/ipnet`.
struct Node;

impl Driver for Node {
    const NODE: &'static CStr = c"lo0";
    const MINOR: u32 = MINOR_LO;

    fn attach(dip: DevInfo) -> Result<(), Errno> {
        *ipnet()?.dip.lock() = Some(dip);
        Ok(())
    }

    fn detach() -> Result<(), Errno> {
        *ipnet()?.dip.lock() = None;
        Ok(())
    }

    fn dip() -> Option<DevInfo> {
        *ipnet().ok()?.dip.lock()
    }
}

impl StreamDriver for Node {
    const ID: u16 = 1;
    const NAME: &'static CStr = c"ipnet";
    const ROOM: usize = ROOM;
    type Stream = Stream;
    type Reply = dlpi::Bytes;

    fn open(queue: ReadQueue, minor: u32, cred: Cred) -> Result<(KArc<Stream>, u32), Errno> {
        Stream::open(queue, minor, cred)
    }

    fn start(stream: &KArc<Stream>) {
        stream.start();
    }

    fn stop(stream: &KArc<Stream>) {
        stream.stop();
    }

    fn request(stream: &KArc<Stream>, request: &[u8]) -> Option<dlpi::Bytes> {
        stream.request(request)
    }

    fn ioctl(_stream: &KArc<Stream>, cmd: i32, count: usize) -> Ioctl {
        Stream::ioctl(cmd, count)
    }

    fn argument(stream: &KArc<Stream>, cmd: i32, data: &[u8]) -> Result<i32, Errno> {
        stream.argument(cmd, data)
    }
}
