// SPDX-License-Identifier: CDDL-1.0
//! A system to administer, behind the real boundaries: a control device with the real dialogue, the
//! link management door with the real table, and a varpd door. What it does is little; what it was
//! asked for it writes down in order, and any step can be made to fail.

mod routed;

use devctl::server::{Handle, Kernel, UserMem};
use devctl::{Model, OpenFlags, PeerCred, Root};
use libdladm::dlmgmt;
use overlay_abi::dld::*;
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;
use overlay_abi::props::*;
use overlay_abi::target::*;
use overlay_abi::vnic::*;
use overlay_abi::{c_name, to_c_name};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// A property of either side.
#[derive(Clone)]
pub struct FakeProp {
    pub name: String,
    pub kind: u32,
    pub prot: u32,
    pub default: Vec<u8>,
    pub possible: Possible,
    pub value: Vec<u8>,
}

pub fn prop(name: &str, kind: u32, prot: u32, value: &[u8]) -> FakeProp {
    let name = name.to_owned();
    FakeProp {
        name,
        kind,
        prot,
        default: vec![],
        possible: Possible::default(),
        value: value.to_vec(),
    }
}

impl FakeProp {
    pub fn default(mut self, default: &[u8]) -> FakeProp {
        self.default = default.to_vec();
        self
    }
    pub fn range(mut self, min: u32, max: u32) -> FakeProp {
        self.possible.add_range(min, max);
        self
    }
    pub fn texts(mut self, texts: &[&str]) -> FakeProp {
        texts.iter().for_each(|t| self.possible.add_str(t.as_bytes()));
        self
    }
}

pub struct FakeOverlay {
    pub props: Vec<FakeProp>,
    pub active: bool,
    pub degraded: Option<String>,
}

pub struct FakeInstance {
    pub linkid: u32,
    pub active: bool,
    pub props: Vec<FakeProp>,
}

pub struct FakeVnic {
    pub over: u32,
    pub mac: [u8; 6],
    pub kind: i32,
    pub vid: u16,
}

/// Everything there is.
#[derive(Default)]
pub struct State {
    pub table: dlmgmt::Table,
    pub overlays: BTreeMap<u32, FakeOverlay>,
    pub vnics: BTreeMap<u32, FakeVnic>,
    pub mtu: HashMap<u32, u32>,
    pub instances: BTreeMap<u64, FakeInstance>,
    pub cache: BTreeMap<[u8; 6], varpd_client_cache_entry_t>,
    pub dest: u32,
    pub mode: u32,
    /// Whether the kernel is of version 2.
    pub kernel_v2: bool,
    /// Whether varpd is.
    pub varpd_v2: bool,
    /// Entries that only version 2 has words for.
    pub guests: BTreeMap<(u32, [u8; 6]), varpd_client_cache_entry_t>,
    pub routes: Vec<overlay_abi::target::v2::overlay_targ_route_entry_t>,
    /// Steps taken, such as `dld SETPROP mtu`.
    pub log: Vec<String>,
    /// Steps that fail, by their text in the log.
    pub fail: HashMap<String, Errno>,
    next_instance: u64,
}

impl State {
    fn step(&mut self, step: String) -> Result<(), Errno> {
        let failure = self.fail.get(&step).copied();
        self.log.push(step);
        failure.map_or(Ok(()), Err)
    }

    pub fn link_name(&self, id: u32) -> String {
        self.table.get(overlay_abi::ids::LinkId(id)).map_or("?".into(), |l| l.name.clone())
    }
}

/// A host. Each service goes away with its field.
pub struct Fake {
    pub root: Root,
    pub state: Arc<Mutex<State>>,
    pub varpd: Option<door::Server>,
    pub kernel: Option<devctl::server::Server>,
    dlmgmt: Option<door::Server>,
    _dir: tempfile::TempDir,
}

