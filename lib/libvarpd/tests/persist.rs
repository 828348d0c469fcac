// SPDX-License-Identifier: CDDL-1.0
//! Instances that outlive varpd: what is restored, and what becomes of files that give no instance.
use libvarpd::persist::{self, Record, Step};
use nvpair::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, UnderlayAddr, VarpdId};
use overlay_abi::target::*;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use varpd_harness::*;

const NO_INSTANCE: &str = "no varpd instance exists";

fn set(host: &Host, id: VarpdId, name: &str, value: &[u8]) {
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name(name).unwrap();
    prop.set(value).unwrap();
}

fn get(host: &Host, id: VarpdId, name: &str) -> Vec<u8> {
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name(name).unwrap();
    prop.get().unwrap()
}

fn active(host: &Host, link: u32, plugin: &str) -> VarpdId {
    let id = host.instance(link, plugin);
    host.client.instance_activate(id).unwrap();
    id
}

fn direct(host: &Host, link: u32) -> VarpdId {
    let id = host.instance(link, "direct");
    let to = UnderlayAddr::new("192.0.2.9".parse().unwrap(), 4789);
    set(host, id, "direct/dest_ip", &to.ip);
    set(host, id, "direct/dest_port", &u64::from(to.port).to_ne_bytes());
    host.client.instance_activate(id).unwrap();
    id
}

fn degraded(host: &Host, link: u32) -> Option<String> {
    host.kernel.state().links[&link].degraded.clone()
}

fn associated(host: &Host, link: u32) -> Option<u64> {
    host.kernel.state().links[&link].associated.map(|a| a.ota_id)
}

/// A record of the C plugin.
fn record(id: u64, link: u32, plugin: &str) -> Record {
    let mut private = List::new();
    private.add(c"text".into(), Value::String(c"kept".into()));
    private.add(c"words".into(), Value::Uint32Array(vec![1, 0xffff_fffe]));
    let (dest, mode) = (VXLAN, OVERLAY_TARGET_DYNAMIC);
    Record { id: VarpdId(id), link: LinkId(link), dest, mode, plugin: plugin.into(), private }
}

fn put(dir: &Path, name: &str, record: &Record) {
    fs::write(dir.join(name), persist::encode(record).unwrap()).unwrap();
}

/// Writes a file and then waits until the clock of the file system has moved on.
fn put_older(dir: &Path, name: &str, record: &Record) {
    put(dir, name, record);
    let written = fs::metadata(dir.join(name)).unwrap().modified().unwrap();
    let probe = dir.join("probe");
    while {
        fs::write(&probe, "").unwrap();
        fs::metadata(&probe).unwrap().modified().unwrap() <= written
    } {}
    fs::remove_file(&probe).unwrap();
}

