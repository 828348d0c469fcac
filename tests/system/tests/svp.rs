// SPDX-License-Identifier: CDDL-1.0
//! The svp plugin in whole processes: three kernels and varpds, and a portolan, which is killed, started again, named
//! anew, and speaks TLS.
//!
//! ```text
//!   h1: fakekerneld, varpd   ov0 -- vn1 (guest 10.9.0.1)     127.x.y.1
//!   h2: the same             ov0 -- vn2 (guest 10.9.0.2)     127.x.y.2
//!   h3: the same             ov0, where guests move to       127.x.y.3
//!        \_____________________ svp ____________________--> portolan, 127.x.y.9: "portolan" in each ROOT/etc/hosts
//! ```

use anyhow::{Context, Result, bail, ensure};
use fkadm::proto::{Attach, Ping};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use svp::client::{Client, Event, Question};
use svp::log::Entry;
use svp::{Body, Version};
use system_tests::{Daemon, wait};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
const VNET: &str = "77";

/// Hosts and a directory.
struct Site {
    dir: tempfile::TempDir,
    /// The second and third byte of addresses of this test's own.
    net: [u8; 2],
    /// Kernel and varpd of each host.
    hosts: Vec<(Daemon, Daemon)>,
    portolan: Option<Daemon>,
    /// Options for portolan.
    options: Vec<String>,
}

impl Site {
    /// So many hosts with the plugin, and a portolan with these options that knows the first two guests.
    fn start(n: u8, hosts: u8, options: impl Fn(&Path) -> Vec<String>) -> Result<Site> {
        let dir = tempfile::tempdir()?;
        let net = [64 + n, (std::process::id() % 256) as u8];
        let options = options(dir.path());
        let mut site = Site { dir, net, hosts: Vec::new(), portolan: None, options };
        let exe = Path::new(EXE);
        let plugins = site.path("plugins");
        std::fs::create_dir(&plugins)?;
        for p in lab::state::built_plugins(exe)? {
            std::os::unix::fs::symlink(&p, plugins.join(p.file_name().unwrap_or_default()))?;
        }
        for host in 1..=hosts {
            std::fs::create_dir_all(site.root(host).join("etc"))?;
            let log = site.path(&format!("fakekerneld{host}.log"));
            let kernel = Daemon::start(&mut site.tool(host, "fakekerneld"), &log)?;
            let device = site.root(host).join("dev/overlay");
            let kernel = kernel.when(|| device.exists())?;
            let varpd = site.varpd(host)?;
            site.hosts.push((kernel, varpd));
        }
        site.name(&[site.address(9)])?;
        site.start_portolan()?;
        for host in [1, 2, 3] {
            site.adm(&["host", "set", &id(host), &site.address(host).to_string(), "4789"])?;
        }
        site.put(1, 1)?;
        site.put(2, 2)?;
        Ok(site)
    }

    fn varpd(&self, host: u8) -> Result<Daemon> {
        let mut command = self.tool(host, "varpd");
        command.args(["-f", "-i"]).arg(self.path("plugins"));
        let varpd = Daemon::start(&mut command, &self.path(&format!("varpd{host}.log")))?;
        let door = self.root(host).join("var/run/varpd/varpd.door");
        varpd.when(|| libvarpd_client::Client::open_path(&door).is_ok_and(|c| c.status().is_ok()))
    }

    fn start_portolan(&mut self) -> Result<()> {
        let (svp, api) = (self.at(9, 1296), self.at(9, 1297));
        let mut command = self.tool(1, "portolan");
        command.args(["--listen", &svp.to_string(), "--api", &api.to_string(), "--store"]);
        command.arg(self.path("portolan.redb")).args(&self.options);
        let portolan = Daemon::start(&mut command, &self.path("portolan.log"))?;
        let ready = || [svp, api].iter().all(|at| TcpStream::connect(at).is_ok());
        self.portolan = Some(portolan.when(ready)?);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self, host: u8) -> PathBuf {
        self.path(&format!("h{host}"))
    }