impl Fake {
    pub fn new() -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::from_env_or(Some(dir.path().to_owned()));
        for d in ["dev", "etc/svc/volatile/dladm", "var/run/varpd"] {
            std::fs::create_dir_all(root.path(d)).unwrap();
        }
        let state = State {
            dest: OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT,
            mode: OVERLAY_TARGET_DYNAMIC,
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let node = Arc::new(Node(state.clone()));
        let kernel =
            devctl::server::Server::start(&root, &[(DLD_CONTROL_DEV, 0o600)], node).unwrap();
        let s = state.clone();
        let names = move |m: &[u8], _: &PeerCred| {
            let mut s = s.lock().unwrap();
            match u32::from_ne_bytes(m[..4].try_into().unwrap()) {
                128 => s.log.push("dlmgmt CREATE".into()),
                129 => s.log.push("dlmgmt DESTROY".into()),
                _ => {}
            }
            s.table.handle(m)
        };
        let dlmgmt = door::Server::create(root.path(dlmgmt::DOOR), 0o600, Arc::new(names)).unwrap();
        let mut fake = Fake {
            root,
            state,
            varpd: None,
            kernel: Some(kernel),
            dlmgmt: Some(dlmgmt),
            _dir: dir,
        };
        fake.start_varpd();
        fake
    }

    pub fn start_varpd(&mut self) {
        let s = self.state.clone();
        let handler = move |m: &[u8], _: &PeerCred| varpd_message(&mut s.lock().unwrap(), m);
        let path = self.root.path(VARPD_DOOR);
        self.varpd = Some(door::Server::create(path, 0o600, Arc::new(handler)).unwrap());
    }