#[test]
fn an_active_instance_comes_back_with_its_number_and_state() {
    let mut host = Host::with_c_plugins(&[&["NAME=\"one\""], &["NAME=\"two\"", "MODE=1"]]);
    host.persist();
    let other = active(&host, 9, "one");
    let (a, b) = (host.instance(1, "one"), host.instance(2, "two"));
    let never_active = host.instance(3, "one");
    set(&host, a, "one/text", b"of a\0");
    set(&host, b, "two/text", b"of b\0");
    host.client.instance_activate(a).unwrap();
    host.client.instance_activate(b).unwrap();
    host.client.instance_destroy(other).unwrap();
    assert_eq!(host.files(), ["2.varpd", "3.varpd"]);
    host.kernel.state().links.remove(&9);
    host.kernel.state().calls.clear();
    for _ in 0..2 {
        host.restart();
        assert_eq!(host.files(), ["2.varpd", "3.varpd"]);
        assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(a));
        assert_eq!(host.client.instance_lookup(LinkId(2)), Ok(b));
        assert_eq!(get(&host, a, "one/text"), b"of a\0");
        assert_eq!(get(&host, b, "two/text"), b"of b\0");
        assert_eq!(host.client.instance_activate(a), Err(Errno::EEXIST), "it is active");
        assert_eq!((associated(&host, 1), associated(&host, 2)), (Some(a.0), Some(b.0)));
        assert!(host.kernel.answer(host.kernel.ask(1, a.0, [2; 6])).is_some());
        // The one that was not active is forgotten, and its link without an instance.
        assert_eq!(host.client.instance_target_mode(never_active), Err(Errno::ENOENT));
        assert_eq!(degraded(&host, 3).as_deref(), Some(NO_INSTANCE));
        assert_eq!((degraded(&host, 1), degraded(&host, 2)), (None, None));
        let calls = host.calls(0);
        assert_eq!((calls.create, calls.start, calls.stop, calls.wrong), (1, 1, 0, 0));
    }
    // The associations were kept: nothing was undone.
    let calls = std::mem::take(&mut host.kernel.state().calls);
    let undone = calls.iter().filter(|(cmd, _)| *cmd == OVERLAY_TARG_DISASSOCIATE);
    assert_eq!(undone.count(), 0, "{calls:x?}");
    // New numbers come after those that are back.
    assert_eq!(host.instance(5, "one"), VarpdId(4));
    host.client.instance_destroy(a).unwrap();
    assert_eq!(host.files(), ["3.varpd"]);
    assert_eq!(associated(&host, 1), None);
}

/// Known destinations go on being known until there is somebody to ask, then they are asked anew.
#[test]
fn an_association_is_kept_and_its_cache_renewed() {
    let mut host = Host::with_c_plugins(&[&["NAME=\"one\""], &["NAME=\"two\"", "MODE=1"]]);
    host.persist();
    let (a, b) = (active(&host, 1, "one"), active(&host, 2, "two"));
    let entry = libvarpd_client::CacheEntry::Drop;
    host.client.cache_set(a, overlay_abi::ids::MacAddr([2; 6]), &entry).unwrap();
    host.restart();
    host.kernel.wait("the cache is flushed", |s| s.links[&1].cache.is_empty());
    // Without an association, or with another destination, it is made.
    host.kernel.state().links.get_mut(&1).unwrap().associated = None;
    let changed = |state: &mut State| {
        let to = state.links.get_mut(&2).unwrap().associated.as_mut().unwrap();
        to.ota_point.otp_port += 1;
    };
    changed(&mut host.kernel.state());
    host.restart();
    assert_eq!((associated(&host, 1), associated(&host, 2)), (Some(a.0), Some(b.0)));
    let to = host.kernel.state().links[&2].associated.unwrap().ota_point;
    assert_eq!(to.otp_port, 4789);
    // A link that lost its association while it was waited for.
    host.kernel.state().links.get_mut(&2).unwrap().associated = None;
    host.restart();
    assert_eq!(associated(&host, 2), Some(b.0));
}

/// Spec 7.1: the original's restored object had neither its destination bits nor an address.
#[test]
fn direct_sends_where_it_sent_before() {
    let mut host = Host::with_direct();
    host.persist();
    let id = direct(&host, 7);
    let before = host.kernel.state().links[&7].associated.unwrap();
    let file = fs::read(host.run_dir().join("1.varpd")).unwrap();
    host.restart();
    let after = host.kernel.state().links[&7].associated.unwrap();
    assert_eq!(after.ota_point.underlay().to_string(), "192.0.2.9:4789");
    assert_eq!((after.ota_point, after.ota_provides), (before.ota_point, before.ota_provides));
    assert_eq!((after.ota_mode, after.ota_id), (before.ota_mode, before.ota_id));
    assert_eq!(host.client.prop_nprops(id), Ok(3), "it knows that there are ports");
    assert_eq!(
        fs::read(host.run_dir().join("1.varpd")).unwrap(),
        file,
        "and its file is as before"
    );
}

