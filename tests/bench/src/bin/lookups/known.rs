// SPDX-License-Identifier: CDDL-1.0
//! Where guests are, for each plugin: in a file, or in a portolan. All are where the sink is.

use crate::{LINK, PATIENCE, SINK, VNET, applet};
use anyhow::{Context, Result, ensure};
use bench::mac;
use libvarpd_client::Client as Varpd;
use overlay_abi::ids::{LinkId, MacAddr, mapped};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Where the directory answers hosts, and administrators.
const DIRECTORY: (&str, u16, u16) = ("127.0.0.1", 21296, 21297);
/// The only host, as the directory knows it.
const HOST: &str = "00000000-0000-0000-0000-000000000001";

/// What knows where guests are.
pub enum Known {
    /// Plugin `files`.
    File(PathBuf),
    /// Plugin `svp`; the process ends with this.
    Directory(Child),
}

impl Known {
    /// A file of so many guests.
    pub fn file(dir: &Path, guests: u32) -> Result<Known> {
        let path = dir.join("hosts.json");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        for n in 0..guests {
            let (open, mac, ip) = (if n == 0 { "{" } else { ",\n" }, MacAddr(mac(n)), ip(n));
            write!(
                file,
                "{open}\"{mac}\": {{\"ip\": \"127.0.0.1\", \"port\": {SINK}, \"arp\": \"{ip}\"}}"
            )?;
        }
        writeln!(file, "}}")?;
        file.flush()?;
        Ok(Known::File(path))
    }

    /// A directory of so many guests.
    pub fn directory(dir: &Path, guests: u32) -> Result<Known> {
        let (address, svp, api) = DIRECTORY;
        let (svp, api) = (format!("{address}:{svp}"), format!("{address}:{api}"));
        let mut portolan = applet("portolan")?;
        portolan.args(["--volatile", "--listen", &svp, "--api", &api]);
        let known = portolan.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let known = Known::Directory(known.context("cannot start portolan")?);
        let start = Instant::now();
        while [&svp, &api].iter().any(|at| TcpStream::connect(at.as_str()).is_err()) {
            ensure!(start.elapsed() < PATIENCE, "portolan does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        let path = dir.join("records.jsonl");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        writeln!(
            file,
            "{{\"host\": {{\"id\": \"{HOST}\", \"ip\": \"{address}\", \"port\": {SINK}}}}}"
        )?;
        for n in 0..guests {
            let (mac, ip) = (MacAddr(mac(n)), ip(n));
            writeln!(
                file,
                "{{\"port\": {{\"vnet\": {VNET}, \"ip\": \"{ip}\", \"mac\": \"{mac}\", \"host\": \"{HOST}\"}}}}"
            )?;
        }
        file.flush()?;
        let mut import = applet("portolanadm")?;
        import.args(["--url", &format!("http://{api}"), "import", "-q"]).arg(&path);
        ensure!(import.stdout(Stdio::null()).status()?.success(), "the records were not imported");
        Ok(known)
    }

    /// The plugin that asks it.
    pub fn plugin(&self) -> &'static str {
        match self {
            Known::File(_) => "files",
            Known::Directory(_) => "svp",
        }
    }

    /// Makes an instance of the plugin for the link, as dladm does; the milliseconds that its activation takes.
    pub fn activate(&self, door: &Varpd) -> Result<f64> {
        let id = door.instance_create(LinkId(LINK), self.plugin())?;
        let text = |text: &[u8]| [text, b"\0"].concat();
        let (address, svp, _) = DIRECTORY;
        let props = match self {
            Known::File(path) => vec![("files/config", text(path.as_os_str().as_encoded_bytes()))],
            Known::Directory(_) => vec![
                ("svp/host", text(address.as_bytes())),
                ("svp/port", u64::from(svp).to_ne_bytes().to_vec()),
                ("svp/underlay_ip", mapped(address.parse()?).to_vec()),
            ],
        };
        for (name, value) in props {
            let mut prop = door.prop_handle(id);
            prop.info_fill_by_name(name)?;
            prop.set(&value)?;
        }
        let start = Instant::now();
        door.instance_activate(id)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Known::Directory(portolan) = self {
            let _ = portolan.kill();
            let _ = portolan.wait();
        }
    }
}

/// The address of guest `n`.
fn ip(n: u32) -> Ipv4Addr {
    let [_, b, c, d] = n.to_be_bytes();
    Ipv4Addr::new(10, b, c, d)
}
