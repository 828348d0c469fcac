// SPDX-License-Identifier: CDDL-1.0
//! What tests of varpd share: a kernel that is only /dev/overlay, a varpd over it, and a plugin in C.
//!
//! ```text
//!   test --> Client ==door==> Varpd ==ioctl==> FakeOverlay <-- ask(), answer() -- test
//!                               |
//!                          plugin.c, compiled with the definitions a test wants
//! ```
//!
//! Frames for the proxies, and a judge of their answers, are in [`frames`].
//!
//! The kernel keeps the rules of spec/varpd.md 9.3 and fails on demand. The tests in `system` use the real one.
//! An executable that loads plugins must export libvarpd's functions: see build.rs of libvarpd.

pub mod frames;
pub mod process;
mod restart;

use devctl::server::{Handle, Kernel, Server, UserMem};
use devctl::{Model, OpenFlags, PeerCred, Root};
use libvarpd::Varpd;
use libvarpd_client::Client;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::target::*;
use slog::Logger;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// What the kernel knows of a link.
#[derive(Default)]
pub struct Link {
    /// Parts a destination must have, `OVERLAY_PLUGIN_D_*`.
    pub needs: u32,
    /// Virtual network.
    pub vnetid: u64,
    /// What varpd associated it with.
    pub associated: Option<overlay_targ_associate_t>,
    /// Why it is degraded, if it is.
    pub degraded: Option<String>,
    /// Target cache.
    pub cache: BTreeMap<[u8; 6], overlay_targ_cache_entry_t>,
}

/// Everything the kernel knows, for tests to look at and change.
#[derive(Default)]
pub struct State {
    /// Overlay links by id.
    pub links: HashMap<u32, Link>,
    /// Requests that nobody has.
    pub queue: VecDeque<overlay_targ_lookup_t>,
    /// Requests that varpd has and did not answer, in the order they were taken.
    pub outstanding: Vec<overlay_targ_lookup_t>,
    /// Answers: the point, or a drop.
    pub answers: Vec<(u64, Option<overlay_target_point_t>)>,
    /// Answers to requests that varpd does not have, or has answered.
    pub strays: Vec<u64>,
    /// Frames of requests, by request.
    pub frames: HashMap<u64, Vec<u8>>,
    /// They are not given out any more.
    pub frames_gone: bool,
    /// Frames injected, with their link.
    pub injected: Vec<(u64, Vec<u8>)>,
    /// Frames sent for guests, with their link.
    pub resent: Vec<(u64, Vec<u8>)>,
    /// Associations and their ends, degradations and their ends: command and link.
    pub calls: Vec<(u32, u32)>,
    /// Caches changed: command, and what address of a guest.
    pub cache_changes: Vec<(u32, [u8; 6])>,
    /// What commands on caches fail with.
    pub fail_cache: HashMap<u32, Errno>,
    /// What associations fail with.
    pub fail_associate: Option<Errno>,
    /// What the next lookups fail with, last first.
    pub fail_lookups: Vec<Errno>,
    /// What the next answers fail with, last first.
    pub fail_answers: Vec<Errno>,
    opened: bool,
    last_request: u64,
}

impl State {
    /// Whether a varpd has the device.
    pub fn is_open(&self) -> bool {
        self.opened
    }
}

/// The kernel.
#[derive(Clone, Default)]
pub struct FakeOverlay(Arc<(Mutex<State>, Condvar)>);

impl FakeOverlay {
    /// Its state, locked.
    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an overlay link with the virtual network 100 + its id.
    pub fn add_link(&self, link: u32, needs: u32) {
        let link_state = Link { needs, vnetid: 100 + u64::from(link), ..Link::default() };
        self.state().links.insert(link, link_state);
    }