/// The file is that of the worked example, byte for byte.
#[test]
fn the_file_of_direct_is_the_golden_one() {
    let host = Host::with_direct();
    host.persist();
    let id = host.instance(7, "direct");
    let to = UnderlayAddr::new("10.88.88.70".parse().unwrap(), 4789);
    set(&host, id, "direct/dest_ip", &to.ip);
    set(&host, id, "direct/dest_port", &4789u64.to_ne_bytes());
    host.client.instance_activate(id).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/persist_direct.json");
    let golden = fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    let hex = golden.split("\"file\": \"").nth(1).unwrap().split('"').next().unwrap();
    let bytes = fs::read(host.run_dir().join("1.varpd")).unwrap();
    assert_eq!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(), hex);
    assert_eq!(bytes.len(), 372);
    assert_eq!(persist::decode(&bytes).unwrap().link, LinkId(7));
}

#[test]
fn persistence_is_off_unless_enabled() {
    let host = Host::with_c_plugins(&[&[]]);
    assert_eq!(host.varpd.persist_restore().unwrap_err().errno(), Errno::ENOENT);
    active(&host, 1, "test");
    let file = host.dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    assert_eq!(host.varpd.persist_enable(&file).unwrap_err().errno(), Errno::EINVAL);
    let none = host.dir.path().join("none");
    assert_eq!(host.varpd.persist_enable(&none).unwrap_err().errno(), Errno::ENOENT);
    host.persist();
    let again = host.varpd.persist_enable(&host.run_dir());
    assert_eq!(again.unwrap_err().errno(), Errno::EEXIST);
    let id = active(&host, 2, "test");
    assert_eq!(host.files(), ["2.varpd"]);
    host.varpd.persist_disable().unwrap();
    host.client.instance_destroy(id).unwrap();
    assert_eq!(host.files(), ["2.varpd"], "nothing is touched any more");
}

/// The original released a lock that it did not hold.
#[test]
fn defect_36_disabling_what_is_not_enabled() {
    let host = Host::with_c_plugins(&[&[]]);
    for _ in 0..3 {
        assert_eq!(host.varpd.persist_disable().unwrap_err().errno(), Errno::ENOENT);
    }
    host.persist();
    host.varpd.persist_disable().unwrap();
    assert_eq!(host.varpd.persist_disable().unwrap_err().errno(), Errno::ENOENT);
    host.persist();
    active(&host, 1, "test");
    assert_eq!(host.files(), ["1.varpd"]);
}

/// The original left the file of an instance whose association failed, and that of one that it
/// forgot to take apart.
#[test]
fn defect_32_no_file_is_left_behind() {
    let host = Host::with_c_plugins(&[&["DENY_SAVE=\"deny\""]]);
    host.persist();
    let id = host.instance(1, "test");
    host.kernel.state().fail_associate = Some(Errno::EINVAL);
    assert_eq!(host.client.instance_activate(id), Err(Errno::EINVAL));
    assert!(host.files().is_empty(), "{:?}", host.files());
    host.kernel.state().fail_associate = None;
    host.client.instance_activate(id).unwrap();
    assert_eq!(host.files(), ["1.varpd"]);
    host.client.instance_destroy(id).unwrap();
    assert!(host.files().is_empty());
    let log = host.log.text();
    assert!(log.contains("the kernel does not associate its link"), "{log}");
}

#[test]
fn an_association_that_nobody_has_is_taken_over() {
    let host = Host::with_c_plugins(&[&[]]);
    host.persist();
    let old = active(&host, 1, "test");
    // As a varpd leaves it that dies in the middle of a destruction.
    let stale = host.kernel.state().links[&1].associated;
    host.client.instance_destroy(old).unwrap();
    host.kernel.state().links.get_mut(&1).unwrap().associated = stale;
    let new = host.client.instance_create(LinkId(1), "test").unwrap();
    host.client.instance_activate(new).unwrap();
    assert_eq!(associated(&host, 1), Some(new.0));
}

