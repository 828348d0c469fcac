// SPDX-License-Identifier: CDDL-1.0
//! varpd is killed at random moments while guests talk, links come and go, and nobody must notice.
//!
//! ```text
//!   fakekerneld: ov1 .. ov4, each with a guest that pings hosts it knows and one that goes through many
//!        |  VXLAN on loopback
//!        v
//!   8 sockets of this test, each a remote host of every network: who gets a packet checks, by network, Ethernet
//!   address, IP address and what is in it, that it is the one meant, and answers
//! ```
//!
//! Ordinary processes; no privilege is needed. `KILL9_ROUNDS` says how often it is killed.

use anyhow::{Context, Result, anyhow, bail, ensure};
use fkadm::proto::{Ping, PingReport};
use libvarpd_client::Client;
use overlay_abi::ids::{LinkId, VarpdId};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use system_tests::{Daemon, wait};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
const VXLAN_PORT: u16 = 4789;

/// Links that stay.
const LINKS: u8 = 4;
/// Remote hosts, each a socket.
const HOSTS: u8 = 8;
/// Numbers of guests on a link that are on remote hosts: the first ones are known, the others are
/// come across.
const REMOTE: std::ops::Range<u16> = 256..1256;
const KNOWN: std::ops::Range<u16> = 256..260;
/// The two guests here.
const TALKS: u16 = 1;
const WANDERS: u16 = 2;
/// Longest time a packet may take, in milliseconds. The machine may be busy.
const PATIENCE: u32 = 30_000;

/// The first three bytes of underlay addresses, of this test process' own.
fn underlay(last: u8) -> Ipv4Addr {
    let pid = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 192 + pid[2] % 32, pid[3], last)
}

/// The host a remote guest is on.
fn host_of(link: u8, guest: u16) -> u8 {
    1 + ((u16::from(link) * 3 + guest) % u16::from(HOSTS)) as u8
}

fn vnet(link: u8) -> u32 {
    0x0a_0b00 + u32::from(link)
}

fn ip(link: u8, guest: u16) -> Ipv4Addr {
    let [high, low] = guest.to_be_bytes();
    Ipv4Addr::new(10, link, high, low)
}

fn mac(link: u8, guest: u16) -> [u8; 6] {
    let [high, low] = guest.to_be_bytes();
    [2, 8, 0x20, link, high, low]
}

fn mac_text(link: u8, guest: u16) -> String {
    mac(link, guest).map(|b| format!("{b:x}")).join(":")
}

/// What a remote host saw.
#[derive(Default)]
struct Seen {
    packets: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

/// A frame's way, checked by the host that got it: network, addresses and data are all of one guest,
/// which is on this host.
fn check(host: u8, datagram: &[u8]) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("host {host}: {what}: {datagram:02x?}"));
    let (Some(vxlan), Some(frame)) = (datagram.first_chunk::<8>(), datagram.get(8..)) else {
        return wrong("no VXLAN");
    };
    if frame.len() < 42 || frame[12..14] != [8, 0] || frame[14] != 0x45 || frame[23] != 1 {
        return wrong("not an echo request");
    }
    let dst = [frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]];
    let (link, guest) = (dst[3], u16::from_be_bytes([dst[4], dst[5]]));
    if dst != mac(link, guest) || !(1..=LINKS).contains(&link) || !REMOTE.contains(&guest) {
        return wrong("for nobody");
    }
    if u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]) != vnet(link) {
        return wrong("in another network");
    }
    if frame[30..34] != ip(link, guest).octets() {
        return wrong("for another IP address");
    }
    if host_of(link, guest) != host {
        return wrong("on the wrong host");
    }
    Ok(())
}

/// Turns a request into its answer.
fn answer(datagram: &mut [u8]) {
    let frame = &mut datagram[8..];
    for n in 0..6 {
        frame.swap(n, 6 + n);
    }
    for n in 0..4 {
        frame.swap(26 + n, 30 + n);
    }
    // Echo request 8 to reply 0, and its checksum with it (RFC 1624).
    frame[34] = 0;
    let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[36..38].copy_from_slice(&(sum as u16).to_be_bytes());
}

fn remote_host(host: u8, socket: &UdpSocket, seen: &Seen, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buf = [0; 2048];
    while !stop.load(Relaxed) {
        let Ok((n, from)) = socket.recv_from(&mut buf) else { continue };
        match check(host, &buf[..n]) {
            Ok(()) => {
                seen.packets.fetch_add(1, Relaxed);
                answer(&mut buf[..n]);
                socket.send_to(&buf[..n], (from.ip(), VXLAN_PORT))?;
            }
            Err(what) => seen.wrong.lock().unwrap().push(what),
        }
    }
    Ok(())
}

