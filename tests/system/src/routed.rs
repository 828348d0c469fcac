// SPDX-License-Identifier: CDDL-1.0
//! The lab `three-vnets` with nothing attached, of which daemons die and come back.

use crate::daemon::{Daemon, wait};
use crate::home::{Home, good, text};
use anyhow::{Context, Result, bail, ensure};
use lab::host::Host;
use lab::topology::Topology;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;

/// The lab's name.
const LAB: &str = "three-vnets";
/// The directory's name.
pub const DIRECTORY: &str = "d1";

/// See the top of the file.
pub struct RoutedLab {
    /// What is up.
    pub topology: Topology,
    /// Its hosts.
    pub hosts: Vec<Host>,
    /// Daemons that were started anew, by host and program.
    daemons: HashMap<(String, &'static str), Daemon>,
    /// Last, so that it goes when they are gone.
    home: Home,
}

impl RoutedLab {
    /// Brings it up. `exe` is the test's `overlay-tools`.
    ///
    /// # Errors
    /// It does not come up.
    pub fn up(exe: &'static str) -> Result<RoutedLab> {
        let home = Home::new(exe);
        let file = home.own(LAB, "127.64.8.");
        let all = std::fs::read_to_string(&file)?;
        let lines = all.lines().filter(|l| !l.starts_with("attached"));
        std::fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
        good(&home.run(&["up", &file]));
        let topology = Topology::load(&file)?;
        let mut lab = RoutedLab { topology, hosts: Vec::new(), daemons: HashMap::new(), home };
        let host = |h: &lab::topology::Host| Host::recorded(&h.name, lab.root(&h.name), Vec::new());
        lab.hosts = lab.topology.hosts.iter().map(host).collect();
        Ok(lab)
    }

    fn root(&self, host: &str) -> PathBuf {
        self.home.dir().join("illumos-overlay-lab").join(LAB).join(host)
    }

    /// Runs a program on a host.
    ///
    /// # Errors
    /// It failed; what it printed is in the error.
    pub fn exec(&self, host: &str, command: &[&str]) -> Result<String> {
        let out = self.home.run(&[&["exec", host, "--"], command].concat());
        ensure!(out.status.success(), "{command:?} on {host}: {}", text(&out.stderr));
        Ok(text(&out.stdout))
    }

    /// A host by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|h| h.name == name).context("no such host")
    }

    fn directory(&self) -> Result<IpAddr> {
        Ok(self.topology.directories.first().context("no directory")?.listen)
    }

    /// Asks the directory's API, with HTTP/1.0.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn api(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let at = SocketAddr::new(self.directory()?, 1297);
        let mut to = TcpStream::connect(at)?;
        write!(
            to,
            "{method} /api/v1/{path} HTTP/1.0\r\nHost: {at}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        to.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{method} {path}: {answer}");
        Ok(serde_json::from_str(body)?)
    }

    /// Makes changes in the directory, all at once; `lines` has one each.
    ///
    /// # Errors
    /// It refuses.
    pub fn change(&self, lines: &str) -> Result<Value> {
        let lines: Vec<&str> = lines.lines().collect();
        self.api("POST", "changes", &format!("{{\"changes\":[{}]}}", lines.join(",")))
    }

    /// Kills a daemon without warning and starts it anew: `varpd` of a host, or `portolan` of [`DIRECTORY`].
    ///
    /// # Errors
    /// It was dead, or does not come back.
    pub fn kill(&mut self, host: &str, program: &'static str) -> Result<()> {
        let key = (host.to_owned(), program);
        match self.daemons.remove(&key) {
            Some(mut daemon) => daemon.kill()?,
            None => self.kill_first(host, program)?,
        }
        let root = self.root(host);
        let mut command = self.home.tool(program);
        command.env("OVERLAY_ROOT", &root);
        let log = root.join("log").join(format!("{program}.log"));
        let daemon = if program == "portolan" {
            let at =
                |port| SocketAddr::new(self.directory().unwrap_or([127, 0, 0, 1].into()), port);
            let ports = [at(1296), at(1297)];
            let [svp, api] = ports.map(|at| at.to_string());
            command.args(["--listen", &svp, "--api", &api, "--store"]);
            command.arg(root.join("portolan.redb"));
            Daemon::start(&mut command, &log)?
                .when(|| ports.iter().all(|at| TcpStream::connect(at).is_ok()))?
        } else {
            let plugins = root.with_file_name("plugins");
            command.args(["-f", "-i"]).arg(plugins);
            Daemon::start(&mut command, &log)?
        };
        self.daemons.insert(key, daemon);
        Ok(())
    }

    /// Kills the daemon that the lab started.
    fn kill_first(&self, host: &str, program: &str) -> Result<()> {
        // Its exit status says whether daemons were killed before.
        let status = text(&self.home.run(&["status", "--json"]).stdout);
        let status: Value = serde_json::from_str(&status)?;
        let of = |list: &Value, key: &str, name: &str| {
            list.as_array()?.iter().find(|e| e[key] == name).cloned()
        };
        let host = of(&status[0]["hosts"], "name", host).context("no such host")?;
        let daemon = of(&host["daemons"], "program", program).context("no such daemon")?;
        let pid = daemon["pid"].as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let Some(pid) = pid else { bail!("{program} has no pid") };
        kill_process(pid, Signal::KILL)?;
        // Its sockets are there as long as any of its threads. One that nobody waits for stays without them.
        let (all, first) = (format!("/proc/{pid}/task"), format!("/proc/{pid}/fd/0"));
        let threads = || std::fs::read_dir(&all).map_or(0, Iterator::count);
        wait("it is dead", || threads() <= 1 && std::fs::read_link(&first).is_err())
    }

    /// Ends what was started anew.
    ///
    /// # Errors
    /// A daemon did not end well.
    pub fn down(mut self) -> Result<()> {
        // Hosts before the directory that they ask.
        let mut daemons: Vec<_> = self.daemons.drain().collect();
        daemons.sort_by_key(|((_, program), _)| *program == "portolan");
        daemons.into_iter().try_for_each(|(_, daemon)| daemon.stop())
    }
}