/// The original deleted the file in each of these cases, and with it the instance.
#[test]
fn defect_38_a_missing_plugin_is_waited_for() {
    let mut host = Host::with_c_plugins(&[&["NAME=\"one\""], &["NAME=\"two\""]]);
    host.persist();
    let (a, b) = (active(&host, 1, "one"), active(&host, 2, "two"));
    let (mut kept, all) = (None, ["1.varpd", "2.varpd"]);
    host.restart_with(|plugins| {
        let away = plugins.with_file_name("away");
        fs::rename(plugins.join("p1.so"), &away).unwrap();
        kept = Some(away);
    });
    assert_eq!(host.files(), all);
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(a));
    assert_eq!(host.client.instance_lookup(LinkId(2)), Err(Errno::ENOENT));
    assert_eq!(degraded(&host, 1), None);
    let why = "varpd instance 2: plugin \"two\" is not loaded";
    assert_eq!(degraded(&host, 2).as_deref(), Some(why));
    let log = host.log.text();
    assert!(log.contains("instance not restored, its file is kept: plugin \"two\""), "{log}");
    let [waiting] = &host.varpd.waiting()[..] else { panic!("{:?}", host.varpd.waiting()) };
    assert_eq!((waiting.id, waiting.link, waiting.again), (b, Some(LinkId(2)), true));
    // Its number is not given to anybody.
    assert_eq!(host.instance(3, "one"), VarpdId(3));
    // Trying again says nothing new and changes nothing.
    let lines = host.log.text().lines().count();
    host.varpd.persist_retry();
    assert_eq!(host.log.text().lines().count(), lines);
    // The plugin appears.
    let so = host.plugins.join("late.so");
    fs::rename(kept.unwrap(), &so).unwrap();
    host.varpd.load_plugin(&so);
    host.varpd.persist_retry();
    assert_eq!(host.client.instance_lookup(LinkId(2)), Ok(b));
    assert_eq!((degraded(&host, 2), associated(&host, 2)), (None, Some(b.0)));
    assert!(host.varpd.waiting().is_empty());
    assert!(host.kernel.answer(host.kernel.ask(2, b.0, [2; 6])).is_some());
}

/// A plugin that says no, as the files plugin does when its JSON cannot be read.
#[test]
fn defect_38_a_plugin_that_says_no_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let define = |name: &str, to: &str| format!("{name}=\"{}\"", file(to).display());
    let denials = [define("DENY", "start"), define("DENY_RESTORE", "restore")];
    let mut host = Host::with_c_plugins(&[&[&denials[0], &denials[1]]]);
    host.persist();
    let id = active(&host, 1, "test");
    for (what, why) in [
        ("start", "plugin \"test\" does not start it: Resource temporarily unavailable"),
        ("restore", "plugin \"test\" does not restore it: No such file or directory"),
    ] {
        fs::write(file(what), "").unwrap();
        host.restart();
        assert_eq!(host.files(), ["1.varpd"]);
        let why = format!("varpd instance {id}: {why}");
        assert!(degraded(&host, 1).unwrap().starts_with(&why), "{:?}", degraded(&host, 1));
        assert_eq!(host.client.instance_lookup(LinkId(1)), Err(Errno::ENOENT));
        host.varpd.persist_retry();
        assert!(degraded(&host, 1).is_some());
        let calls = host.calls(0);
        assert_eq!((calls.create, calls.wrong), (calls.destroy, 0), "what was made is taken apart");
        fs::remove_file(file(what)).unwrap();
        host.varpd.persist_retry();
        assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(id));
        assert_eq!((degraded(&host, 1), associated(&host, 1)), (None, Some(id.0)));
    }
}