    fn address(&self, n: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net[0], self.net[1], n)
    }

    fn at(&self, n: u8, port: u16) -> SocketAddr {
        (self.address(n), port).into()
    }

    /// What the directory's name is resolved to from now on.
    fn name(&self, addresses: &[Ipv4Addr]) -> Result<()> {
        let lines: String = addresses.iter().map(|a| format!("{a} portolan\n")).collect();
        for host in 1..=self.hosts.len() as u8 {
            std::fs::write(self.root(host).join("etc/hosts"), &lines)?;
        }
        Ok(())
    }

    fn tool(&self, host: u8, name: &str) -> Command {
        let mut command = Command::new(EXE);
        command.arg0(name).env("OVERLAY_ROOT", self.root(host));
        command.env("PORTOLAN_URL", format!("http://{}", self.at(9, 1297)));
        command
    }

    fn run(&self, host: u8, name: &str, args: &[&str]) -> Result<String> {
        let out = system_tests::checked(self.tool(host, name).args(args))?;
        Ok(String::from_utf8(out.stdout)?)
    }

    fn adm(&self, args: &[&str]) -> Result<String> {
        self.run(1, "portolanadm", args)
    }

    fn dladm(&self, host: u8, args: &[&str]) -> Result<String> {
        self.run(host, "dladm", args)
    }

    /// Guest `n` is on a host.
    fn put(&self, n: u8, host: u8) -> Result<()> {
        for ip in [format!("10.9.0.{n}"), format!("fd09::{n}")] {
            self.adm(&["port", "set", VNET, &ip, &mac(n), &id(host)])?;
        }
        Ok(())
    }

    /// The overlay of a host, with further properties.
    fn overlay(&self, host: u8, props: &str) -> Result<()> {
        let ip = self.address(host);
        let props = format!("vxlan/listen_ip={ip},svp/host=portolan,svp/underlay_ip={ip}{props}");
        let create =
            ["create-overlay", "-e", "vxlan", "-s", "svp", "-v", VNET, "-p", &props, "ov0"];
        self.dladm(host, &create).map(drop)
    }

    fn guest(&self, n: u8, host: u8) -> Result<()> {
        let vnic = format!("vn{n}");
        self.dladm(host, &["create-vnic", "-l", "ov0", "-m", &mac(n), &vnic])?;
        let addresses = [format!("10.9.0.{n}/24"), format!("fd09::{n}/64")];
        self.kernel(host)?.guest_attach(&vnic, addresses)?;
        Ok(())
    }

    fn kernel(&self, host: u8) -> Result<fkadm::client::Client> {
        let root = devctl::Root::from_env_or(Some(self.root(host)));
        Ok(fkadm::client::Client::open(&root)?)
    }

    /// Whether a ping of the first guest is answered soon.
    fn ping(&self, to: &str) -> Result<bool> {
        let link = "vn1".to_owned();
        let ping =
            Ping { count: 1, interval_ms: 0, timeout_ms: 500, ..Ping::new(link, to.parse()?) };
        Ok(self.kernel(1)?.guest_ping(ping)?.received == 1)
    }

    fn reached(&self, to: &str) -> Result<()> {
        wait(&format!("{to} answers"), || self.ping(to).unwrap_or(false))
    }

    /// What the plugin of a host tells.
    fn told(&self, host: u8) -> Result<Value> {
        let all = self.run(host, "varpdadm", &["--json", "counters", "ov0"])?;
        Ok(serde_json::from_str::<Value>(&all)?[0]["told"].clone())
    }

    /// Waits until the plugin of a host tells something of its first connection.
    fn tells(&self, host: u8, what: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
        let told = || self.told(host).unwrap_or_default();
        wait(what, || holds(&told()["peers"][0])).with_context(|| told().to_string())
    }

    fn state(&self) -> Result<String> {
        self.dladm(1, &["show-overlay", "-f", "ov0"])
    }

    /// Waits until the first host's kernel says this of the overlay.
    fn waits_for_state(&self, state: &str) -> Result<()> {
        // Nobody is said to be unreachable before a minute of attempts.
        let end = Instant::now() + Duration::from_secs(180);
        while !self.state()?.contains(state) {
            ensure!(Instant::now() < end, "{} not {state}", self.state()?);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn log(&self, program: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{program}.log"))).unwrap_or_default()
    }

    fn stop(self) -> Result<()> {
        if let Some(portolan) = self.portolan {
            portolan.stop()?;
        }
        for (kernel, varpd) in self.hosts {
            varpd.stop()?;
            kernel.stop()?;
        }
        Ok(())
    }
}

fn mac(n: u8) -> String {
    format!("2:8:20:9:0:{n}")
}

fn id(host: u8) -> String {
    format!("00000000-0000-0000-0000-{host:012}")
}

#[test]
fn guests_find_each_other_and_one_that_moves() -> Result<()> {
    let site = Site::start(1, 3, |_| Vec::new())?;
    for host in [1, 2, 3] {
        site.overlay(host, "")?;
    }
    site.guest(1, 1)?;
    site.guest(2, 2)?;
    site.reached("10.9.0.2")?;
    site.reached("fd09::2")?;
    assert!(!site.ping("10.9.0.7")?, "nobody has this address");
    // Guest 2 goes to the third host.
    site.kernel(2)?.guest_detach("vn2")?;
    site.dladm(2, &["delete-vnic", "vn2"])?;
    site.guest(2, 3)?;
    assert!(!site.ping("10.9.0.2")?, "nobody knows");
    site.adm(&["port", "move", VNET, &mac(2), &id(3)])?;
    site.reached("10.9.0.2")?;
    site.reached("fd09::2")?;
    wait("the host's log is empty", || {
        site.adm(&["--json", "host", "log", &id(1)]).is_ok_and(|log| !log.contains("vl2"))
    })?;
    let told = site.told(1)?;
    assert!(told["counters"]["log_entries"].as_u64() >= Some(1), "{told}");
    site.stop()
}

/// What is known flows; the link is degraded in the end, and restored when the directory is back. varpd dies as well.
#[test]
fn a_killed_directory_degrades_the_link_and_one_that_is_back_restores_it() -> Result<()> {
    let mut site = Site::start(2, 2, |_| Vec::new())?;
    for n in [1, 2] {
        site.overlay(n, "")?;
        site.guest(n, n)?;
    }
    site.reached("10.9.0.2")?;
    assert!(site.state()?.contains("ONLINE"));
    site.portolan.take().context("a portolan")?.kill()?;
    site.tells(1, "the connection is lost", |peer| peer["state"] != "ACTIVE")?;
    for _ in 0..20 {
        assert!(site.ping("10.9.0.2")?, "a known guest is not reached");
    }
    // Its address is known to nobody here, and nobody can be asked.
    assert!(!site.ping("10.9.0.3")?);
    site.waits_for_state("cannot reach any remote peers")?;
    // The guest may have to ask for the address again by now, but the kernel knows where it is.
    assert!(site.dladm(1, &["show-overlay", "-t"])?.contains(&mac(2)));
    site.start_portolan()?;
    site.waits_for_state("ONLINE")?;
    site.put(3, 2)?;
    site.guest(3, 2)?;
    site.reached("10.9.0.3")?;
    site.reached("10.9.0.2")?;

    // What the kernel knows is checked with the directory, and stays.
    let (_, varpd) = &mut site.hosts[0];
    varpd.kill()?;
    for _ in 0..5 {
        assert!(site.ping("10.9.0.2")?, "a known guest is not reached without varpd");
    }
    let varpd = site.varpd(1)?;
    site.hosts[0].1 = varpd;
    site.tells(1, "a connection", |peer| peer["state"] == "ACTIVE")?;
    site.reached("10.9.0.2")?;
    assert!(site.state()?.contains("ONLINE"));
    assert!(!site.log("varpd1").contains("panicked"));
    site.stop()
}

#[test]
fn a_name_without_address_degrades_the_link_and_with_one_it_is_restored() -> Result<()> {
    let site = Site::start(3, 2, |_| Vec::new())?;
    site.name(&[])?;
    for n in [1, 2] {
        site.overlay(n, "")?;
        site.guest(n, n)?;
    }
    site.waits_for_state("failed to resolve or find entries for hostname portolan")?;
    // Nobody listens at one of them.
    site.name(&[site.address(8), site.address(9)])?;
    site.waits_for_state("ONLINE")?;
    site.reached("10.9.0.2")?;
    let told = site.told(1)?;
    let peers = told["peers"].as_array().context("peers")?;
    assert_eq!(peers.len(), 2, "{told}");
    assert!(peers.iter().any(|peer| peer["state"] == "ACTIVE"), "{told}");
    site.stop()
}

/// Of the networks that are routed: their numbers, and the data centre of each.
const ROUTED: [(u8, u8); 2] = [(77, 1), (78, 2)];

impl Site {
    /// A host's overlay of a routed network, whose guests `n` are 10.VNET.0.n and fd:VNET::n.
    fn routed_overlay(&self, host: u8, (vnet, dcid): (u8, u8)) -> Result<()> {
        let ip = self.address(host);
        let props = format!(
            "vxlan/listen_ip={ip},svp/host=portolan,svp/underlay_ip={ip},svp/router_oui=2:8:20:1:2:3"
        );
        let (vnet, dcid) = (vnet.to_string(), dcid.to_string());
        let create = ["create-overlay", "-e", "vxlan", "-s", "svp", "-v", &vnet, "-d", &dcid];
        self.dladm(host, &[&create[..], &["-p", &props, "ov0"]].concat()).map(drop)
    }

    fn routed_guest(&self, n: u8, vnet: u8, host: u8) -> Result<()> {
        let link = format!("vn{n}");
        self.dladm(host, &["create-vnic", "-l", "ov0", "-m", &mac(n), &link])?;
        let addresses = vec![format!("10.{vnet}.0.{n}/24"), format!("fd:{vnet}::{n}/64")];
        let routers = vec![format!("10.{vnet}.0.254").parse()?, format!("fd:{vnet}::fe").parse()?];
        let attach = Attach { link, addresses, routers, ..Attach::default() };
        self.kernel(host)?.guest_attach_as(attach)?;
        Ok(())
    }

    /// Attaches the two networks in both families, or takes them apart.
    fn attach(&self, attached: bool) -> Result<()> {
        for (a, b) in [("10.77.0.0/24", "10.78.0.0/24"), ("fd:77::/64", "fd:78::/64")] {
            let sides = ["77", a, "78", b];
            match attached {
                true => {
                    self.adm(&[&["attach", "--dcid", "1", "--r-dcid", "2"], &sides[..]].concat())?
                }
                false => self.adm(&[&["detach"], &sides[..]].concat())?,
            };
        }
        Ok(())
    }
}

/// Two networks in two data centres: their guests reach each other while they are attached, and one that moves is
/// followed. Nobody but the directory tells the hosts.
#[test]
fn guests_of_attached_networks_reach_each_other_and_one_that_moves() -> Result<()> {
    let site = Site::start(7, 3, |_| Vec::new())?;
    let [one, other] = ROUTED;
    for (host, network) in [(1, one), (2, other), (3, other)] {
        site.routed_overlay(host, network)?;
    }
    for (n, (vnet, _), host) in [(1, one, 1), (4, other, 2)] {
        site.routed_guest(n, vnet, host)?;
        let vnet = vnet.to_string();
        for ip in [format!("10.{vnet}.0.{n}"), format!("fd:{vnet}::{n}")] {
            site.adm(&["port", "set", &vnet, &ip, &mac(n), &id(host)])?;
        }
        for ip in [format!("10.{vnet}.0.254"), format!("fd:{vnet}::fe")] {
            site.adm(&["router", "set", &vnet, &ip, &format!("2:8:20:0:0:{vnet}")])?;
        }
    }
    assert!(
        site.dladm(1, &["show-overlay", "-o", "property,value", "ov0"])?.contains("2:8:20:0:0:0")
    );
    for to in ["10.78.0.4", "fd:78::4"] {
        assert!(!site.ping(to)?, "{to} is reached and not attached");
    }
    site.attach(true)?;
    for to in ["10.78.0.4", "fd:78::4"] {
        site.reached(to)?;
    }
    // Of the number of the data centre the other host has only its directory's word.
    let routes = site.dladm(1, &["show-overlay", "-t", "ov0"])?;
    assert!(routes.contains("10.78.0.4") && routes.contains(&mac(4)), "{routes}");

    // It goes to the third host, which no host of the first network ever heard of.
    site.kernel(2)?.guest_detach("vn4")?;
    site.dladm(2, &["delete-vnic", "vn4"])?;
    site.routed_guest(4, 78, 3)?;
    assert!(!site.ping("10.78.0.4")?, "nobody knows");
    site.adm(&["port", "move", "78", &mac(4), &id(3)])?;
    for to in ["10.78.0.4", "fd:78::4"] {
        site.reached(to)?;
    }

    site.attach(false)?;
    for to in ["10.78.0.4", "fd:78::4"] {
        wait(&format!("{to} answers no more"), || site.ping(to).is_ok_and(|answered| !answered))?;
    }
    let told = site.told(1)?;
    assert!(told["counters"]["log_entries"].as_u64() >= Some(4), "{told}");
    // The host and the directory must mean the same data centre.
    site.dladm(2, &["delete-overlay", "ov0"])?;
    site.routed_overlay(2, other)?;
    let wrong = ["modify-overlay", "-p", "svp/dcid=1", "ov0"];
    assert!(site.dladm(2, &wrong).is_err());
    assert!(site.log("varpd2").contains("the data centre of the link is 2"));
    site.stop()
}

/// An authority, and a certificate of it for a name, as files NAME-ca.pem, NAME.pem, NAME.key.
fn authority(dir: &Path, name: &str) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["portolan".into()])?.signed_by(&leaf_key, &issuer)?;
    std::fs::write(dir.join(format!("{name}-ca.pem")), ca.pem())?;
    std::fs::write(dir.join(format!("{name}.pem")), leaf.pem())?;
    std::fs::write(dir.join(format!("{name}.key")), leaf_key.serialize_pem())?;
    Ok(())
}