/// The one machine that is real, as its guests and administrators know it: a directory.
#[derive(Clone, Copy)]
struct Site<'a>(&'a Path);

/// The same with its daemons, of which one dies.
struct Machine {
    varpd: Daemon,
    kernel: Daemon,
    dir: tempfile::TempDir,
    deaths: u64,
}

fn tool(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(EXE);
    command.arg0(program).env("OVERLAY_ROOT", dir.join("root")).stdin(Stdio::null());
    command
}

fn start(dir: &Path, program: &str, args: &[&str]) -> Result<Daemon> {
    Daemon::start(tool(dir, program).args(args), &dir.join(format!("{program}.log")))
}

impl Machine {
    fn start() -> Result<Machine> {
        let dir = tempfile::tempdir()?;
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins)?;
        for plugin in lab::state::built_plugins(EXE.as_ref())? {
            let name = plugin.file_name().context("a plugin without a name")?;
            std::os::unix::fs::symlink(&plugin, plugins.join(name))?;
        }
        let device = dir.path().join("root/dev/overlay");
        let kernel = start(dir.path(), "fakekerneld", &["--checks", "debug"])?;
        let kernel = kernel.when(|| device.exists())?;
        let varpd = Machine::varpd(dir.path())?;
        Ok(Machine { dir, kernel, varpd, deaths: 0 })
    }

    fn varpd(dir: &Path) -> Result<Daemon> {
        start(dir, "varpd", &["-f", "-i", &dir.join("plugins").to_string_lossy()])
    }

    /// Dead without warning, and started again at once.
    fn kill(&mut self) -> Result<()> {
        self.varpd.kill()?;
        self.deaths += 1;
        self.varpd = Machine::varpd(self.dir.path())?;
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.varpd.stop()?;
        self.kernel.stop()
    }
}