#[test]
fn defect_38_a_kernel_that_says_no_is_asked_again() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    let id = active(&host, 1, "test");
    host.kernel.state().fail_associate = Some(Errno::ENOMEM);
    host.restart();
    assert_eq!(host.files(), ["1.varpd"]);
    assert!(degraded(&host, 1).unwrap().contains("the kernel does not associate"));
    let calls = host.calls(0);
    assert_eq!((calls.create, calls.start), (calls.destroy, calls.stop));
    host.kernel.state().fail_associate = None;
    host.varpd.persist_retry();
    assert_eq!((associated(&host, 1), degraded(&host, 1)), (Some(id.0), None));
}

/// Another link may have its number by now, so it is tried at the next start only, or replaced.
#[test]
fn a_link_that_is_gone_keeps_its_file_until_another_takes_its_place() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    let id = active(&host, 1, "test");
    let link = host.kernel.state().links.remove(&1).unwrap();
    host.restart();
    assert_eq!(host.files(), ["1.varpd"]);
    assert!(host.log.text().contains("there is no overlay link 1"), "{}", host.log.text());
    host.kernel.state().links.insert(1, link);
    host.varpd.persist_retry();
    assert_eq!(host.client.instance_lookup(LinkId(1)), Err(Errno::ENOENT));
    host.restart();
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(id), "at the next start");

    host.kernel.state().links.remove(&1);
    host.restart();
    let new = host.instance(1, "test");
    assert_eq!(new, VarpdId(2), "the number of the one that waits is not free");
    assert_eq!(host.files(), ["1.varpd"], "until the new one is active");
    host.client.instance_activate(new).unwrap();
    assert_eq!(host.files(), ["2.varpd"]);
    assert!(host.varpd.waiting().is_empty());
}

#[test]
fn a_new_instance_ends_the_degradation_for_want_of_one() {
    let dir = tempfile::tempdir().unwrap();
    let deny = format!("DENY=\"{}\"", dir.path().join("deny").display());
    let mut host = Host::with_c_plugins(&[&[&deny], &["NAME=\"sad\"", "DEGRADE"]]);
    host.persist();
    active(&host, 1, "test");
    host.kernel.add_link(2, VXLAN);
    host.kernel.add_link(3, VXLAN);
    fs::write(dir.path().join("deny"), "").unwrap();
    host.restart();
    assert_eq!(degraded(&host, 2).as_deref(), Some(NO_INSTANCE));
    fs::remove_file(dir.path().join("deny")).unwrap();
    // Links 1 and 2 by a client, while one waits for link 1.
    for link in [1, 2] {
        let id = host.client.instance_create(LinkId(link), "test").unwrap();
        assert!(degraded(&host, link).is_some(), "not yet");
        host.varpd.persist_retry();
        host.client.instance_activate(id).unwrap();
        assert_eq!((degraded(&host, link), associated(&host, link)), (None, Some(id.0)));
    }
    assert_eq!(host.files(), ["2.varpd", "3.varpd"]);
    // What the plugin says stays, then and when it is restored.
    let sad = host.client.instance_create(LinkId(3), "sad").unwrap();
    host.client.instance_activate(sad).unwrap();
    assert_eq!(degraded(&host, 3).as_deref(), Some("the plugin says so"));
    host.restart();
    assert_eq!(degraded(&host, 3).as_deref(), Some("the plugin says so"));
    assert_eq!((degraded(&host, 1), degraded(&host, 2)), (None, None));
}

#[test]
fn what_does_not_fit_the_link_or_the_plugin_waits() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    host.kernel.add_link(1, OVERLAY_PLUGIN_D_IP);
    host.kernel.add_link(2, VXLAN);
    put(&host.run_dir(), "1.varpd", &record(1, 1, "test"));
    let other_mode = Record { mode: OVERLAY_TARGET_POINT, ..record(2, 2, "test") };
    put(&host.run_dir(), "2.varpd", &other_mode);
    host.restart();
    assert_eq!(host.files(), ["1.varpd", "2.varpd"]);
    assert!(degraded(&host, 1).unwrap().contains("encapsulation of link 1 is another"));
    assert!(degraded(&host, 2).unwrap().contains("plugin \"test\" is of another mode"));
    assert_eq!(host.calls(0).create, 0);
}

