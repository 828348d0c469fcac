// SPDX-License-Identifier: CDDL-1.0
//! The table of interfaces.
use ddi::Errno;
use ddi::ids::{Id, IdSpace};
use ddi::mem::KArc;
use fakekernel::host::{self, Kernel};
use ipnet::accept::{V4, V6};
use ipnet::table::*;

/// A table, where its minor numbers come from, and what IP was told.
struct Rig {
    kernel: Kernel,
    minors: Option<KArc<IdSpace>>,
    table: Table,
    told: Vec<(u32, Family, bool)>,
    /// IP says no to these.
    refuse: Vec<(u32, Family)>,
}

/// An interface as IP has it: name, index, families, zone of its address.
type If<'a> = (&'a str, u32, &'a [Family], i32);

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

const BOTH: &[Family] = &[Family::V4, Family::V6];

impl Rig {
    fn new() -> Rig {
        let kernel = host::boot(host::Config::default());
        let minors = Some(KArc::new(IdSpace::new(c"minors", 2, 1000)));
        Rig { kernel, minors, table: Table::default(), told: Vec::new(), refuse: Vec::new() }
    }

    /// What is there now is this; whether it was something else.
    fn look(&mut self, interfaces: &[If<'_>]) -> bool {
        let mut view = View::default();
        for family in BOTH {
            for (name, index, families, zone) in interfaces {
                if families.contains(family) {
                    let seen = view.seen(*family, *index, self::name(name), false).unwrap();
                    let (addr, broadcast, zone) = ([10, 0, 0, *index as u8], [0; 4], *zone);
                    match family {
                        Family::V4 => seen.add_v4(V4 { addr, broadcast, zone }).unwrap(),
                        Family::V6 => seen.add_v6(V6 { addr: [9; 16], zone }).unwrap(),
                    }
                }
            }
        }
        let minors = self.minors.as_ref().unwrap();
        let make =
            |name, loopback| Some(KArc::new(Node { name, minor: Id::new(minors)?, loopback }));
        let (told, refuse) = (&mut self.told, &self.refuse);
        let mut ip = |index, family, join| tell(told, refuse, index, family, join);
        self.table.apply(view, make, &mut ip).unwrap()
    }

    fn node(&self, name: &str) -> KArc<Node> {
        self.entry(name).node.clone()
    }

    fn entry(&self, name: &str) -> &Entry {
        let name = self::name(name);
        self.table.iter().find(|e| e.node.name == name).expect("in the table")
    }

    fn want(&mut self, node: &KArc<Node>) -> Result<(), Errno> {
        let (told, refuse) = (&mut self.told, &self.refuse);
        self.table.want(node, &mut |i, f, j| tell(told, refuse, i, f, j))
    }

    fn unwant(&mut self, node: &KArc<Node>) {
        let (told, refuse) = (&mut self.told, &self.refuse);
        self.table.unwant(node, &mut |i, f, j| tell(told, refuse, i, f, j));
    }

    fn told(&mut self) -> Vec<(u32, Family, bool)> {
        std::mem::take(&mut self.told)
    }

    /// All is given back.
    fn end(mut self) {
        self.table = Table::default();
        self.minors = None;
        self.kernel.shutdown().unwrap();
    }
}

fn tell(
    told: &mut Vec<(u32, Family, bool)>,
    refuse: &[(u32, Family)],
    index: u32,
    family: Family,
    join: bool,
) -> Result<(), Errno> {
    if join && refuse.contains(&(index, family)) {
        return Err(Errno::ENETDOWN);
    }
    told.push((index, family, join));
    Ok(())
}

#[test]
fn interfaces_come_and_go_by_name() {
    let mut rig = Rig::new();
    rig.look(&[("lo0", 1, BOTH, 0), ("net0", 2, &[Family::V4], 0)]);
    let (lo, net) = (rig.node("lo0"), rig.node("net0"));
    assert_ne!(lo.minor.get(), net.minor.get());
    assert_eq!(rig.entry("net0").plumbed, ByFamily { v4: true, v6: false });
    rig.look(&[("lo0", 1, BOTH, 0), ("net1", 3, BOTH, 0)]);
    assert!(KArc::same(&rig.node("lo0"), &lo), "the same as before");
    assert!(rig.table.entry(&net).is_none());
    assert_eq!(rig.table.iter().count(), 2);
    drop((lo, net));
    rig.end();
}

#[test]
fn w04_an_interface_keeps_its_node_when_its_index_changes() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 2, BOTH, 0)]);
    let node = rig.node("net0");
    rig.table.told(2, Told::Renumbered);
    assert!(rig.look(&[("net0", 12, BOTH, 0)]));
    assert_eq!(rig.table.entry(&node).unwrap().index, 12);
    // Its old index is another's now, and the name of one that went is free.
    rig.look(&[("net0", 12, BOTH, 0), ("net1", 2, BOTH, 0)]);
    rig.look(&[("net1", 2, BOTH, 0)]);
    rig.look(&[("net1", 2, BOTH, 0), ("net0", 5, BOTH, 0)]);
    assert!(rig.table.entry(&node).is_none(), "that is another net0");
    assert_eq!(rig.entry("net0").index, 5);
    drop(node);
    rig.end();
}