impl Site<'_> {
    fn client(self) -> Result<Client> {
        let door = self.0.join("root/var/run/varpd/varpd.door");
        let mut client = None;
        wait("varpd serves", || {
            client = Client::open_path(&door).ok();
            client.is_some()
        })?;
        client.context("no client")
    }

    fn fkadm(self) -> Result<fkadm::client::Client> {
        Ok(fkadm::client::Client::open(&devctl::Root::from_env_or(Some(self.0.join("root"))))?)
    }

    fn dladm(self, args: &[&str]) -> Result<String> {
        let out = tool(self.0, "dladm").args(args).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(out.status.success(), "{} of {args:?}", text(&out.stderr));
        Ok(text(&out.stdout))
    }

    fn ping(self, link: &str, to: Ipv4Addr, count: u32, timeout_ms: u32) -> Result<PingReport> {
        let ping = Ping { count, interval_ms: 20, timeout_ms, ..Ping::new(link, to.into()) };
        Ok(self.fkadm()?.guest_ping(ping)?)
    }

    /// A link with its two guests, and the file of all hosts of its network.
    fn link(self, link: u8) -> Result<()> {
        let host = |guest| {
            let at = underlay(host_of(link, guest)).to_string();
            let arp = ip(link, guest).to_string();
            let host = serde_json::json!({ "ip": at, "port": VXLAN_PORT, "arp": arp });
            (mac_text(link, guest), host)
        };
        let hosts: BTreeMap<String, serde_json::Value> = REMOTE.map(host).collect();
        let file = self.hosts(link);
        std::fs::write(&file, serde_json::to_vec(&hosts)?)?;
        let name = format!("ov{link}");
        self.create(&name, vnet(link), &file)?;
        for guest in [TALKS, WANDERS] {
            let vnic = format!("vn{link}g{guest}");
            self.dladm(&["create-vnic", "-l", &name, "-m", &mac_text(link, guest), &vnic])?;
            self.fkadm()?.guest_attach(&vnic, [format!("{}/16", ip(link, guest))])?;
        }
        Ok(())
    }

    fn hosts(self, link: u8) -> PathBuf {
        self.0.join(format!("hosts{link}.json"))
    }

    fn create(self, name: &str, vnet: u32, file: &Path) -> Result<()> {
        let props = format!("vxlan/listen_ip={},files/config={}", underlay(100), file.display());
        let vnet = vnet.to_string();
        let args =
            ["create-overlay", "-e", "vxlan", "-s", "files", "-v", &vnet, "-p", &props, name];
        self.dladm(&args).map(drop)
    }

    fn exists(self, name: &str) -> Result<bool> {
        Ok(self.fkadm()?.links()?.iter().any(|link| link.name.as_deref() == Some(name)))
    }

    fn id(self, client: &Client, link: u8) -> Result<VarpdId> {
        let name = format!("ov{link}");
        let links = self.fkadm()?.links()?;
        let found =
            links.iter().find(|l| l.name.as_ref() == Some(&name)).context("the link is gone")?;
        client.instance_lookup(LinkId(found.linkid)).map_err(|e| anyhow!("{name}: {e}"))
    }

    /// Every link that stays has the instance it had, and is well.
    fn all_well(self, ids: &BTreeMap<u8, VarpdId>) -> Result<()> {
        let client = self.client()?;
        for (link, id) in ids {
            let found = self.id(&client, *link)?;
            ensure!(found == *id, "ov{link} has instance {found:?} in place of {id:?}");
            self.is_well(&format!("ov{link}"))?;
        }
        Ok(())
    }

    fn is_well(self, link: &str) -> Result<()> {
        let states = self.dladm(&["show-overlay", "-f", link])?;
        ensure!(states.contains("ONLINE") && !states.contains("DEGRADED"), "{states}");
        Ok(())
    }

    /// The instances' files: which instance is whose. Nothing half-written lies beside them.
    fn files(self) -> Result<BTreeMap<u64, LinkId>> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(self.0.join("root/var/run/varpd"))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(id) = name.strip_suffix(".varpd") {
                let record = libvarpd::persist::decode(&std::fs::read(entry.path())?);
                let record = record.with_context(|| format!("file {name}"))?;
                ensure!(record.id.0.to_string() == id, "{name} is of instance {}", record.id);
                files.insert(record.id.0, record.link);
            } else {
                ensure!(name.starts_with("varpd."), "a file {name}");
            }
        }
        Ok(files)
    }

    /// The end of a log.
    fn log(self, program: &str) -> String {
        let text = std::fs::read_to_string(self.0.join(format!("{program}.log")));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// What happened besides.
#[derive(Default)]
struct Counts {
    known: AtomicU64,
    slowest_ms: AtomicU64,
    wandered: AtomicU64,
    created: AtomicU64,
    deleted: AtomicU64,
    refused: AtomicU64,
}

/// A guest pings those it knows, without a pause: every answer must come.
fn talk(site: Site<'_>, link: u8, counts: &Counts, stop: &AtomicBool) -> Result<()> {
    let vnic = format!("vn{link}g{TALKS}");
    while !stop.load(Relaxed) {
        for guest in KNOWN {
            let report = site.ping(&vnic, ip(link, guest), 10, PATIENCE)?;
            let whole = report.received == report.sent && report.corrupted == 0;
            ensure!(whole, "{vnic} to {}: {report:?}", ip(link, guest));
            counts.known.fetch_add(report.received, Relaxed);
            counts.slowest_ms.fetch_max(report.rtt_us.max as u64 / 1000, Relaxed);
        }
    }
    Ok(())
}

/// A guest goes through all the others, so that questions are on their way whenever varpd dies.
/// Such a packet may be lost, but not be changed.
fn wander(site: Site<'_>, link: u8, counts: &Counts, stop: &AtomicBool) -> Result<()> {
    let vnic = format!("vn{link}g{WANDERS}");
    for guest in REMOTE.skip(KNOWN.len()).cycle() {
        if stop.load(Relaxed) {
            break;
        }
        let report = site.ping(&vnic, ip(link, guest), 1, 500)?;
        ensure!(report.corrupted == 0, "{vnic}: {report:?}");
        counts.wandered.fetch_add(report.received, Relaxed);
    }
    Ok(())
}

/// A link comes and goes by dladm, which is refused when varpd is dead: it says so, and the next try
/// works.
fn churn(site: Site<'_>, n: u32, counts: &Counts, stop: &AtomicBool) -> Result<()> {
    let (name, file) = (format!("churn{n}"), site.hosts(1));
    let mut exists = false;
    while exists || !stop.load(Relaxed) {
        let (done, count) = match exists {
            false => (site.create(&name, 1000 + n, &file), &counts.created),
            true => (site.dladm(&["delete-overlay", &name]).map(drop), &counts.deleted),
        };
        match done {
            Ok(()) => {
                count.fetch_add(1, Relaxed);
                exists = !exists;
                if exists {
                    site.is_well(&name)?;
                }
            }
            Err(e) => {
                counts.refused.fetch_add(1, Relaxed);
                ensure!(format!("{e}").starts_with("dladm: "), "{e}");
                std::thread::sleep(Duration::from_millis(20));
                exists = site.exists(&name)?;
            }
        }
    }
    Ok(())
}

/// xorshift.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn number(name: &str, default: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |n| n.parse()).with_context(|| name.to_owned())
}