#[test]
fn a_file_that_cannot_be_read_waits() {
    let host = Host::with_c_plugins(&[&[]]);
    fs::create_dir(host.run_dir()).unwrap();
    host.kernel.add_link(1, VXLAN);
    put(&host.run_dir(), "1.varpd", &record(1, 1, "test"));
    let bad = Arc::new(AtomicUsize::new(1));
    let disk = Arc::clone(&bad);
    let fault = move |step| match step {
        Step::Read if disk.load(Ordering::SeqCst) == 1 => {
            Err(io::Error::from_raw_os_error(Errno::EIO.to_host()))
        }
        _ => Ok(()),
    };
    host.varpd.persist_with(&host.run_dir(), Some(Box::new(fault))).unwrap();
    host.varpd.persist_restore().unwrap();
    assert_eq!(host.files(), ["1.varpd"]);
    assert_eq!(degraded(&host, 1).as_deref(), Some(NO_INSTANCE));
    assert_eq!(host.varpd.waiting().len(), 1);
    assert_eq!(host.instance(2, "test"), VarpdId(2), "the number in its name is taken");
    host.varpd.persist_retry();
    bad.store(0, Ordering::SeqCst);
    host.varpd.persist_retry();
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(VarpdId(1)));
    assert_eq!(degraded(&host, 1), None);
}

#[test]
fn broken_files_are_moved_aside_and_never_removed() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    let id = active(&host, 9, "test");
    let good = fs::read(host.run_dir().join("1.varpd")).unwrap();
    let dir = host.run_dir();
    fs::write(dir.join("2.varpd"), "").unwrap();
    fs::write(dir.join("3.varpd"), &good[..good.len() - 1]).unwrap();
    fs::write(dir.join("4.varpd"), vec![0; 5 << 20]).unwrap();
    fs::write(dir.join("4.varpd.broken"), "from before").unwrap();
    host.restart();
    let aside = ["2.varpd.broken", "3.varpd.broken", "4.varpd.broken", "4.varpd.broken.2"];
    assert_eq!(host.files(), [&["1.varpd"][..], &aside].concat());
    assert_eq!(fs::read(dir.join("3.varpd.broken")).unwrap(), good[..good.len() - 1]);
    assert_eq!(fs::read(dir.join("4.varpd.broken")).unwrap(), b"from before");
    let log = host.log.text();
    for why in ["it is too short", "its MD5 is wrong", "it is too long"] {
        assert!(log.contains(&format!("file moved aside: {why}")), "{log}");
    }
    assert_eq!(host.client.instance_lookup(LinkId(9)), Ok(id));
    host.restart();
    assert_eq!(host.files(), [&["1.varpd"][..], &aside].concat(), "and left alone from then on");
}

/// The original gave up when two files were for one link.
#[test]
fn defect_30_of_two_files_for_one_link_the_newer_one_counts() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    host.kernel.add_link(1, VXLAN);
    let dir = host.run_dir();
    put_older(&dir, "8.varpd", &record(8, 1, "test"));
    put(&dir, "3.varpd", &record(3, 1, "test"));
    host.restart();
    assert_eq!(host.files(), ["3.varpd", "8.varpd.duplicate"]);
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(VarpdId(3)));
    assert_eq!((degraded(&host, 1), associated(&host, 1)), (None, Some(3)));
    assert_eq!(get(&host, VarpdId(3), "test/text"), b"kept\0");
}