#[test]
fn an_interface_that_was_unplumbed_and_plumbed_between_two_looks_is_another() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 2, BOTH, 0)]);
    let node = rig.node("net0");
    rig.look(&[("net0", 3, BOTH, 0)]);
    assert!(rig.table.entry(&node).is_none());
    assert_ne!(rig.node("net0").minor.get(), node.minor.get(), "somebody still has the old one");
    drop(node);
    rig.end();
}

#[test]
fn what_is_told_late_is_not_of_the_interface_that_came_after() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 2, BOTH, 0)]);
    rig.look(&[("net0", 3, BOTH, 0)]);
    let node = rig.node("net0");
    for late in [Told::Unplumbed(Family::V4), Told::Unplumbed(Family::V6), Told::Renumbered] {
        rig.table.told(2, late);
    }
    assert!(!rig.look(&[("net0", 3, BOTH, 0)]), "nothing is new");
    assert!(rig.table.entry(&node).is_some());
    // A change of the index is told once, for one change.
    rig.table.told(3, Told::Renumbered);
    rig.look(&[("net0", 4, BOTH, 0)]);
    assert!(rig.table.entry(&node).is_some());
    rig.look(&[("net0", 5, BOTH, 0)]);
    assert!(rig.table.entry(&node).is_none());
    drop(node);
    rig.end();
}

#[test]
fn w14_an_interface_that_went_gives_its_minor_number_back() {
    let mut rig = Rig::new();
    // As many as there are minor numbers, again and again.
    for round in 0..5 {
        let names: Vec<String> = (0..300).map(|n| format!("net{}", n + round * 300)).collect();
        let all: Vec<If<'_>> = names.iter().zip(1..).map(|(n, i)| (&**n, i, BOTH, 0)).collect();
        rig.look(&all);
        assert_eq!(rig.table.iter().count(), 300);
        rig.look(&all[..200]);
        rig.look(&[]);
    }
    rig.end();
}

#[test]
fn w05_an_interface_without_a_minor_number_waits_for_one() {
    let mut rig = Rig::new();
    rig.minors = Some(KArc::new(IdSpace::new(c"one", 2, 3)));
    rig.look(&[("net0", 1, BOTH, 0), ("net1", 2, BOTH, 0)]);
    assert_eq!(rig.table.iter().count(), 1);
    rig.look(&[("net1", 2, BOTH, 0)]);
    assert_eq!(rig.table.iter().count(), 1);
    assert_eq!(rig.node("net1").minor.get(), 2);
    rig.end();
}

#[test]
fn a_zone_that_shares_its_stack_sees_where_it_has_an_address() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 1, BOTH, 0), ("net1", 2, BOTH, 5), ("net2", 3, BOTH, -1)]);
    let sees =
        |zone, shared| ["net0", "net1", "net2"].map(|name| rig.entry(name).visible(zone, shared));
    assert_eq!(sees(0, true), [true; 3]);
    assert_eq!(sees(7, false), [true; 3], "it has the stack for itself");
    // W22: an address of all zones makes the interface visible to each.
    assert_eq!(sees(5, true), [false, true, true]);
    assert_eq!(sees(6, true), [false, false, true]);
    rig.end();
}