    /// A frame of instance `id` for `dst` waits; returns the request.
    pub fn ask(&self, link: u32, id: u64, dst: [u8; 6]) -> u64 {
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&dst);
        self.ask_about(link, id, frame)
    }

    /// This untagged frame of instance `id` waits; returns the request.
    pub fn ask_about(&self, link: u32, id: u64, frame: Vec<u8>) -> u64 {
        let mut state = self.state();
        state.last_request += 1;
        let mut request = overlay_targ_lookup_t::new_zeroed();
        request.otl_dlid = link.into();
        request.otl_reqid = state.last_request;
        request.otl_varpdid = id;
        request.otl_hdrsize = 14;
        request.otl_pktsize = frame.len() as u64 - 14;
        request.otl_dstaddr.copy_from_slice(&frame[..6]);
        request.otl_srcaddr.copy_from_slice(&frame[6..12]);
        request.otl_sap = u16::from_be_bytes([frame[12], frame[13]]).into();
        state.frames.insert(request.otl_reqid, frame);
        state.queue.push_back(request);
        self.0.1.notify_all();
        request.otl_reqid
    }

    /// Waits until a condition on the state holds.
    pub fn wait(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let end = Instant::now() + process::LIMIT;
        let mut state = self.state();
        while !holds(&state) {
            let left = end.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("timed out: {what}"));
            // Not every change is told.
            let left = left.min(Duration::from_millis(50));
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the answer to a request.
    pub fn answer(&self, request: u64) -> Option<overlay_target_point_t> {
        let mut answer = None;
        self.wait("an answer", |state| {
            answer = state.answers.iter().find(|(id, _)| *id == request).map(|(_, a)| *a);
            answer.is_some()
        });
        answer.unwrap()
    }
}

impl Kernel for FakeOverlay {
    fn open(&self, _: &str, _: OpenFlags, _: &PeerCred) -> Result<Box<dyn Handle>, Errno> {
        let mut state = self.state();
        if std::mem::replace(&mut state.opened, true) {
            return Err(Errno::EEXIST);
        }
        Ok(Box::new(Open(self.clone())))
    }
}

struct Open(FakeOverlay);

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.opened = false;
        let back = std::mem::take(&mut state.outstanding);
        state.queue.extend(back);
        self.0.0.1.notify_all();
    }
}

fn copyin<T: FromBytes + IntoBytes>(mem: &dyn UserMem, at: u64) -> Result<T, Errno> {
    let mut arg = T::new_zeroed();
    mem.copyin(at, arg.as_mut_bytes()).map_err(|_| Errno::EFAULT)?;
    Ok(arg)
}

fn copyout<T: IntoBytes + zerocopy::Immutable + ?Sized>(
    mem: &dyn UserMem,
    at: u64,
    arg: &T,
) -> Result<(), Errno> {
    mem.copyout(at, arg.as_bytes()).map_err(|_| Errno::EFAULT)
}

/// The link of a request that varpd has.
fn held(state: &State, request: u64) -> Option<u64> {
    state.outstanding.iter().find(|r| r.otl_reqid == request).map(|r| r.otl_dlid)
}