#[test]
fn of_two_files_with_one_number_the_one_with_the_right_name_counts() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    host.kernel.add_link(1, VXLAN);
    host.kernel.add_link(2, VXLAN);
    let dir = host.run_dir();
    put_older(&dir, "5.varpd", &record(5, 1, "test"));
    put(&dir, "6.varpd", &record(5, 2, "test"));
    host.restart();
    assert_eq!(host.files(), ["5.varpd", "6.varpd.duplicate"]);
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(VarpdId(5)));
    assert_eq!(degraded(&host, 2).as_deref(), Some(NO_INSTANCE));
}

#[test]
fn a_renamed_file_gets_its_name_back() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    host.kernel.add_link(1, VXLAN);
    host.kernel.add_link(2, VXLAN);
    put(&host.run_dir(), "77.varpd", &record(5, 1, "test"));
    put(&host.run_dir(), "007.varpd", &record(7, 2, "test"));
    host.restart();
    assert_eq!(host.files(), ["5.varpd", "7.varpd"]);
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(VarpdId(5)));
    assert_eq!(host.client.instance_lookup(LinkId(2)), Ok(VarpdId(7)));
    host.client.instance_destroy(VarpdId(5)).unwrap();
    assert_eq!(host.files(), ["7.varpd"]);
    // Its name is another file's, which is broken: nothing is overwritten.
    let dir = host.run_dir();
    fs::rename(dir.join("7.varpd"), dir.join("70.varpd")).unwrap();
    fs::create_dir(dir.join("7.varpd")).unwrap();
    host.restart();
    assert_eq!(host.files(), ["7.varpd", "70.varpd.duplicate"]);
}

