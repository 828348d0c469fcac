// SPDX-License-Identifier: CDDL-1.0
//! Three virtual networks over three hosts, attached and detached under traffic: the demo as a user meets it; and what
//! becomes of a TTL that is used up, and of a guest that moves.

use anyhow::{Context, Result, ensure};
use fkadm::proto::{Attach, Ping};
use lab::directory::{Change, changes, host_id};
use lab::host::Host;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Instant;
use system_tests::home::{Home, good};
use system_tests::routed::{DIRECTORY, RoutedLab};
use system_tests::wait;

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");

/// Guests by their name in the matrix: with the VLAN, if its frames are tagged.
const RED: [&str; 3] = ["red1", "red2", "red3/10"];
const BLUE: [&str; 3] = ["blue1", "blue2/20", "blue3"];
const GREEN: [&str; 3] = ["green1/10", "green2", "green3"];

/// The versions of IP by which two guests must reach each other.
fn versions(a: &str, b: &str, attached: bool) -> Value {
    let of = |all: [&str; 3]| [a, b].map(|g| all.contains(&g));
    let networks = [of(RED), of(BLUE), of(GREEN)];
    let same_vnet = networks.contains(&[true; 2]);
    let untagged = ![a, b].iter().any(|g| g.contains('/'));
    let routed = attached && !networks[2].contains(&true);
    if routed || same_vnet && untagged { json!([4, 6]) } else { json!([]) }
}

#[test]
fn who_reaches_whom_before_while_and_after_two_networks_are_attached() {
    let home = Home::new(EXE);
    let capture = home.dir().join("captures");
    let out = home.run(&["demo", "--routed", "--json", "--capture", &capture.to_string_lossy()]);
    let v: Value = serde_json::from_str(&good(&out)).unwrap();
    let guests = [RED, BLUE, GREEN].concat();
    for (when, attached) in [("before", false), ("attached", true), ("after", false)] {
        for a in &guests {
            for b in guests.iter().filter(|b| *b != a) {
                assert_eq!(v[when][a][b], versions(a, b, attached), "{a} to {b} {when}");
            }
        }
    }
    // Nine guests of which six reach one another, and four of those did so before.
    assert_eq!(v["attaching"]["ways"], 6 * 5 * 2 - 2 * 2 * 2);
    assert_eq!(v["packets"]["wrong"], 0);
    for some in ["received", "datagrams", "crossed", "refused"] {
        assert!(v["packets"][some].as_u64() > Some(100), "{some}: {}", v["packets"]);
    }
    // Three guests on each of three hosts, and the datagrams of these.
    let captures = v["captures"].as_array().unwrap();
    assert_eq!(captures.len(), 3 * (3 * 2 + 1));
    for c in captures {
        assert!(c["packets"].as_u64() > Some(10), "{c}");
    }
}

/// Whether a guest gets an answer soon; what is lost on the way is lost.
fn reaches(host: &Host, vnic: &str, to: IpAddr, ttl: u8) -> Result<bool> {
    let ping = Ping { count: 1, interval_ms: 0, timeout_ms: 200, ttl, ..Ping::new(vnic, to) };
    Ok(host.client()?.guest_ping(ping)?.received == 1)
}

/// Attaches networks.
fn attach(lab: &RoutedLab, networks: &[&str]) -> Result<()> {
    let names: Vec<String> = networks.iter().map(|n| (*n).to_owned()).collect();
    lab.change(&changes(&lab.topology, Change::Attach, &names)?).map(drop)
}