impl Handle for Open {
    fn ioctl(&self, cmd: u32, arg: u64, _: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let mut state = self.0.state();
        let link = |state: &mut State, id: u32| {
            // Only the key is returned so that the state stays free.
            state.links.contains_key(&id).then_some(id).ok_or(Errno::ENOENT)
        };
        if matches!(
            cmd,
            OVERLAY_TARG_ASSOCIATE
                | OVERLAY_TARG_DISASSOCIATE
                | OVERLAY_TARG_DEGRADE
                | OVERLAY_TARG_RESTORE
        ) {
            // The link comes first in all of them.
            state.calls.push((cmd, copyin(mem, arg)?));
        }
        if let Some(e) = state.fail_cache.get(&cmd) {
            return Err(*e);
        }
        match cmd {
            OVERLAY_TARG_INFO => {
                let mut a: overlay_targ_info_t = copyin(mem, arg)?;
                let l = state.links.get(&a.oti_linkid).ok_or(Errno::ENOENT)?;
                (a.oti_needs, a.oti_vnetid) = (l.needs, l.vnetid);
                a.oti_flags = if l.degraded.is_some() { OVERLAY_TARG_INFO_F_DEGRADED } else { 0 };
                copyout(mem, arg, &a)?;
            }
            OVERLAY_TARG_ASSOCIATE => {
                let a: overlay_targ_associate_t = copyin(mem, arg)?;
                if let Some(e) = state.fail_associate {
                    return Err(e);
                }
                let l = state.links.get_mut(&a.ota_linkid).ok_or(Errno::ENOENT)?;
                if l.associated.is_some() {
                    return Err(Errno::EEXIST);
                }
                l.associated = Some(a);
            }
            OVERLAY_TARG_DISASSOCIATE => {
                let a: overlay_targ_id_t = copyin(mem, arg)?;
                state.links.get_mut(&a.otid_linkid).ok_or(Errno::ENOENT)?.associated = None;
            }
            OVERLAY_TARG_LIST => {
                let room = copyin::<overlay_targ_list_t>(mem, arg)?.otl_nents as usize;
                let mut ids: Vec<u32> = state.links.keys().copied().collect();
                ids.sort_unstable();
                copyout(mem, arg, &overlay_targ_list_t { otl_nents: ids.len() as u32 })?;
                copyout(mem, arg + 4, &ids[..room.min(ids.len())])?;
            }
            OVERLAY_TARG_DEGRADE => {
                let a: overlay_targ_degrade_t = copyin(mem, arg)?;
                let text = overlay_abi::c_name(&a.otd_buf).ok_or(Errno::EINVAL)?.to_owned();
                state.links.get_mut(&a.otd_linkid).ok_or(Errno::ENOENT)?.degraded = Some(text);
            }
            OVERLAY_TARG_RESTORE => {
                let a: overlay_targ_id_t = copyin(mem, arg)?;
                state.links.get_mut(&a.otid_linkid).ok_or(Errno::ENOENT)?.degraded = None;
            }
            OVERLAY_TARG_LOOKUP => {
                if let Some(e) = state.fail_lookups.pop() {
                    return Err(e);
                }
                let end = Instant::now() + Duration::from_millis(200);
                loop {
                    if let Some(request) = state.queue.pop_front() {
                        state.outstanding.push(request);
                        drop(state);
                        copyout(mem, arg, &request)?;
                        return Ok(0);
                    }
                    let Some(left) = end.checked_duration_since(Instant::now()) else {
                        return Err(Errno::ETIME);
                    };
                    state = self
                        .0
                        .0
                        .1
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
            OVERLAY_TARG_RESPOND | OVERLAY_TARG_DROP => {
                let a: overlay_targ_resp_t = copyin(mem, arg)?;
                if let Some(e) = state.fail_answers.pop() {
                    return Err(e);
                }
                let at = state.outstanding.iter().position(|r| r.otl_reqid == a.otr_reqid);
                let Some(at) = at else {
                    state.strays.push(a.otr_reqid);
                    return Err(Errno::EINVAL);
                };
                let point = (cmd == OVERLAY_TARG_RESPOND).then_some(a.otr_answer);
                // The driver refuses answers that lead nowhere, and goes on waiting.
                if point.is_some_and(|p| p.otp_ip == [0; 16] || p.otp_port == 0) {
                    return Err(Errno::EINVAL);
                }
                state.outstanding.remove(at);
                state.answers.push((a.otr_reqid, point));
            }
            OVERLAY_TARG_PKT => {
                let mut a: overlay_targ_pkt_t = copyin(mem, arg)?;
                if state.frames_gone || held(&state, a.otp_reqid).is_none() {
                    return Err(Errno::EINVAL);
                }
                let frame = state.frames.get(&a.otp_reqid).ok_or(Errno::EINVAL)?;
                let size = frame.len().min(a.otp_size as usize);
                copyout(mem, a.otp_buf, &frame[..size])?;
                a.otp_size = size as u64;
                copyout(mem, arg, &a)?;
            }
            OVERLAY_TARG_INJECT | OVERLAY_TARG_RESEND => {
                let a: overlay_targ_pkt_t = copyin(mem, arg)?;
                let mut frame = vec![0; a.otp_size as usize];
                mem.copyin(a.otp_buf, &mut frame).map_err(|_| Errno::EFAULT)?;
                let link = match a.otp_linkid {
                    OVERLAY_TARG_PKT_BY_REQUEST => {
                        held(&state, a.otp_reqid).ok_or(Errno::ENOENT)?
                    }
                    link => link,
                };
                if !state.links.contains_key(&(link as u32)) {
                    return Err(Errno::ENOENT);
                }
                let list = match cmd {
                    OVERLAY_TARG_INJECT => &mut state.injected,
                    _ => &mut state.resent,
                };
                list.push((link, frame));
            }
            OVERLAY_TARG_CACHE_GET => {
                let mut a: overlay_targ_cache_t = copyin(mem, arg)?;
                let l = state.links.get(&a.otc_linkid).ok_or(Errno::ENOENT)?;
                if let Some(to) = l.associated.filter(|to| to.ota_mode == OVERLAY_TARGET_POINT) {
                    a.otc_entry.otce_dest = to.ota_point;
                    copyout(mem, arg, &a)?;
                    return Ok(0);
                }
                a.otc_entry = *l.cache.get(&a.otc_entry.otce_mac).ok_or(Errno::ENOENT)?;
                copyout(mem, arg, &a)?;
            }
            OVERLAY_TARG_CACHE_SET => {
                let a: overlay_targ_cache_t = copyin(mem, arg)?;
                let l = state.links.get_mut(&a.otc_linkid).ok_or(Errno::ENOENT)?;
                let (flags, to) = (a.otc_entry.otce_flags, a.otc_entry.otce_dest);
                if flags & !OVERLAY_TARGET_CACHE_DROP != 0
                    || flags == 0 && (to.otp_ip == [0; 16] || to.otp_port == 0)
                {
                    return Err(Errno::EINVAL);
                }
                l.cache.insert(a.otc_entry.otce_mac, a.otc_entry);
                state.cache_changes.push((cmd, a.otc_entry.otce_mac));
            }
            OVERLAY_TARG_CACHE_REMOVE => {
                let a: overlay_targ_cache_t = copyin(mem, arg)?;
                let l = state.links.get_mut(&a.otc_linkid).ok_or(Errno::ENOENT)?;
                l.cache.remove(&a.otc_entry.otce_mac).ok_or(Errno::ENOENT)?;
                state.cache_changes.push((cmd, a.otc_entry.otce_mac));
            }
            OVERLAY_TARG_CACHE_FLUSH => {
                let a: overlay_targ_cache_t = copyin(mem, arg)?;
                state.links.get_mut(&a.otc_linkid).ok_or(Errno::ENOENT)?.cache.clear();
                state.cache_changes.push((cmd, [0; 6]));
            }
            OVERLAY_TARG_CACHE_ITER => {
                let mut a: overlay_targ_cache_iter_t = copyin(mem, arg)?;
                if a.otci_count == 0 {
                    return Err(Errno::EINVAL);
                }
                let id = link(&mut state, a.otci_linkid)?;
                let all = state.links[&id].cache.values();
                let some: Vec<_> =
                    all.skip(a.otci_marker as usize).take(a.otci_count.into()).copied().collect();
                a.otci_marker += some.len() as u64;
                a.otci_count = some.len() as u16;
                copyout(mem, arg, &a)?;
                copyout(mem, arg + 24, some.as_slice())?;
            }
            _ => return Err(Errno::ENOTTY),
        }
        self.0.0.1.notify_all();
        Ok(0)
    }
}

/// Collects log lines.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// All lines so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl slog::Drain for Log {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, r: &slog::Record, values: &slog::OwnedKVList) -> Result<(), slog::Never> {
        struct Text(String);
        impl slog::Serializer for Text {
            fn emit_arguments(&mut self, k: slog::Key, v: &std::fmt::Arguments) -> slog::Result {
                self.0.push_str(&format!(" {k}={v}"));
                Ok(())
            }
        }
        let mut text = Text(format!("{} {}", r.level(), r.msg()));
        let _ = slog::KV::serialize(&r.kv(), r, &mut text);
        let _ = slog::KV::serialize(values, r, &mut text);
        self.0.lock().unwrap().push(text.0);
        Ok(())
    }
}

