// SPDX-License-Identifier: CDDL-1.0
//! A module compiled from C, loaded and used: its own code calls the kernel's functions, and the
//! kernel calls it.
mod cc;

use fakekernel::host::{self, Config, Cred, Kernel, Kind, Model, SelfMem};
use fakekernel::net::client::{Client, Frame, Frames};
use fakekernel::probes;
use krtld::Module;
use overlay_abi::errno::Errno;
use overlay_abi::vnic::*;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use zerocopy::{FromZeros, IntoBytes};

const NAME: &str = "drv/ctest";
const LINK: u32 = 9;
const VNIC: u32 = 90;
const MAC: [u8; 6] = [2, 8, 0x20, 0, 0, 7];

struct Rig {
    kernel: Kernel,
    module: Arc<Module>,
    _dir: tempfile::TempDir,
}

/// The kernel with the module loaded; `None`: skipped.
fn load() -> Option<Rig> {
    let dir = tempfile::tempdir().unwrap();
    let file = cc::module(dir.path(), "ctest", include_str!("ctest.c"), &[])?;
    let kernel = host::boot(Config::default());
    let module = Module::new(NAME, file);
    kernel.register_module_file(module.clone()).unwrap();
    kernel.modload(NAME).unwrap_or_else(|e| panic!("{e}: {:?}", module.refusal()));
    Some(Rig { kernel, module, _dir: dir })
}

impl Rig {
    fn addr(&self, name: &str) -> usize {
        self.module.symbol(name).unwrap_or_else(|| panic!("no symbol {name}"))
    }

    /// Calls a function of the module; it must find nothing wrong.
    fn check(&self, name: &str, arg: usize) {
        // SAFETY: the functions of ctest.c take one word or less, and return an int.
        let line = unsafe {
            std::mem::transmute::<usize, extern "C" fn(usize) -> i32>(self.addr(name))(arg)
        };
        assert_eq!(line, 0, "{name}: ctest.c:{line}");
    }

    fn end(self) {
        self.kernel.modunload(NAME).unwrap();
        assert_eq!(self.module.symbol("_init"), None, "it is unmapped");
        self.kernel.shutdown().unwrap();
    }
}

#[test]
fn lists_trees_locks_and_messages() {
    let Some(rig) = load() else { return };
    for name in ["ctest_list", "ctest_avl", "ctest_cv", "ctest_mblk", "ctest_image"] {
        rig.check(name, 0);
    }
    rig.end();
}

#[test]
fn a_datagram_through_kernel_sockets() {
    let Some(rig) = load() else { return };
    let pid = std::process::id();
    let address = |n: u8| [127, 96 + (pid >> 14 & 7) as u8, (pid >> 6) as u8, (pid << 2) as u8 | n];
    let both = [address(1), address(2)].concat();
    rig.check("ctest_socket", both.as_ptr() as usize);
    rig.end();
}

#[test]
fn a_frame_to_its_link_and_back() {
    let Some(rig) = load() else { return };
    let dld = rig.kernel.open("/dev/dld", 3, &Cred::KERNEL).unwrap();
    let ioctl = |cmd: u32, arg: &mut [u8]| {
        dld.ioctl(cmd as i32, arg.as_mut_ptr() as u64, Model::Lp64, &SelfMem).unwrap();
    };
    let mut create = vnic_ioc_create_t::new_zeroed();
    create.vc_vnic_id = VNIC;
    create.vc_link_id = LINK;
    create.vc_mac_addr_type = VNIC_MAC_ADDR_TYPE_FIXED;
    create.vc_mac_len = 6;
    create.vc_mac_addr[..6].copy_from_slice(&MAC);
    ioctl(VNIC_IOC_CREATE, create.as_mut_bytes());

    let client = Client::open(VNIC).unwrap();
    let (tx, rx) = mpsc::channel();
    let tx = Mutex::new(tx);
    client.set_rx(Arc::new(move |batch| {
        for frame in batch {
            tx.lock().unwrap().send(frame.bytes().into_owned()).unwrap();
        }
    }));
    let far = [2, 8, 0x20, 0, 0, 8];
    let frame = |dst: [u8; 6], src: [u8; 6]| [&dst[..], &src[..], &[0x88, 0xb5], &[7; 60]].concat();
    let frames = Frames::from(Frame::from_slice(&frame(far, MAC)).unwrap());
    assert!(client.tx(frames).is_ok());
    assert_eq!(rx.recv_timeout(Duration::from_secs(5)).unwrap(), frame(MAC, far));
    // SAFETY: a number of the module that nobody changes now.
    assert_eq!(unsafe { *(rig.addr("ctest_frames") as *const u64) }, 1);
    assert_eq!(rig.kernel.modunload(NAME), Err(Errno::EBUSY), "it is in use");

    drop(client);
    ioctl(VNIC_IOC_DELETE, vnic_ioc_delete_t { vd_vnic_id: VNIC }.as_mut_bytes());
    drop(dld);
    rig.end();
}

