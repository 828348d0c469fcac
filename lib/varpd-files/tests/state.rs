// SPDX-License-Identifier: CDDL-1.0
//! The plugin's object by itself: its property, saving and restoring.
use libvarpd as _; // The functions the plugin binds to.
use nvpair::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
use std::ptr::null_mut;
use varpd_files::Files;
use varpd_plugin::{NvList, Plugin, Provider};

const VXLAN: u32 = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
const CONFIG: &str = "files/config";

fn files(dest: u32) -> Result<Files, Errno> {
    Files::create(Provider::from_raw(null_mut()), dest)
}

fn nvlist(list: &mut List) -> NvList<'_> {
    // SAFETY: the result borrows the list.
    unsafe { NvList::from_raw(std::ptr::from_mut(list).cast()) }
}

fn restore(list: &mut List, dest: u32) -> Result<Files, Errno> {
    Files::restore(&nvlist(list), Provider::from_raw(null_mut()), dest)
}

fn get(files: &Files) -> Vec<u8> {
    let mut buf = [0; 256];
    let size = files.getprop(CONFIG, &mut buf).unwrap();
    buf[..size as usize].to_vec()
}

#[test]
fn destinations_it_can_give() {
    for dest in [OVERLAY_PLUGIN_D_IP, OVERLAY_PLUGIN_D_PORT, VXLAN] {
        assert!(files(dest).is_ok(), "{dest}");
        assert!(restore(&mut List::new(), dest).is_ok(), "{dest}");
    }
    for dest in [0, OVERLAY_PLUGIN_D_ETHERNET, OVERLAY_PLUGIN_D_MASK, 8, VXLAN | 8] {
        assert_eq!(files(dest).unwrap_err(), Errno::ENOTSUP, "{dest}");
        assert_eq!(restore(&mut List::new(), dest).unwrap_err(), Errno::EINVAL, "{dest}");
    }
}

/// The original took any bytes for a path.
#[test]
fn defect_files_a_path_is_absolute_and_ends() {
    let f = files(VXLAN).unwrap();
    assert!(get(&f).is_empty());
    let long = |n: usize| [&b"/"[..], &vec![b'x'; n - 1], b"\0"].concat();
    for bad in [&b""[..], b"\0", b"/etc/x", b"etc/x\0", b"/etc\0/x\0", b"/\xff\0", &long(256)] {
        assert_eq!(f.setprop(CONFIG, bad), Err(Errno::EINVAL), "{bad:?}");
        assert!(get(&f).is_empty());
    }
    for good in [&b"/etc/x\0"[..], &long(255), "/etc/net\u{e9}\0".as_bytes()] {
        f.setprop(CONFIG, good).unwrap();
        assert_eq!(get(&f), good);
    }
    assert_eq!(f.getprop(CONFIG, &mut [0; 9]), Err(Errno::EOVERFLOW));
    assert_eq!(f.setprop("files/path", b"/x\0"), Err(Errno::EINVAL));
    assert_eq!(f.getprop("files/path", &mut [0; 256]), Err(Errno::EINVAL));
    assert_eq!(f.nprops(), 1);
}

#[test]
fn it_saves_what_the_original_saved() {
    let f = files(VXLAN).unwrap();
    let mut list = List::new();
    f.save(&mut nvlist(&mut list)).unwrap();
    assert_eq!(list, List::new());
    f.setprop(CONFIG, b"/etc/hosts.json\0").unwrap();
    f.save(&mut nvlist(&mut list)).unwrap();
    let mut expected = List::new();
    expected.add(c"files/config".to_owned(), Value::String(c"/etc/hosts.json".to_owned()));
    expected.add(c"files/vaf_nmisses".to_owned(), Value::Uint64(0));
    expected.add(c"files/vaf_narp".to_owned(), Value::Uint64(0));
    assert_eq!(list, expected);
    let again = restore(&mut list, VXLAN).unwrap();
    assert_eq!(get(&again), b"/etc/hosts.json\0");
}

/// The original did not restore an instance that had no path yet, for want of the counters.
#[test]
fn defect_files_without_counters_it_is_restored() {
    assert!(get(&restore(&mut List::new(), VXLAN).unwrap()).is_empty());
    let mut list = List::new();
    list.add(c"files/config".to_owned(), Value::String(c"/etc/hosts.json".to_owned()));
    assert_eq!(get(&restore(&mut list, VXLAN).unwrap()), b"/etc/hosts.json\0");
    for bad in [c"etc/hosts.json", c""] {
        let mut list = List::new();
        list.add(c"files/config".to_owned(), Value::String(bad.to_owned()));
        assert_eq!(restore(&mut list, VXLAN).unwrap_err(), Errno::EINVAL, "{bad:?}");
    }
}