    pub fn stop_kernel(&mut self) {
        self.kernel = None;
        self.dlmgmt = None;
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn fail(&self, step: &str, errno: Errno) {
        self.state().fail.insert(step.into(), errno);
    }

    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    /// A link that is neither overlay nor VNIC.
    pub fn add_link(&self, name: &str, class: dlmgmt::Class) -> u32 {
        let mut s = self.state();
        let flags = dlmgmt::Flags::ALL;
        let id = s.table.create(name, class, dlmgmt::DL_ETHER, flags).unwrap().id.0;
        s.mtu.insert(id, 1500);
        id
    }
}

/// A new device, as the overlay driver makes it with vxlan.
fn new_overlay(vnetid: u64, dcid: Option<u32>, encap: &str) -> FakeOverlay {
    let (uint, ip, string) = (OVERLAY_PROP_T_UINT, OVERLAY_PROP_T_IP, OVERLAY_PROP_T_STRING);
    let (r, rw, rrw) = (OVERLAY_PROP_PERM_READ, OVERLAY_PROP_PERM_RW, OVERLAY_PROP_PERM_RRW);
    let port = 4789u16.to_ne_bytes();
    let mut props = vec![
        prop("mtu", uint, rw, &1400u32.to_ne_bytes())
            .default(&1400u32.to_ne_bytes())
            .range(576, 8900),
        prop("vnetid", uint, rw, &vnetid.to_ne_bytes()),
        prop("encap", string, r, encap.as_bytes()).texts(&["vxlan"]),
        prop("varpd/id", uint, r, &[]),
    ];
    if let Some(dcid) = dcid {
        props.push(prop("dcid", uint, r, &dcid.to_ne_bytes()));
        for (name, size) in [("vl2_cache_size", 65536u32), ("route_cache_size", 65536)] {
            props.push(prop(name, uint, rw, &size.to_ne_bytes()).range(256, 4_194_304));
        }
    }
    props.extend([
        prop("vxlan/listen_ip", ip, rrw, &[]),
        prop("vxlan/listen_port", uint, rrw, &u64::from(4789u16).to_ne_bytes())
            .default(&port)
            .range(1, 65535),
    ]);
    FakeOverlay { props, active: false, degraded: None }
}

/// A new instance, as varpd makes it.
fn new_instance(linkid: u32, plugin: &str) -> Result<FakeInstance, Errno> {
    let (uint, ip, string) = (OVERLAY_PROP_T_UINT, OVERLAY_PROP_T_IP, OVERLAY_PROP_T_STRING);
    let search = [plugin.as_bytes(), &[0]].concat();
    let mut props = vec![
        prop("search", string, OVERLAY_PROP_PERM_READ, &search).texts(&["direct", "files", "svp"]),
    ];
    match plugin {
        "direct" => {
            props.push(prop("direct/dest_ip", ip, OVERLAY_PROP_PERM_RRW, &[]));
            props.push(prop("direct/dest_port", uint, OVERLAY_PROP_PERM_RRW, &[]).range(1, 65535));
        }
        "files" => props.push(prop("files/config", string, OVERLAY_PROP_PERM_RRW, &[])),
        _ => return Err(Errno::ENOENT),
    }
    Ok(FakeInstance { linkid, active: false, props })
}

struct Node(Arc<Mutex<State>>);

impl Kernel for Node {
    fn open(&self, _: &str, _: OpenFlags, _: &PeerCred) -> Result<Box<dyn Handle>, Errno> {
        Ok(Box::new(Node(self.0.clone())))
    }
}

fn copyin<T: FromBytes + IntoBytes>(mem: &dyn UserMem, addr: u64) -> Result<T, Errno> {
    let mut bytes = vec![0; size_of::<T>()];
    mem.copyin(addr, &mut bytes).map_err(|_| Errno::EFAULT)?;
    T::read_from_bytes(&bytes).map_err(|_| Errno::EFAULT)
}

/// Copies in, lets `f` work, and copies out also after a failure, as dld does.
fn inout<T: FromBytes + IntoBytes + Immutable>(
    mem: &dyn UserMem,
    addr: u64,
    f: impl FnOnce(&mut T) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut arg: T = copyin(mem, addr)?;
    let result = f(&mut arg);
    mem.copyout(addr, arg.as_bytes()).map_err(|_| Errno::EFAULT)?;
    result
}

impl Handle for Node {
    fn ioctl(&self, cmd: u32, addr: u64, _: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let s = &mut *self.0.lock().unwrap();
        ioctl(s, cmd, addr, mem).map(|()| 0)
    }
}

fn ioctl(s: &mut State, cmd: u32, addr: u64, mem: &dyn UserMem) -> Result<(), Errno> {
    match cmd {
        OVERLAY_IOC_CREATE => {
            let a: overlay_ioc_create_t = copyin(mem, addr)?;
            let encap = c_name(&a.oic_encap).ok_or(Errno::EINVAL)?;
            s.step(format!("dld CREATE {encap}"))?;
            if encap != "vxlan" {
                return Err(Errno::ENOENT);
            }
            let dcid = s.kernel_v2.then_some(a.oic_dcid);
            s.overlays.insert(a.oic_linkid, new_overlay(a.oic_vnetid, dcid, encap));
            s.mtu.insert(a.oic_linkid, 1400);
            Ok(())
        }
        OVERLAY_IOC_DELETE => {
            let a: overlay_ioc_delete_t = copyin(mem, addr)?;
            s.step("dld DELETE".into())?;
            if s.vnics.values().any(|v| v.over == a.oid_linkid) {
                return Err(Errno::EBUSY);
            }
            s.overlays.remove(&a.oid_linkid).map(|_| ()).ok_or(Errno::ENOENT)
        }
        OVERLAY_IOC_ACTIVATE => {
            let a: overlay_ioc_activate_t = copyin(mem, addr)?;
            s.step("dld ACTIVATE".into())?;
            let o = s.overlays.get_mut(&a.oia_linkid).ok_or(Errno::ENOENT)?;
            if o.props.iter().any(|p| p.prot & OVERLAY_PROP_PERM_REQ != 0 && p.value.is_empty()) {
                return Err(Errno::EINVAL);
            }
            o.active = true;
            Ok(())
        }
        OVERLAY_IOC_STATUS => inout(mem, addr, |a: &mut overlay_ioc_status_t| {
            s.step("dld STATUS".into())?;
            let o = s.overlays.get(&a.ois_linkid).ok_or(Errno::ENOENT)?;
            a.ois_status = u32::from(o.degraded.is_some());
            let text = o.degraded.as_deref().unwrap_or("");
            a.ois_message = to_c_name(text).ok_or(Errno::EINVAL)?;
            Ok(())
        }),
        OVERLAY_IOC_NPROPS => inout(mem, addr, |a: &mut overlay_ioc_nprops_t| {
            s.step("dld NPROPS".into())?;
            let o = s.overlays.get(&a.oipn_linkid).ok_or(Errno::ENOENT)?;
            a.oipn_nprops = o.props.len() as i32;
            Ok(())
        }),
        OVERLAY_IOC_PROPINFO => inout(mem, addr, |a: &mut overlay_ioc_propinfo_t| {
            let o = s.overlays.get(&a.oipi_linkid).ok_or(Errno::ENOENT)?;
            let n = match a.oipi_id {
                -1 => {
                    let name = c_name(&a.oipi_name).ok_or(Errno::EINVAL)?;
                    o.props.iter().position(|p| p.name == name).ok_or(Errno::ENOENT)?
                }
                n => usize::try_from(n).ok().filter(|n| *n < o.props.len()).ok_or(Errno::EINVAL)?,
            };
            let p = o.props[n].clone();
            s.step(format!("dld PROPINFO {}", p.name))?;
            a.oipi_id = n as i32;
            a.oipi_name = to_c_name(&p.name).ok_or(Errno::EINVAL)?;
            (a.oipi_type, a.oipi_prot) = (p.kind, p.prot);
            a.oipi_defsize = put(&mut a.oipi_default, &p.default)?;
            a.oipi_poss = *p.possible.bytes();
            a.oipi_posssize = p.possible.size();
            Ok(())
        }),
        OVERLAY_IOC_GETPROP => inout(mem, addr, |a: &mut overlay_ioc_prop_t| {
            let o = s.overlays.get(&a.oip_linkid).ok_or(Errno::ENOENT)?;
            let p = o.props.get(a.oip_id as usize).ok_or(Errno::EINVAL)?.clone();
            s.step(format!("dld GETPROP {}", p.name))?;
            a.oip_size = put(&mut a.oip_value, &p.value)?;
            Ok(())
        }),
        OVERLAY_IOC_SETPROP => {
            let a: overlay_ioc_prop_t = copyin(mem, addr)?;
            let o = s.overlays.get(&a.oip_linkid).ok_or(Errno::ENOENT)?;
            let p = o.props.get(a.oip_id as usize).ok_or(Errno::EINVAL)?;
            let writable = p.prot & OVERLAY_PROP_PERM_WRITE != 0;
            let live = o.active && !p.name.ends_with("_cache_size");
            s.step(format!("dld SETPROP {}", p.name))?;
            if live {
                return Err(Errno::ENOTSUP);
            }
            if !writable {
                return Err(Errno::EPERM);
            }
            let o = s.overlays.get_mut(&a.oip_linkid).ok_or(Errno::ENOENT)?;
            o.props[a.oip_id as usize].value = a.oip_value[..a.oip_size as usize].to_vec();
            Ok(())
        }
        VNIC_IOC_CREATE => inout(mem, addr, |a: &mut vnic_ioc_create_t| {
            s.step("dld VNIC_CREATE".into())?;
            let mtu = *s.mtu.get(&a.vc_link_id).ok_or(Errno::ENOENT)?;
            let n = a.vc_vnic_id as u8;
            if a.vc_mac_addr_type != VNIC_MAC_ADDR_TYPE_FIXED {
                a.vc_mac_addr[3..6].copy_from_slice(&[0xaa, 0, n]);
                a.vc_mac_addr_type = VNIC_MAC_ADDR_TYPE_RANDOM;
                a.vc_mac_len = 6;
            }
            let mac = a.vc_mac_addr[..6].try_into().map_err(|_| Errno::EINVAL)?;
            let (over, kind, vid) = (a.vc_link_id, a.vc_mac_addr_type, a.vc_vid);
            if s.vnics.values().any(|v| v.over == over && v.vid == vid && v.mac == mac) {
                return Err(Errno::EEXIST);
            }
            s.vnics.insert(a.vc_vnic_id, FakeVnic { over, mac, kind, vid });
            s.mtu.insert(a.vc_vnic_id, mtu);
            Ok(())
        }),
        VNIC_IOC_DELETE => {
            let a: vnic_ioc_delete_t = copyin(mem, addr)?;
            s.step("dld VNIC_DELETE".into())?;
            s.vnics.remove(&a.vd_vnic_id).map(|_| ()).ok_or(Errno::ENOENT)
        }
        VNIC_IOC_INFO => inout(mem, addr, |a: &mut vnic_info_t| {
            let v = s.vnics.get(&a.vn_vnic_id).ok_or(Errno::ENOENT)?;
            (a.vn_link_id, a.vn_mac_addr_type, a.vn_vid, a.vn_mac_len) = (v.over, v.kind, v.vid, 6);
            a.vn_mac_addr[..6].copy_from_slice(&v.mac);
            Ok(())
        }),
        DLDIOC_ATTR => inout(mem, addr, |a: &mut dld_ioc_attr_t| {
            a.dia_max_sdu = *s.mtu.get(&a.dia_linkid).ok_or(Errno::ENOENT)?;
            Ok(())
        }),
        DLDIOC_GETMACPROP => {
            let mut a: dld_ioc_macprop_t = copyin(mem, addr)?;
            let mtu = *s.mtu.get(&a.pr_linkid).ok_or(Errno::ENOENT)?;
            let value = match (a.pr_num, a.pr_flags) {
                (MAC_PROP_MTU, DLD_PROP_POSSIBLE) => {
                    let mut p = Possible::default();
                    p.add_range(576, 8900);
                    p.bytes()[..a.pr_valsize as usize].to_vec()
                }
                (MAC_PROP_MTU, DLD_PROP_DEFAULT) => 1400u32.to_ne_bytes().to_vec(),
                (MAC_PROP_MTU, _) => mtu.to_ne_bytes().to_vec(),
                // Link state.
                (3, _) => 1u32.to_ne_bytes().to_vec(),
                // Speed.
                (2, _) => 1_000_000_000u64.to_ne_bytes().to_vec(),
                _ => return Err(Errno::ENOTSUP),
            };
            a.pr_perm_flags = MAC_PROP_PERM_RW;
            let mut all = a.as_bytes()[..DLD_MACPROP_VAL].to_vec();
            all.extend(value);
            mem.copyout(addr, &all).map_err(|_| Errno::EFAULT)
        }
        DLDIOC_SETMACPROP => {
            let a: dld_ioc_macprop_t = copyin(mem, addr)?;
            let v = &a.as_bytes()[DLD_MACPROP_VAL..DLD_MACPROP_VAL + 4];
            let mtu = u32::from_ne_bytes(v.try_into().map_err(|_| Errno::EINVAL)?);
            let name = s.link_name(a.pr_linkid);
            s.step(format!("dld SETMACPROP {name} mtu {mtu}"))?;
            if !(576..=8900).contains(&mtu) {
                return Err(Errno::EINVAL);
            }
            *s.mtu.get_mut(&a.pr_linkid).ok_or(Errno::ENOENT)? = mtu;
            Ok(())
        }
        _ => Err(Errno::ENOTSUP),
    }
}

fn varpd_message(s: &mut State, message: &[u8]) -> Vec<u8> {
    let mut reply = message.to_vec();
    let command = u32::from_ne_bytes(message[..4].try_into().unwrap());
    if command >= VARPD_CLIENT_MAX {
        return routed::message(s, command, reply);
    }
    let result = varpd_call(s, command, &mut reply[8..]);
    let errno = result.err().map_or(0, |e| e.0);
    reply[4..8].copy_from_slice(&errno.to_ne_bytes());
    reply
}

fn with<T: FromBytes + IntoBytes + Immutable>(
    un: &mut [u8],
    f: impl FnOnce(&mut T) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let (mut arg, _) = T::read_from_prefix(un).map_err(|_| Errno::EINVAL)?;
    f(&mut arg)?;
    arg.write_to_prefix(un).map_err(|_| Errno::EINVAL)
}

fn varpd_call(s: &mut State, command: u32, un: &mut [u8]) -> Result<(), Errno> {
    let known =
        |s: &State, id| if s.instances.contains_key(&id) { Ok(()) } else { Err(Errno::ENOENT) };
    match command {
        VARPD_CLIENT_CREATE => with(un, |a: &mut varpd_client_create_arg_t| {
            let plugin = c_name(&a.vcca_plugin).ok_or(Errno::EINVAL)?;
            s.step(format!("varpd CREATE {plugin}"))?;
            s.next_instance += 1;
            let instance = new_instance(a.vcca_linkid, plugin)?;
            s.instances.insert(s.next_instance, instance);
            a.vcca_id = s.next_instance;
            Ok(())
        }),
        VARPD_CLIENT_ACTIVATE => with(un, |a: &mut varpd_client_instance_arg_t| {
            s.step("varpd ACTIVATE".into())?;
            let i = s.instances.get_mut(&a.vcia_id).ok_or(Errno::ENOENT)?;
            if i.props.iter().any(|p| p.prot & OVERLAY_PROP_PERM_REQ != 0 && p.value.is_empty()) {
                return Err(Errno::EAGAIN);
            }
            i.active = true;
            let o = s.overlays.get_mut(&i.linkid).ok_or(Errno::ENOENT)?;
            o.props[3].value = a.vcia_id.to_ne_bytes().to_vec();
            Ok(())
        }),
        VARPD_CLIENT_DESTROY => with(un, |a: &mut varpd_client_instance_arg_t| {
            s.step("varpd DESTROY".into())?;
            s.instances.remove(&a.vcia_id).map(|_| ()).ok_or(Errno::ENOENT)
        }),
        VARPD_CLIENT_NPROPS => with(un, |a: &mut varpd_client_nprops_arg_t| {
            s.step("varpd NPROPS".into())?;
            let i = s.instances.get(&a.vcna_id).ok_or(Errno::ENOENT)?;
            a.vcna_nprops = i.props.len() as u32;
            Ok(())
        }),
        VARPD_CLIENT_PROPINFO => with(un, |a: &mut varpd_client_propinfo_arg_t| {
            let i = s.instances.get(&a.vcfa_id).ok_or(Errno::ENOENT)?;
            let n = match a.vcfa_propid {
                VARPD_PROPID_BY_NAME => {
                    let name = c_name(&a.vcfa_name).ok_or(Errno::EINVAL)?;
                    i.props.iter().position(|p| p.name == name).ok_or(Errno::ENOENT)?
                }
                n => n as usize,
            };
            let p = i.props.get(n).ok_or(Errno::EINVAL)?.clone();
            a.vcfa_propid = n as u32;
            (a.vcfa_type, a.vcfa_prot) = (p.kind, p.prot);
            a.vcfa_name = to_c_name(&p.name).ok_or(Errno::EINVAL)?;
            a.vcfa_defsize = put(&mut a.vcfa_default, &p.default)?;
            a.vcfa_psize = p.possible.size();
            a.vcfa_poss = *p.possible.bytes();
            Ok(())
        }),
        VARPD_CLIENT_GETPROP | VARPD_CLIENT_SETPROP => {
            with(un, |a: &mut varpd_client_prop_arg_t| {
                let i = s.instances.get(&a.vcpa_id).ok_or(Errno::ENOENT)?;
                let n = a.vcpa_propid as usize;
                let p = i.props.get(n).ok_or(Errno::EINVAL)?.clone();
                if command == VARPD_CLIENT_GETPROP {
                    s.step(format!("varpd GETPROP {}", p.name))?;
                    a.vcpa_bufsize = u64::from(put(&mut a.vcpa_buf, &p.value)?);
                    return Ok(());
                }
                s.step(format!("varpd SETPROP {}", p.name))?;
                let i = s.instances.get_mut(&a.vcpa_id).ok_or(Errno::ENOENT)?;
                i.props[n].value = a.vcpa_buf[..a.vcpa_bufsize as usize].to_vec();
                Ok(())
            })
        }
        VARPD_CLIENT_LOOKUP => with(un, |a: &mut varpd_client_lookup_arg_t| {
            s.step("varpd LOOKUP".into())?;
            let mut found = s.instances.iter().filter(|(_, i)| i.linkid == a.vcla_linkid);
            a.vcla_id = *found.next().ok_or(Errno::ENOENT)?.0;
            Ok(())
        }),
        VARPD_CLIENT_TARGET_MODE => with(un, |a: &mut varpd_client_target_mode_arg_t| {
            known(s, a.vtma_id)?;
            (a.vtma_dest, a.vtma_mode) = (s.dest, s.mode);
            Ok(())
        }),
        VARPD_CLIENT_CACHE_FLUSH..=VARPD_CLIENT_CACHE_SET => {
            with(un, |a: &mut varpd_client_target_cache_arg_t| {
                known(s, a.vtca_id)?;
                let mac = MacAddr(a.vtca_key);
                match command {
                    VARPD_CLIENT_CACHE_FLUSH => {
                        s.step("varpd FLUSH".into())?;
                        s.cache.clear();
                    }
                    VARPD_CLIENT_CACHE_DELETE => {
                        s.step(format!("varpd DELETE {mac}"))?;
                        s.cache.remove(&mac.0).ok_or(Errno::ENOENT)?;
                    }
                    VARPD_CLIENT_CACHE_GET => {
                        a.vtca_entry = *s.cache.get(&mac.0).ok_or(Errno::ENOENT)?;
                    }
                    _ => {
                        s.step(format!("varpd SET {mac}"))?;
                        s.cache.insert(mac.0, a.vtca_entry);
                    }
                }
                Ok(())
            })
        }
        VARPD_CLIENT_CACHE_WALK => {
            let (mut a, _) = varpd_client_target_walk_arg_t::read_from_prefix(un).unwrap();
            s.step("varpd WALK".into())?;
            known(s, a.vtcw_id)?;
            // The marker is how many were given; three at a time, so that there are several rounds.
            let done = a.vtcw_marker as usize;
            let step = (a.vtcw_count as usize).min(3);
            let mut out = Vec::new();
            for (mac, e) in s.cache.iter().skip(done).take(step) {
                let mut dest = overlay_target_point_t::new_zeroed();
                (dest.otp_mac, dest.otp_ip, dest.otp_port) = (e.vcp_mac, e.vcp_ip, e.vcp_port);
                let entry = overlay_targ_cache_entry_t {
                    otce_mac: *mac,
                    otce_flags: e.vcp_flags,
                    otce_dest: dest,
                };
                out.extend_from_slice(entry.as_bytes());
                a.vtcw_marker += 1;
            }
            a.vtcw_count = a.vtcw_marker - done as u64;
            a.write_to_prefix(un).unwrap();
            un[24..24 + out.len()].copy_from_slice(&out);
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}