#[test]
fn it_says_what_it_is_and_can_be_loaded_again() {
    let Some(rig) = load() else { return };
    for _ in 0..3 {
        let info = rig.kernel.modinfo();
        assert_eq!(info.len(), 1);
        assert_eq!((&*info[0].name, &*info[0].description), (NAME, "test driver in C"));
        rig.kernel.modunload(NAME).unwrap();
        assert!(rig.kernel.modinfo().is_empty());
        rig.kernel.modload(NAME).unwrap();
    }
    rig.end();
}

#[test]
fn probes_are_no_ops_until_armed() {
    let Some(dir) = tempfile::tempdir().ok() else { return };
    let Some(file) = cc::module(dir.path(), "ctest", include_str!("ctest.c"), &[]) else { return };
    // Without checks: those arm all probes.
    let kernel = host::boot(Config { checks: host::Checks::Off, ..Config::default() });
    let module = Module::new(NAME, file);
    kernel.register_module_file(module.clone()).unwrap();
    kernel.modload(NAME).unwrap();
    // SAFETY: a function of ctest.c.
    let tick = unsafe {
        std::mem::transmute::<usize, extern "C" fn(u64)>(module.symbol("ctest_tick").unwrap())
    };
    let sites = module.probes();
    let at = |name: &str| sites.iter().find(|(n, _)| n == name).unwrap().1;
    // SAFETY: text of the module.
    let code = |name: &str| unsafe { *(at(name) as *const [u8; 5]) };
    assert_eq!(code("__dtrace_probe_ctest__tick"), [0x90; 5]);
    tick(1);
    assert_eq!(probes::count("ctest-tick"), 0);

    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let armed =
        probes::arm("ctest-tick", Arc::new(move |a| sink.lock().unwrap().push([a[0], a[1]])));
    assert!(armed.is_some(), "a probe that only the module has");
    assert_eq!(code("__dtrace_probe_ctest__tick"), [0xf0, 0x90, 0x90, 0x90, 0x90]);
    assert_eq!(code("__dtrace_probe_overlay__tx"), [0x90; 5], "the other stays as it is");
    tick(5);
    std::thread::scope(|s| {
        for n in [10, 20] {
            s.spawn(move || (0..100).for_each(|_| tick(n)));
        }
    });
    drop(armed);
    tick(6);
    let seen = seen.lock().unwrap();
    let count = |a| seen.iter().filter(|s| **s == [a, a + 1]).count();
    assert_eq!((count(5), count(10), count(20), seen.len()), (1, 100, 100, 201));
    assert_eq!(probes::count("ctest-tick"), 201);
    kernel.shutdown().unwrap();
}

/// Threads run through a site while it is armed and disarmed: what they execute is whole at any
/// time.
#[test]
fn arming_while_others_pass() {
    let Some(rig) = load() else { return };
    // SAFETY: a function of ctest.c.
    let tick = unsafe { std::mem::transmute::<usize, extern "C" fn(u64)>(rig.addr("ctest_tick")) };
    let site = rig.module.probes()[0].1;
    std::thread::scope(|s| {
        for n in 0..2 {
            s.spawn(move || (0..20_000).for_each(|_| tick(n)));
        }
        s.spawn(move || {
            for _ in 0..1000 {
                let armed = probes::arm("ctest-tick", Arc::new(|_| {}));
                drop(armed);
            }
        });
    });
    // With checks on, a probe is always armed.
    // SAFETY: text of the module.
    assert_eq!(unsafe { *(site as *const u8) }, 0xf0);
    rig.end();
}

/// The kernel walks the stack through the module's frames to say whose the memory is, and from
/// where it was asked for.
#[test]
fn a_leak_is_attributed() {
    let Some(rig) = load() else { return };
    // SAFETY: a function of ctest.c.
    unsafe { std::mem::transmute::<usize, extern "C" fn()>(rig.addr("ctest_leak"))() };
    rig.kernel.modunload(NAME).unwrap();
    let found = host::take_violations();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].kind, Kind::Leak);
    assert!(found[0].text.contains("ctest"), "{}", found[0].text);
    assert!(
        found[0].text.contains("a_leak_is_attributed"),
        "the stack goes on behind the module: {}",
        found[0].text
    );
    rig.kernel.shutdown().unwrap();
}
