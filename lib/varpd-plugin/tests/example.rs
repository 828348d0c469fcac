// SPDX-License-Identifier: CDDL-1.0
//! The example plugin, loaded by a real libvarpd.
use overlay_abi::errno::Errno;
use overlay_abi::ids::VarpdId;
use overlay_abi::props::{Values, parse_possible};
use varpd_harness::*;

fn host() -> Host {
    let host = Host::bare();
    let exe = std::env::current_exe().unwrap();
    let examples = exe.ancestors().nth(2).unwrap().join("examples");
    host.varpd.load_plugin(&examples.join("libbymac.so"));
    assert_eq!(host.varpd.plugins(), ["bymac"], "{}", host.log.text());
    host
}

fn set(host: &Host, id: VarpdId, name: &str, value: &[u8]) -> Result<(), Errno> {
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name(name)?;
    prop.set(value)
}

#[test]
fn a_plugin_in_rust_answers_lookups() {
    let host = host();
    let id = host.instance(3, "bymac");
    assert_eq!(host.client.instance_activate(id), Err(Errno::EAGAIN));
    let prefix = "2001:db8::".parse::<std::net::Ipv6Addr>().unwrap().octets();
    set(&host, id, "bymac/prefix", &prefix).unwrap();
    assert_eq!(set(&host, id, "bymac/prefix", b"short"), Err(Errno::EINVAL));
    set(&host, id, "bymac/port", &[9]).unwrap();
    host.client.instance_activate(id).unwrap();
    let point = host.kernel.answer(host.kernel.ask(3, id.0, [2, 0, 0, 0, 0, 7])).unwrap();
    assert_eq!(point.underlay().to_string(), "[2001:db8::7]:9");
    assert_eq!(point.otp_mac, [2, 0, 0, 0, 0, 7]);
}

#[test]
fn dropped_queries_and_panics_drop_the_frame() {
    let host = host();
    let id = host.instance(3, "bymac");
    set(&host, id, "bymac/prefix", &[9; 16]).unwrap();
    host.client.instance_activate(id).unwrap();
    assert!(host.kernel.answer(host.kernel.ask(3, id.0, [0xff; 6])).is_none());
    let why = host.kernel.state().links[&3].degraded.clone();
    assert_eq!(why.as_deref(), Some("this network does not carry broadcasts"));
    assert!(host.kernel.answer(host.kernel.ask(3, id.0, [2, 0, 0, 0, 0, 0xff])).is_none());
    assert!(host.kernel.answer(host.kernel.ask(3, id.0, [2, 0, 0, 0, 0, 1])).is_some());
}

#[test]
fn its_properties_are_described() {
    let host = host();
    let id = host.instance(3, "bymac");
    assert_eq!(host.client.prop_nprops(id), Ok(3));
    let mut prop = host.client.prop_handle(id);
    prop.info_fill(2).unwrap();
    let info = prop.info().unwrap();
    assert_eq!(
        (info.name.as_str(), info.default.as_slice()),
        ("bymac/port", &4789u64.to_ne_bytes()[..])
    );
    let Ok(Values::Ranges(ranges)) = parse_possible(&info.possible) else { panic!("no ranges") };
    assert_eq!(ranges.collect::<Vec<_>>(), [(1, 65535)]);
    assert_eq!(prop.get().unwrap(), 4789u64.to_ne_bytes());
    prop.info_fill_by_name("bymac/prefix").unwrap();
    assert_eq!(prop.info().unwrap().id, 1);
    assert!(prop.get().unwrap().is_empty());
    assert_eq!(prop.info_fill(3), Err(Errno::EINVAL));
}