#[test]
fn a_ttl_that_is_used_up_ends_at_the_router_and_is_counted() -> Result<()> {
    let lab = RoutedLab::up(EXE)?;
    attach(&lab, &["red", "blue20"])?;
    let h1 = lab.host("h1")?;
    let expired = || -> Result<u64> {
        let lines = lab.exec("h1", &["fkadm", "kstat", "-p", "overlay"])?;
        let lines = lines.lines().filter(|l| l.contains(":drop_tx_ttl"));
        Ok(lines.filter_map(|l| l.split_whitespace().last()?.parse::<u64>().ok()).sum())
    };
    for to in ["10.2.20.12", "fd02:20::12"] {
        let to = to.parse()?;
        wait("blue2 answers", || reaches(h1, "red1", to, 2).unwrap_or(false))?;
        let before = expired()?;
        for sent in 1..=5 {
            ensure!(!reaches(h1, "red1", to, 1)?, "{to} answers what must not come");
            ensure!(
                expired()? == before + sent,
                "{} expired of {sent} to {to}",
                expired()? - before
            );
        }
        ensure!(reaches(h1, "red1", to, 2)?, "{to} is out of reach");
    }
    // On a network of its own there is no router in between.
    for to in ["10.1.0.12", "fd01::12"] {
        let to = to.parse()?;
        wait("red2 answers", || reaches(h1, "red1", to, 1).unwrap_or(false))?;
    }
    lab.down()
}

/// How long it takes until each of these guests gets an answer from each address, in milliseconds.
fn until_reached(lab: &RoutedLab, ways: &[(&str, &str, &str)]) -> Result<u128> {
    let begin = Instant::now();
    for (host, vnic, to) in ways {
        let (host, to) = (lab.host(host)?, to.parse()?);
        wait(&format!("{vnic} reaches {to}"), || reaches(host, vnic, to, 64).unwrap_or(false))?;
    }
    Ok(begin.elapsed().as_millis())
}

#[test]
fn a_guest_that_moves_is_followed_by_routed_senders_whatever_is_killed() -> Result<()> {
    let mut lab = RoutedLab::up(EXE)?;
    attach(&lab, &["red", "red10", "blue"])?;
    // From each host, by both versions of IP, from a tagged network too; and from the guest that moves.
    let to_it = [
        ("h1", "red1", "10.2.0.11"),
        ("h2", "red2", "fd02::11"),
        ("h3", "red3", "10.2.0.11"),
        ("h3", "red3", "fd02::11"),
        ("h3", "blue3", "10.2.0.11"),
    ];
    let places = ["h1", "h2", "h3"];
    until_reached(&lab, &to_it)?;
    let (_, guest) = lab.topology.guest("blue1").context("no blue1")?;
    let guest = guest.clone();
    let (mac, routers) = (guest.mac.clone().context("no mac")?, lab.topology.routers_of(&guest));
    for (n, (from, to)) in [("h1", "h2"), ("h2", "h3"), ("h3", "h1")].into_iter().enumerate() {
        lab.host(from)?.client()?.guest_detach("blue1")?;
        lab.exec(from, &["dladm", "delete-vnic", "blue1"])?;
        lab.exec(to, &["dladm", "create-vnic", "-l", "blue0", "-m", &mac, "blue1"])?;
        let attach = Attach {
            link: "blue1".into(),
            addresses: guest.address.clone(),
            routers: routers.clone(),
            zone: None,
        };
        lab.host(to)?.client()?.guest_attach_as(attach)?;
        ensure!(!reaches(lab.host("h1")?, "red1", "10.2.0.11".parse()?, 64)?, "nobody was told");
        // What was not told when somebody died is told when he is back.
        match n {
            0 => {}
            1 => lab.kill("h1", "varpd")?,
            _ => lab.kill(DIRECTORY, "portolan")?,
        }
        let host = places.iter().position(|p| *p == to).map(host_id).context("no place")?;
        let change = json!({ "move": { "vnet": 102, "mac": mac, "host": host } });
        lab.change(&change.to_string())?;
        let followed = until_reached(&lab, &to_it)?;
        let back =
            until_reached(&lab, &[(to, "blue1", "10.1.0.12"), (to, "blue1", "fd01:10::13")])?;
        println!(
            "from {from} to {to}: followed within {followed} ms, it reaches others within {back} ms"
        );
    }
    lab.down()
}
