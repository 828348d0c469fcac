// SPDX-License-Identifier: CDDL-1.0
//! `lab up`, `down`, `status` and `exec`: labs that outlive the command.

use crate::directory;
use crate::guests;
use crate::host::{Host, Lifetime, Modules};
use crate::hosts_file;
use crate::out;
use crate::state::{self, LabDir};
use crate::topology::{self, Topology};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Makes the overlay links and VNICs of a host.
///
/// # Errors
/// dladm refused one; its message is in the error.
pub fn make_links(host: &Host, topology: &Topology, h: &topology::Host) -> Result<()> {
    for o in &h.overlays {
        let vnet = o.vnet.to_string();
        let mut props = o.property_list();
        if let Some(path) = hosts_file::write(topology, host, o)? {
            props += &format!(",{}={}", hosts_file::CONFIG, path.display());
        }
        if let Some(svp) = directory::properties(o) {
            props += &format!(",{svp}");
        }
        let dcid = o.dcid.to_string();
        let mut args = vec!["create-overlay", "-e", &o.encap, "-s", &o.search, "-v", &vnet];
        if o.dcid != 0 {
            args.extend(["-d", &dcid]);
        }
        args.extend(["-p", &props, &o.name]);
        host.dladm(&args)?;
    }
    for g in &h.guests {
        make_vnic(host, g)?;
    }
    Ok(())
}

/// Makes the VNIC of a guest.
///
/// # Errors
/// As [`make_links`].
pub fn make_vnic(host: &Host, g: &topology::Guest) -> Result<()> {
    let mut args = vec!["create-vnic", "-l", &g.over];
    if let Some(mac) = &g.mac {
        args.extend(["-m", mac]);
    }
    let vlan = g.vlan.to_string();
    if g.vlan != 0 {
        args.extend(["-v", &vlan]);
    }
    args.push(&g.vnic);
    host.dladm(&args).map(drop)
}

/// The namespace of a guest.
fn netns_name(lab: &str, vnic: &str) -> String {
    format!("{lab}-{vnic}")
}

/// Starts a lab and leaves it running.
///
/// # Errors
/// Something did not start. What had started is stopped again.
pub fn up(file_or_name: &str, netns: bool, modules: &Modules) -> Result<ExitCode> {
    let text = match topology::READY.iter().find(|(n, _)| *n == file_or_name) {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(file_or_name).unwrap_or_default(),
    };
    let topology = Topology::load(file_or_name)?;
    if netns {
        ensure!(
            rustix::process::geteuid().is_root(),
            "--netns needs root: namespaces and TAP devices are root's to make. Without it, guests run inside \
             fakekerneld and `fkadm guest ping` reaches them"
        );
    }
    let dir = LabDir::of(&topology.name);
    dir.create()?;
    let mut hosts = Vec::new();
    let mut spaces = Vec::new();
    let started = start(&topology, &text, &dir, netns, modules, &mut hosts, &mut spaces);
    if let Err(e) = started {
        take_down(&dir, hosts, &spaces);
        return Err(e);
    }
    out!("lab {} is up in {}", topology.name, dir.path().display())?;
    for h in &topology.hosts {
        for g in &h.guests {
            let place = if netns {
                format!("namespace {}", netns_name(&topology.name, &g.vnic))
            } else {
                format!("inside {}", h.name)
            };
            out!("  guest {} {} ({place})", g.vnic, g.address.join(" "))?;
        }
    }
    let (h, g) = match topology.hosts.iter().find_map(|h| h.guests.first().map(|g| (h, g))) {
        Some(x) => x,
        None => return Ok(ExitCode::SUCCESS),
    };
    let is_reached = |x: &&topology::Guest| x.vnic != g.vnic && topology.reaches(g, x);
    let target = topology.hosts.iter().flat_map(|x| &x.guests).rfind(is_reached);
    let address = target
        .and_then(|t| t.address.first())
        .map_or("ADDRESS", |a| a.split('/').next().unwrap_or(a));
    out!("try:\n  lab exec {} -- dladm show-overlay", h.name)?;
    if netns {
        out!("  lab exec {} -- ping -c 3 {address}", g.vnic)?;
    } else {
        out!("  lab exec {} -- fkadm guest ping {} {address}", h.name, g.vnic)?;
    }
    out!("  lab down {}", topology.name)?;
    Ok(ExitCode::SUCCESS)
}

fn start(
    topology: &Topology,
    text: &str,
    dir: &LabDir,
    netns: bool,
    modules: &Modules,
    hosts: &mut Vec<Host>,
    spaces: &mut Vec<String>,
) -> Result<()> {
    dir.save(text, hosts, spaces)?;
    for h in &topology.hosts {
        let root = dir.host_root(&h.name);
        hosts.push(Host::start(&h.name, root, &dir.plugins(), modules, Lifetime::Detached)?);
        dir.save(text, hosts, spaces)?;
    }
    let directories = directory::start(topology, dir, Lifetime::Detached, hosts);
    dir.save(text, hosts, spaces)?;
    directories?;
    // Directories come behind the hosts.
    for (host, h) in hosts.iter().zip(&topology.hosts) {
        directory::name(topology, host)?;
        make_links(host, topology, h)?;
        for g in &h.guests {
            if netns {
                let ns = netns_name(&topology.name, &g.vnic);
                guests::make_netns(&ns)?;
                spaces.push(ns.clone());
                dir.save(text, hosts, spaces)?;
                guests::attach_tap(host, topology, g, &ns)?;
            } else {
                guests::attach(host, topology, g)?;
            }
        }
    }
    Ok(())
}