#[test]
fn foreign_files_are_left_alone_and_leftovers_removed() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    host.kernel.add_link(1, VXLAN);
    let dir = host.run_dir();
    let bytes = persist::encode(&record(1, 1, "test")).unwrap();
    let foreign = ["+1.varpd", "-1.varpd", "1.varpd.bak", "1a.varpd", ".varpd", "varpd.door", "x"];
    let foreign = foreign.iter().chain(&["18446744073709551616.varpd", ".1.varpd", "..1.varpd"]);
    for name in foreign.clone() {
        fs::write(dir.join(name), &bytes).unwrap();
    }
    symlink(dir.join("x"), dir.join("2.varpd")).unwrap();
    fs::create_dir(dir.join("3.varpd")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(dir.join("4.varpd")).status().unwrap();
    assert!(fifo.success());
    let mut names: Vec<_> = foreign.map(|s| s.to_string()).collect();
    names.extend(["2.varpd", "3.varpd", "4.varpd"].map(String::from));
    names.sort();
    // What varpds that died while they wrote have left.
    fs::write(dir.join(".123.1.varpd"), &bytes[..100]).unwrap();
    fs::write(dir.join(format!(".{}.9.varpd", std::process::id())), "").unwrap();
    host.restart();
    assert_eq!(host.files(), names);
    assert_eq!(degraded(&host, 1).as_deref(), Some(NO_INSTANCE));
    assert!(host.varpd.waiting().is_empty());
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error() {
    let host = Host::with_c_plugins(&[&[]]);
    host.persist();
    fs::remove_dir(host.run_dir()).unwrap();
    let e = host.varpd.persist_restore().unwrap_err();
    assert_eq!(e.errno(), Errno::ENOENT);
    assert!(e.to_string().starts_with("cannot read "), "{e}");
    // Neither can an instance become active there, and it says so.
    let id = host.instance(1, "test");
    assert_eq!(host.client.instance_activate(id), Err(Errno::ENOENT));
    assert_eq!(associated(&host, 1), None);
    assert!(host.log.text().contains("cannot write "), "{}", host.log.text());
}

/// An instance whose file is being destroyed by an administrator.
#[test]
fn a_waiting_instance_is_given_up_when_its_file_is_removed() {
    let mut host = Host::with_c_plugins(&[&[]]);
    host.persist();
    host.kernel.add_link(1, VXLAN);
    put(&host.run_dir(), "1.varpd", &record(1, 1, "nobody"));
    host.restart();
    assert_eq!(host.varpd.waiting().len(), 1);
    fs::remove_file(host.run_dir().join("1.varpd")).unwrap();
    host.varpd.persist_retry();
    assert!(host.varpd.waiting().is_empty());
    assert!(host.log.text().contains("given up"));
}

/// A full disk: each step that can meet it.
#[test]
fn defect_37_a_failed_write_fails_the_activation_and_leaves_nothing() {
    let steps = [
        Step::Create,
        Step::Write(0),
        Step::Sync,
        Step::Rename,
        Step::Renamed,
        Step::SyncNamed,
        Step::SyncDirectory,
    ];
    for failing in steps {
        let host = Host::with_c_plugins(&[&[]]);
        fs::create_dir(host.run_dir()).unwrap();
        let left = Arc::new(AtomicUsize::new(1));
        let fault = move |step: Step| {
            if step == failing && left.swap(0, Ordering::SeqCst) == 1 {
                return Err(io::Error::from_raw_os_error(Errno::ENOSPC.to_host()));
            }
            Ok(())
        };
        host.varpd.persist_with(&host.run_dir(), Some(Box::new(fault))).unwrap();
        let id = host.instance(1, "test");
        assert_eq!(host.client.instance_activate(id), Err(Errno::ENOSPC), "{failing:?}");
        assert!(host.files().is_empty(), "{failing:?}: {:?}", host.files());
        assert_eq!(associated(&host, 1), None);
        assert_eq!((host.calls(0).start, host.calls(0).stop), (1, 1));
        let log = host.log.text();
        assert!(log.contains("cannot write ") && log.contains("No space left"), "{log}");
        // When there is room again it works.
        host.client.instance_activate(id).unwrap();
        assert_eq!(host.files(), ["1.varpd"]);
    }
}

/// The original repeated a rename that had been interrupted after it was done, and then said that
/// the file was not there.
#[test]
fn defect_37_a_late_interruption_is_no_failure() {
    let host = Host::with_c_plugins(&[&[]]);
    fs::create_dir(host.run_dir()).unwrap();
    let left = Arc::new(AtomicUsize::new(2));
    let fault = move |step: Step| {
        let interrupted = matches!(step, Step::Renamed)
            && left.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if interrupted { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    };
    host.varpd.persist_with(&host.run_dir(), Some(Box::new(fault))).unwrap();
    active(&host, 1, "test");
    assert_eq!(host.files(), ["1.varpd"]);
}

#[test]
fn a_file_that_cannot_be_removed_is_told() {
    let host = Host::with_c_plugins(&[&[]]);
    fs::create_dir(host.run_dir()).unwrap();
    let fault = |step| match step {
        Step::Remove => Err(io::Error::from_raw_os_error(Errno::EROFS.to_host())),
        _ => Ok(()),
    };
    host.varpd.persist_with(&host.run_dir(), Some(Box::new(fault))).unwrap();
    let id = active(&host, 1, "test");
    host.client.instance_destroy(id).unwrap();
    assert_eq!(associated(&host, 1), None, "it is gone nevertheless");
    assert!(host.log.text().contains("will come back when varpd starts"), "{}", host.log.text());
}

#[test]
fn defect_31_activation_and_destruction_leave_no_file_whoever_wins() {
    let host = Host::with_c_plugins(&[&[]]);
    host.persist();
    for link in 0..40 {
        let id = host.instance(link, "test");
        std::thread::scope(|s| {
            s.spawn(|| host.client.instance_activate(id));
            s.spawn(|| host.client.instance_destroy(id).unwrap());
        });
        assert!(host.files().is_empty(), "{link}: {:?}", host.files());
        assert_eq!(associated(&host, link), None);
    }
    let calls = host.calls(0);
    assert_eq!((calls.create, calls.start, calls.wrong), (calls.destroy, calls.stop, 0));
}
