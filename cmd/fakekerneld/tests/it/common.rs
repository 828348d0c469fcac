// SPDX-License-Identifier: CDDL-1.0
//! Hosts for tests: a fakekerneld each, and links made without varpd or dladm.

use std::io::{BufRead, BufReader, Read};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use devctl::{Device, OpenFlags, Root};
use fkadm::client::Client;
use libdladm::dlmgmt::{Class, Flags};
use libdladm::{Handle, vnic};
use overlay_abi::dld::*;
use overlay_abi::ids::{LinkId, MacAddr};
use overlay_abi::target::*;
use zerocopy::FromZeros;

pub struct Host {
    pub root: Root,
    pub child: Child,
    _dir: Option<tempfile::TempDir>,
}

pub fn command(root: &Root) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_fakekerneld"));
    c.arg("-R").arg(root.dir()).args(["--checks", "debug"]);
    c
}

pub fn root(dir: impl Into<PathBuf>) -> Root {
    Root::from_env_or(Some(dir.into()))
}

impl Host {
    pub fn start() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::start_in(root(dir.path()));
        host._dir = Some(dir);
        host
    }

    pub fn start_in(root: Root) -> Host {
        let command = command(&root);
        Host::start_command(root, command)
    }

    pub fn start_command(root: Root, mut command: Command) -> Host {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if !line.contains("ready") {
            let mut why = String::new();
            child.stderr.as_mut().unwrap().read_to_string(&mut why).unwrap();
            panic!("{line:?} {why}");
        }
        Host { root, child, _dir: None }
    }

    pub fn client(&self) -> Client {
        Client::open(&self.root).unwrap()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits for the end: exit status and standard error.
    pub fn wait(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "fakekerneld does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut text = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut text).unwrap();
        (status, text)
    }

    /// Ends it, and expects that nothing was done wrong.
    pub fn end_clean(mut self) {
        self.signal(libc::SIGTERM);
        let (status, text) = self.wait();
        assert!(status.success() && !text.contains("violation"), "{status}: {text}");
    }

    /// An overlay between `listen` and `to`, activated; `dynamic` asks for lookups instead of
    /// having `to`.
    pub fn overlay(
        &self,
        name: &str,
        vnet: u64,
        listen: Ipv6Addr,
        to: Option<Ipv6Addr>,
    ) -> Overlay {
        let handle = Handle::open(&self.root).unwrap();
        let linkid = handle.links().create(name, Class::OVERLAY, Flags::ACTIVE).unwrap();
        let dld = Device::open(&self.root, "/dev/dld", OpenFlags::RDWR).unwrap();
        let mut create = overlay_ioc_create_t::new_zeroed();
        create.oic_linkid = linkid.0;
        create.oic_vnetid = vnet;
        create.oic_encap[..5].copy_from_slice(b"vxlan");
        dld.ioctl_with(OVERLAY_IOC_CREATE, &mut create).unwrap();
        let mut prop = overlay_ioc_prop_t::new_zeroed();
        prop.oip_linkid = linkid.0;
        prop.oip_id = -1;
        prop.oip_name[..15].copy_from_slice(b"vxlan/listen_ip");
        prop.oip_value[..16].copy_from_slice(&listen.octets());
        prop.oip_size = 16;
        dld.ioctl_with(OVERLAY_IOC_SETPROP, &mut prop).unwrap();
        let flags = OpenFlags::RDWR | OpenFlags::EXCL;
        let targets = Device::open(&self.root, "/dev/overlay", flags).unwrap();
        let mut associate = overlay_targ_associate_t::new_zeroed();
        associate.ota_linkid = linkid.0;
        associate.ota_id = 7;
        associate.ota_provides = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
        associate.ota_mode = OVERLAY_TARGET_DYNAMIC;
        if let Some(to) = to {
            associate.ota_mode = OVERLAY_TARGET_POINT;
            associate.ota_point = point(to);
        }
        targets.ioctl_with(OVERLAY_TARG_ASSOCIATE, &mut associate).unwrap();
        let mut activate = overlay_ioc_activate_t { oia_linkid: linkid.0 };
        dld.ioctl_with(OVERLAY_IOC_ACTIVATE, &mut activate).unwrap();
        Overlay { linkid, targets }
    }

    pub fn vnic(&self, name: &str, over: LinkId, mac: [u8; 6]) -> LinkId {
        let handle = Handle::open(&self.root).unwrap();
        let mac = vnic::Mac::Fixed(MacAddr(mac));
        let spec = vnic::Create { name, over, mac, vid: 0, force: false, temporary: true };
        vnic::create(&handle, &spec).unwrap().0
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Overlay {
    pub linkid: LinkId,
    /// /dev/overlay, open as varpd has it.
    pub targets: Device,
}

pub fn point(to: Ipv6Addr) -> overlay_target_point_t {
    let mut p = overlay_target_point_t::new_zeroed();
    p.otp_ip = to.octets();
    p.otp_port = 4789;
    p
}

/// A loopback address of this test's own.
pub fn loopback() -> Ipv6Addr {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let n = LAST.fetch_add(1, Ordering::SeqCst) + 1;
    let pid = std::process::id();
    let [_, _, high, low] = pid.to_be_bytes();
    std::net::Ipv4Addr::new(127, 10 + n as u8, high, low).to_ipv6_mapped()
}

/// Two hosts with an overlay to each other and a VNIC on it; with a guest on each if asked for.
pub fn two_hosts(guests: bool) -> [(Host, Overlay); 2] {
    let ends = [loopback(), loopback()];
    [0, 1].map(|n| {
        let host = Host::start();
        let overlay = host.overlay("overlay0", 100, ends[n], Some(ends[1 - n]));
        host.vnic("vnic0", overlay.linkid, [2, 8, 0x20, 0xaa, 0, 1 + n as u8]);
        if guests {
            let addresses = [format!("10.1.0.{}/24", n + 1), format!("fd00::{}/64", n + 1)];
            host.client().guest_attach("vnic0", addresses).unwrap();
        }
        (host, overlay)
    })
}
