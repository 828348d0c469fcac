// SPDX-License-Identifier: CDDL-1.0
//! The client against the table, over a real door.

use libdladm::dlmgmt::{Class, Client, Flags, Table};
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use std::sync::{Arc, Mutex};

#[test]
fn client_and_table_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dlmgmt_door");
    let table = Arc::new(Mutex::new(Table::new()));
    let served = table.clone();
    let handler = move |m: &[u8], _: &door::PeerCred| served.lock().unwrap().handle(m);
    let server = door::Server::create(&path, 0o600, Arc::new(handler)).unwrap();

    let c = Client::open(&path).unwrap();
    assert_eq!(c.links(Class::ALL, Flags::ALL), Ok(vec![]));
    let over = c.create("overlay0", Class::OVERLAY, Flags::ALL).unwrap();
    let vnic = c.create("vnic0", Class::VNIC, Flags::ACTIVE).unwrap();
    assert_eq!(c.create("vnic0", Class::VNIC, Flags::ACTIVE), Err(Errno::EEXIST));
    assert_eq!(c.create("vnic", Class::VNIC, Flags::ACTIVE), Err(Errno::EINVAL));
    assert_eq!(c.create("vnic2", Class(0x18), Flags::ACTIVE), Err(Errno::EINVAL));

    let link = c.link(over).unwrap();
    assert_eq!(
        (link.name.as_str(), link.class, link.flags),
        ("overlay0", Class::OVERLAY, Flags::ALL)
    );
    assert_eq!(c.by_name("overlay0"), Ok(link.clone()));
    assert_eq!(c.by_name(&"x".repeat(40)), Err(Errno::ENOENT));
    assert_eq!(c.link(LinkId(99)), Err(Errno::ENOENT));

    assert_eq!(c.links(Class::OVERLAY, Flags::ALL), Ok(vec![link]));
    let ids: Vec<LinkId> =
        c.links(Class::ALL, Flags::ACTIVE).unwrap().iter().map(|l| l.id).collect();
    assert_eq!(ids, [over, vnic]);

    assert_eq!(c.destroy(over, Flags::ALL), Ok(()));
    assert_eq!(c.destroy(over, Flags::ALL), Err(Errno::ENOENT));
    drop(server);
    assert_eq!(c.link(vnic), Err(Errno::EBADF), "the server is gone");
}