/// A host: a kernel, a varpd over it with lookup threads and a door.
pub struct Host {
    /// A client of its door.
    pub client: Client,
    /// Its door.
    pub door: Option<door::Server>,
    /// Its varpd.
    pub varpd: Arc<Varpd>,
    /// Its kernel.
    pub kernel: FakeOverlay,
    /// What serves /dev/overlay; without it the kernel is dead.
    pub server: Option<Server>,
    /// What varpd logged.
    pub log: Log,
    /// Where its plugins are.
    pub plugins: PathBuf,
    /// Its root directory.
    pub root: Root,
    /// The same, removed in the end.
    pub dir: TempDir,
}

/// A kernel under a root directory.
pub fn boot(dir: &Path) -> (Root, FakeOverlay, Server) {
    let root = Root::from_env_or(Some(dir.to_owned()));
    std::fs::create_dir_all(dir.join("dev")).unwrap();
    let kernel = FakeOverlay::default();
    let server =
        Server::start(&root, &[("/dev/overlay", 0o600)], Arc::new(kernel.clone())).unwrap();
    (root, kernel, server)
}

/// Destinations of vxlan.
pub const VXLAN: u32 = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;

impl Host {
    /// A host without plugins.
    pub fn bare() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let (root, kernel, server) = boot(dir.path());
        let log = Log::default();
        let varpd =
            Varpd::new(&root, Logger::root(log.clone(), slog::o!())).expect("opens the device");
        for _ in 0..3 {
            let varpd = Arc::clone(&varpd);
            std::thread::spawn(move || varpd.run_lookups());
        }
        let path = dir.path().join("varpd.door");
        let door = Some(varpd.serve(&path).unwrap());
        let client = Client::open_path(&path).unwrap();
        let plugins = dir.path().to_owned();
        Host { client, door, varpd, kernel, server: Some(server), log, plugins, root, dir }
    }

    /// A host with the plugins that `plugin.c` makes of these definitions, each in a file of its
    /// own.
    pub fn with_c_plugins(plugins: &[&[&str]]) -> Host {
        let host = Host::bare();
        let dir = host.dir.path();
        std::thread::scope(|s| {
            for (n, defines) in plugins.iter().enumerate() {
                s.spawn(move || compile(&dir.join(format!("p{n}.so")), defines));
            }
        });
        host.varpd.load_plugins(host.dir.path()).unwrap();
        host
    }

    /// A host with the direct plugin.
    pub fn with_direct() -> Host {
        let host = Host::bare();
        let so = beside_test("libvarpd_direct.so");
        std::os::unix::fs::symlink(so, host.dir.path().join("libvarpd_direct.so")).unwrap();
        host.varpd.load_plugins(host.dir.path()).unwrap();
        host
    }

    /// An instance of a plugin for a new link.
    pub fn instance(&self, link: u32, plugin: &str) -> VarpdId {
        self.kernel.add_link(link, VXLAN);
        self.client.instance_create(LinkId(link), plugin).unwrap()
    }

    /// How often the n-th C plugin's functions were called.
    pub fn calls(&self, n: usize) -> Calls {
        self.plugin(n).calls()
    }

    /// The n-th C plugin.
    pub fn plugin(&self, n: usize) -> CPlugin {
        let path = self.plugins.join(format!("p{n}.so"));
        // SAFETY: loaded already; this finds it.
        CPlugin(unsafe { libloading::Library::new(path) }.unwrap())
    }
}