fn take_down(dir: &LabDir, mut hosts: Vec<Host>, spaces: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for h in hosts.iter_mut().rev() {
        complaints.extend(h.stop());
    }
    for ns in spaces {
        complaints.extend(guests::remove_netns(ns).err().map(|e| format!("{e:#}")));
    }
    complaints.extend(dir.remove().err().map(|e| format!("{e:#}")));
    complaints
}

/// Stops a lab and removes all it left.
///
/// # Errors
/// There is no such lab.
pub fn down(name: &str) -> Result<ExitCode> {
    let dir = LabDir::of(name);
    let (hosts, spaces) = match dir.load() {
        Ok((_, hosts, spaces)) => (hosts, spaces),
        // Left behind before anything was recorded: nothing runs, only the directory is there.
        Err(_) if dir.path().is_dir() && !dir.path().join("lab.json").exists() => (vec![], vec![]),
        Err(e) => return Err(e),
    };
    let complaints = take_down(&dir, hosts, &spaces);
    for c in &complaints {
        eprintln!("lab: {c}");
    }
    out!("lab {name} is down")?;
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows the labs that are up.
///
/// # Errors
/// A lab's record cannot be read.
pub fn status(json: bool) -> Result<ExitCode> {
    let mut all = Vec::new();
    let mut healthy = true;
    for name in state::names() {
        let (topology, hosts, netns) = LabDir::of(&name).load()?;
        let mut shown = Vec::new();
        for h in &hosts {
            let is_directory = topology.directories.iter().any(|d| d.name == h.name);
            let all = if is_directory { 1 } else { 2 };
            let alive =
                h.daemons().iter().all(crate::host::Daemon::alive) && h.daemons().len() == all;
            healthy &= alive;
            let links = if alive && !is_directory { guests::links(h)? } else { Vec::new() };
            shown.push(serde_json::json!({
                "name": h.name, "root": h.root, "running": alive, "daemons": h.daemons(), "links": links,
            }));
        }
        all.push(serde_json::json!({
            "name": topology.name, "hosts": shown, "netns": netns,
            "guests": topology.hosts.iter().flat_map(|h| h.guests.iter().map(move |g| serde_json::json!({
                "name": g.vnic, "host": h.name, "over": g.over, "address": g.address,
            }))).collect::<Vec<_>>(),
        }));
    }
    if json {
        out!("{}", serde_json::to_string_pretty(&all)?)?;
    } else if all.is_empty() {
        out!("no lab is up")?;
    } else {
        print_status(&all)?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_status(labs: &[serde_json::Value]) -> Result<()> {
    let text = |v: &serde_json::Value| v.as_str().unwrap_or("--").to_owned();
    let list = |v: &serde_json::Value| v.as_array().cloned().unwrap_or_default();
    for lab in labs {
        out!("lab {}", text(&lab["name"]))?;
        for h in list(&lab["hosts"]) {
            let state = if h["running"] == true { "running" } else { "NOT RUNNING" };
            out!("  host {:<12} {state:<12} {}", text(&h["name"]), text(&h["root"]))?;
        }
        for g in list(&lab["guests"]) {
            let addresses: Vec<_> = list(&g["address"]).iter().map(text).collect();
            out!(
                "  guest {:<11} on {}, over {}: {}",
                text(&g["name"]),
                text(&g["host"]),
                text(&g["over"]),
                addresses.join(" ")
            )?;
        }
    }
    Ok(())
}

/// Runs a command on a host of a lab, or in the namespace of a guest. Its exit status is ours.
///
/// # Errors
/// No such lab, host or command.
pub fn exec(lab: &str, target: &str, command: &[OsString]) -> Result<ExitCode> {
    let dir = LabDir::of(lab);
    let (topology, hosts, spaces) = dir.load()?;
    let (program, args) = command.split_first().context("no command")?;
    let ns = netns_name(lab, target);
    let host_name = match topology.guest(target) {
        Some((h, _)) if spaces.contains(&ns) => h.name.clone(),
        Some((h, _)) => bail!(
            "{target} is a guest inside {}: it runs no commands; start the lab with --netns for that",
            h.name
        ),
        None => target.to_owned(),
    };
    let Some(host) = hosts.iter().find(|h| h.name == host_name) else {
        let names: Vec<_> = hosts.iter().map(|h| h.name.as_str()).collect();
        bail!("lab {lab} has no host {target:?} (it has {})", names.join(", "));
    };
    let mut cmd = if spaces.contains(&ns) && topology.guest(target).is_some() {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &ns]).arg(program);
        c
    } else {
        Command::new(program)
    };
    let mut path = OsString::from(dir.path().join("bin"));
    if let Some(p) = std::env::var_os("PATH") {
        path.push(":");
        path.push(p);
    }
    cmd.args(args).env("PATH", &path).env("OVERLAY_ROOT", &host.root);
    if let Some(url) = directory::url(&topology, &host.name) {
        cmd.env("PORTOLAN_URL", url);
    }
    let status = cmd.status().with_context(|| format!("cannot run {}", program.display()))?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}