#[test]
fn the_first_that_wants_multicasts_joins_and_the_last_leaves() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 2, BOTH, 0)]);
    let node = rig.node("net0");
    rig.want(&node).unwrap();
    rig.want(&node).unwrap();
    assert_eq!(rig.told(), [(2, Family::V4, true), (2, Family::V6, true)]);
    rig.unwant(&node);
    assert_eq!(rig.told(), []);
    rig.unwant(&node);
    assert_eq!(rig.told(), [(2, Family::V4, false), (2, Family::V6, false)]);
    drop(node);
    rig.end();
}

#[test]
fn w12_a_join_that_fails_for_one_family_is_a_join_of_none() {
    let mut rig = Rig::new();
    for families in [BOTH, &[Family::V6]] {
        rig.look(&[("net0", 2, families, 0)]);
        let node = rig.node("net0");
        rig.refuse = vec![(2, Family::V6)];
        assert_eq!(rig.want(&node), Err(Errno::ENETDOWN));
        let told = rig.told();
        let joins = told.iter().filter(|(.., join)| *join).count();
        assert_eq!(joins * 2, told.len(), "as many left as joined: {told:?}");
        // The next one tries again, and nothing of the failure is counted.
        rig.refuse = Vec::new();
        rig.want(&node).unwrap();
        assert_eq!(rig.told().len(), families.len());
        rig.unwant(&node);
        assert_eq!(rig.told().len(), families.len());
        drop(node);
        rig.look(&[]);
    }
    rig.end();
}

#[test]
fn w25_nobody_leaves_what_is_another_interface_now() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 2, BOTH, 0)]);
    let node = rig.node("net0");
    rig.want(&node).unwrap();
    rig.told();
    rig.look(&[("net7", 2, BOTH, 0)]);
    rig.unwant(&node);
    assert_eq!(rig.told(), []);
    assert_eq!(rig.want(&node), Err(Errno::ENXIO));
    drop(node);
    rig.end();
}

#[test]
fn w25_a_family_that_comes_back_is_joined_anew() {
    let mut rig = Rig::new();
    rig.look(&[("net0", 2, BOTH, 0)]);
    let node = rig.node("net0");
    rig.want(&node).unwrap();
    rig.told();
    rig.look(&[("net0", 2, &[Family::V4], 0)]);
    assert_eq!(rig.told(), [], "the membership went with the family");
    rig.look(&[("net0", 2, BOTH, 0)]);
    assert_eq!(rig.told(), [(2, Family::V6, true)]);
    // That it went is told late, and was known.
    rig.table.told(2, Told::Unplumbed(Family::V6));
    rig.look(&[("net0", 2, BOTH, 0)]);
    assert_eq!(rig.told(), []);
    // It went and came back before anybody looked.
    rig.table.told(2, Told::Unplumbed(Family::V4));
    rig.look(&[("net0", 2, BOTH, 0)]);
    assert_eq!(rig.told(), [(2, Family::V4, true)]);
    rig.unwant(&node);
    assert_eq!(rig.told(), [(2, Family::V4, false), (2, Family::V6, false)]);
    drop(node);
    rig.end();
}

#[test]
fn the_same_again_is_no_change() {
    let mut rig = Rig::new();
    let all: [If<'_>; 2] = [("net0", 1, BOTH, 0), ("net1", 2, &[Family::V4], 5)];
    assert!(rig.look(&all));
    assert!(!rig.look(&all));
    assert!(rig.look(&[all[0], ("net1", 2, &[Family::V4], 6)]), "an address of another zone");
    assert!(rig.look(&[all[0], ("net1", 2, BOTH, 6)]));
    assert!(rig.look(&[all[0]]));
    rig.end();
}

#[test]
fn names_are_whole_and_end_with_a_nul() {
    assert_eq!(name("net0\0rubbish"), name("net0"));
    assert_eq!(name(&"x".repeat(31)).as_bytes()[30..], *b"x\0");
    assert_eq!(Name::new(&[b'x'; 32]), None);
    assert_ne!(name("net0"), name("net"));
}