/// A loaded plugin made of `plugin.c`.
pub struct CPlugin(libloading::Library);

impl CPlugin {
    /// How often its functions were called.
    pub fn calls(&self) -> Calls {
        // SAFETY: plugin.c defines it as a structure of these members.
        let calls = unsafe { self.0.get::<*const Calls>(b"calls\0") }.unwrap();
        // SAFETY: as above; it stays loaded. Each member is a word.
        unsafe { calls.read_volatile() }
    }

    /// Lets its threads answer, if it was made with `HELD`.
    pub fn release(&self) {
        // SAFETY: plugin.c defines it as an int, which it reads atomically.
        let go = unsafe { self.0.get::<*const AtomicI32>(b"go\0") }.unwrap();
        // SAFETY: as above; it stays loaded.
        unsafe { &**go }.store(1, Ordering::SeqCst);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.varpd.quiesce();
    }
}

/// How often the functions of a C plugin were called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Calls {
    /// `vpo_create`
    pub create: i32,
    /// `vpo_start`
    pub start: i32,
    /// `vpo_stop`
    pub stop: i32,
    /// `vpo_destroy`
    pub destroy: i32,
    /// `vpo_lookup`
    pub running: i32,
    /// Calls at a time when there should have been none.
    pub wrong: i32,
    /// What the last registration returned, in numbers of the host.
    pub register: i32,
    /// Questions that it has done with.
    pub answered: i32,
}

/// A file that cargo put where the test is, or one level up.
pub fn beside_test(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let dirs = exe.ancestors().skip(1).take(2);
    let found = dirs.map(|d| d.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{name} is not beside {}", exe.display()))
}

/// Makes a plugin of `plugin.c`, which lists what may be defined.
pub fn compile(out: &Path, defines: &[&str]) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let done = Command::new("cc")
        .args([
            "-shared",
            "-fPIC",
            "-std=gnu99",
            "-Wall",
            "-Wno-unused-function",
            "-Werror",
            "-pthread",
            "-o",
        ])
        .arg(out)
        .args(defines.iter().map(|d| format!("-D{d}")))
        .arg("-I")
        .arg(here.join("../../usr/include"))
        .arg(here.join("plugin.c"))
        .output()
        .expect("cc runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A file that is no shared object.
pub fn write(path: &Path, text: &[u8]) {
    std::fs::File::create(path).unwrap().write_all(text).unwrap();
}