#[test]
fn nobody_notices_that_varpd_is_killed() -> Result<()> {
    let rounds = number("KILL9_ROUNDS", 10)?;
    let mut seed = number("KILL9_SEED", std::process::id().into())? | 1;
    println!("{rounds} rounds, KILL9_SEED={seed}");
    let sockets: Vec<UdpSocket> = (1..=HOSTS)
        .map(|host| UdpSocket::bind((underlay(host), VXLAN_PORT)))
        .collect::<std::io::Result<_>>()?;
    let (seen, counts, stop) = (Seen::default(), Counts::default(), AtomicBool::new(false));
    let mut machine = Machine::start()?;
    let begin = Instant::now();
    let result = std::thread::scope(|s| {
        for (host, socket) in (1..).zip(&sockets) {
            let (seen, stop) = (&seen, &stop);
            s.spawn(move || remote_host(host, socket, seen, stop));
        }
        let result = run(&mut machine, rounds, &mut seed, &counts);
        stop.store(true, Relaxed);
        result
    });
    let count = |n: &AtomicU64| n.load(Relaxed);
    let figures = format!(
        "{} deaths in {:.0} s: {} answers for known guests, the slowest after {} ms, {} for others; {} packets at \
         remote hosts; links created {}, deleted {}, dladm refused {}",
        machine.deaths,
        begin.elapsed().as_secs_f64(),
        count(&counts.known),
        count(&counts.slowest_ms),
        count(&counts.wandered),
        count(&seen.packets),
        count(&counts.created),
        count(&counts.deleted),
        count(&counts.refused),
    );
    println!("{figures}");
    let site = Site(machine.dir.path());
    result.with_context(|| {
        format!("{figures}\n{}\n{}", site.log("varpd"), site.log("fakekerneld"))
    })?;
    let wrong = std::mem::take(&mut *seen.wrong.lock().unwrap());
    ensure!(wrong.is_empty(), "{} packets went astray: {:?}", wrong.len(), wrong.first());
    for done in [&counts.known, &counts.wandered, &counts.created, &counts.deleted] {
        ensure!(count(done) > 0, "something never happened: {figures}");
    }
    machine.stop()
}

/// Makes links, kills, and looks whether all is well.
fn run(machine: &mut Machine, rounds: u64, seed: &mut u64, counts: &Counts) -> Result<()> {
    let path = machine.dir.path().to_owned();
    let site = Site(&path);
    let client = site.client()?;
    let mut ids = BTreeMap::new();
    for link in 1..=LINKS {
        site.link(link)?;
        ids.insert(link, site.id(&client, link)?);
        for guest in KNOWN {
            // It is known when it has answered.
            let vnic = format!("vn{link}g{TALKS}");
            let answers =
                || site.ping(&vnic, ip(link, guest), 1, 1000).is_ok_and(|r| r.received > 0);
            wait("a first answer", answers)?;
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let stop = &stop;
        let mut threads = Vec::new();
        for link in 1..=LINKS {
            threads.push(s.spawn(move || talk(site, link, counts, stop)));
            threads.push(s.spawn(move || wander(site, link, counts, stop)));
        }
        for n in 0..2 {
            threads.push(s.spawn(move || churn(site, n, counts, stop)));
        }
        let killed = (0..rounds).try_for_each(|round| {
            ensure!(!threads.iter().any(|t| t.is_finished()), "somebody noticed");
            // Mostly it works when it dies; sometimes it is still starting.
            let works = !random(seed).is_multiple_of(4);
            if works {
                site.client()?;
            }
            std::thread::sleep(Duration::from_millis(random(seed) % 400));
            if round % 10 == 9 {
                site.all_well(&ids)?;
            }
            machine.kill()
        });
        // Until all was looked at with everything going on.
        let well = killed.and_then(|()| site.all_well(&ids));
        stop.store(true, Relaxed);
        let ends: Vec<Result<()>> = threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| bail!("a thread panicked")))
            .collect();
        ends.into_iter().collect::<Result<()>>()?;
        well
    })?;
    site.all_well(&ids)?;
    // None is lost, and one too many is of a link that dladm could take away and varpd, dead, was not told of.
    let files = site.files()?;
    let missing = ids.values().find(|id| !files.contains_key(&id.0));
    ensure!(missing.is_none(), "{missing:?} has no file: {files:?}");
    let links: Vec<u32> = site.fkadm()?.links()?.iter().map(|l| l.linkid).collect();
    for (id, link) in files.iter().filter(|(id, _)| !ids.values().any(|kept| kept.0 == **id)) {
        ensure!(!links.contains(&link.0), "file {id} of link {link}, which nobody wants");
    }
    Ok(())
}