#[test]
fn tls_lets_in_who_shows_a_certificate_of_the_right_authority() -> Result<()> {
    let site = Site::start(4, 3, |dir| {
        let file = |name: &str| dir.join(name).display().to_string();
        let options = ["--tls-cert", &file("good.pem"), "--tls-key", &file("good.key"), "--tls-ca"];
        let mut options: Vec<String> = options.map(str::to_owned).into();
        options.push(file("good-ca.pem"));
        for name in ["good", "other"] {
            authority(dir, name).expect("certificates");
        }
        options
    })?;
    let file = |name: &str| site.path(name).display().to_string();
    let tls = |ca: &str, own: &str| {
        let (ca, cert, key) = (file(ca), file(&format!("{own}.pem")), file(&format!("{own}.key")));
        format!(",svp/tls_ca={ca},svp/tls_cert={cert},svp/tls_key={key}")
    };
    // One that is known, one without TLS, one with a stranger's certificate.
    site.overlay(1, &tls("good-ca.pem", "good"))?;
    site.overlay(2, "")?;
    site.overlay(3, &tls("good-ca.pem", "other"))?;
    site.guest(1, 1)?;
    site.tells(1, "a connection", |peer| peer["state"] == "ACTIVE")?;
    wait("an answer", || {
        // The other host is not let in, so that its guests could not find back.
        let _ = site.ping("10.9.0.2");
        site.told(1).is_ok_and(|told| told["counters"]["found"].as_u64() >= Some(1))
    })?;
    for host in [2, 3] {
        site.tells(host, "it is refused", |peer| {
            peer["failures"].as_u64() >= Some(2) && peer["counters"]["actives"] == 0
        })?;
    }
    let said = site.log("portolan");
    assert!(said.contains("without TLS, which this server requires"), "{said}");
    assert!(said.contains("TLS handshake failed"), "{said}");
    // The host refuses a directory of another authority, and says so.
    let trust = |ca: &str| {
        let ca = format!("svp/tls_ca={}", file(ca));
        site.dladm(1, &["modify-overlay", "-p", &ca, "ov0"])
    };
    trust("other-ca.pem")?;
    site.tells(1, "the directory is refused", |peer| {
        peer["last_error"].to_string().contains("certificate")
    })?;
    trust("good-ca.pem")?;
    site.tells(1, "a connection", |peer| peer["state"] == "ACTIVE")?;
    site.stop()
}

/// What is only switched goes as ever where the directory is older, over the version that is found out.
#[test]
fn v1_svp_server_and_v2_varpd() -> Result<()> {
    let site = Site::start(5, 3, |_| Vec::new())?;
    system_tests::svp_v1::serve(site.at(8, 1296), site.at(9, 1296))?;
    site.name(&[site.address(8)])?;
    for host in [1, 2, 3] {
        site.overlay(host, ",svp/dcid=7,svp/router_oui=2:8:20:0:0:0")?;
    }
    site.guest(1, 1)?;
    site.guest(2, 2)?;
    site.reached("10.9.0.2")?;
    site.reached("fd09::2")?;
    site.tells(1, "version 1", |peer| peer["state"] == "ACTIVE" && peer["version"] == 1)?;
    // The log, too.
    site.kernel(2)?.guest_detach("vn2")?;
    site.dladm(2, &["delete-vnic", "vn2"])?;
    site.guest(2, 3)?;
    site.adm(&["port", "move", VNET, &mac(2), &id(3)])?;
    site.reached("10.9.0.2")?;
    site.stop()
}

/// Asks a portolan on a connection of its own.
fn ask<T>(
    at: SocketAddr,
    version: Version,
    question: &Question,
    take: impl FnOnce(Body<'_>) -> Result<T>,
) -> Result<T> {
    let mut stream = TcpStream::connect(at)?;
    let mut client = Client::fixed(version);
    client.ask(question)?;
    stream.write_all(client.output())?;
    client.wrote(client.output().len());
    loop {
        let mut bytes = [0; 4096];
        let size = stream.read(&mut bytes)?;
        ensure!(size > 0, "the server hung up");
        client.buffer().extend(&bytes[..size]);
        if let Some(event) = client.poll()? {
            let Event::Reply { body: Ok(body), .. } = event else { bail!("{event:?}") };
            return take(body);
        }
    }
}

/// An old host: it never asks for a version, and is told of nothing that it does not know. B24 is that
/// it was told of nothing behind that either.
#[test]
fn v1_svp_client_and_v2_portolan() -> Result<()> {
    let site = Site::start(6, 0, |_| Vec::new())?;
    let (svp, host) = (site.at(9, 1296), IpAddr::from(site.address(1)));
    for (vnet, ip, mac) in
        [(VNET, "10.9.0.254", "2:8:20:ff:0:1"), ("78", "10.8.0.254", "2:8:20:ff:0:2")]
    {
        site.adm(&["router", "set", vnet, ip, mac])?;
    }
    let subnets = [VNET, "10.9.0.0/24", "78", "10.8.0.0/24"];
    site.adm(&[&["attach"], &subnets[..]].concat())?;
    site.adm(&["port", "move", VNET, &mac(2), &id(3)])?;
    let log = |version| {
        ask(svp, version, &Question::Log { count: 1024, ip: host }, |body| match body {
            Body::LogAck { entries, .. } => Ok(entries.iter().map(|e| e.entry).collect::<Vec<_>>()),
            other => bail!("{other:?}"),
        })
    };
    let (mut all, known) = (log(Version::V2)?, log(Version::V1)?);
    let before = all.len();
    ensure!(matches!(all.last(), Some(Entry::Vl2 { .. })), "{all:?}");
    all.retain(|entry| entry.version() == Version::V1);
    ensure!(all.len() < before && known == all, "{known:?} of {all:?}");
    let guest = Question::Vl2 { mac: mac(2).parse()?, vnet: VNET.parse()? };
    let place = ask(svp, Version::V1, &guest, |body| match body {
        Body::Vl2Ack(ack) => Ok(ack),
        other => bail!("{other:?}"),
    })?;
    ensure!(place.status == svp::Status::OK, "{place:?}");
    site.stop()
}
