// SPDX-License-Identifier: CDDL-1.0
//! A portolan process on free ports.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

pub const LONG: Duration = Duration::from_secs(60);

pub struct Portolan {
    pub child: Child,
    pub svp: SocketAddr,
    pub api: SocketAddr,
    log: Receiver<Value>,
}

fn command(store: &Path, args: &[&str]) -> Command {
    let mut cmd = Command::new(env!("CARGO_BIN_EXE_portolan"));
    cmd.arg("--store").arg(store).args(["--listen", "127.0.0.1:0"]);
    if !args.contains(&"--api") {
        cmd.args(["--api", "127.0.0.1:0"]);
    }
    cmd.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    cmd
}

/// What comes of a start that fails.
pub fn fails(store: &Path, args: &[&str]) -> Output {
    let output = command(store, args).output().unwrap();
    assert!(!output.status.success(), "it runs");
    output
}

impl Portolan {
    pub fn start(store: &Path, args: &[&str]) -> Portolan {
        Portolan::spawn(command(store, args))
    }

    /// With files of at most so many bytes, which to a program looks like a full disk.
    pub fn start_with_file_limit(store: &Path, bytes: u64) -> Portolan {
        let mut cmd = command(store, &[]);
        // SAFETY: between fork and exec only system calls are made, no memory is allocated.
        unsafe {
            cmd.pre_exec(move || {
                use rustix::process::{Resource, Rlimit, setrlimit};
                let limit = Rlimit { current: Some(bytes), maximum: None };
                setrlimit(Resource::Fsize, limit)?;
                // Else the write that does not fit kills, instead of failing.
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                Ok(())
            });
        }
        Portolan::spawn(cmd)
    }

    /// With a wall clock that reads `file`: seconds that are added to the real one, such as `+3600`.
    pub fn start_with_clock(store: &Path, library: &Path, file: &Path) -> Portolan {
        let mut cmd = command(store, &[]);
        cmd.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
        cmd.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Portolan::spawn(cmd)
    }

    fn spawn(mut cmd: Command) -> Portolan {
        let mut child = cmd.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, log) = channel();
        // All of it is read at once: a server whose log nobody takes waits.
        std::thread::spawn(move || {
            for line in lines {
                let line = serde_json::from_str(&line.unwrap()).expect("JSON lines");
                // The test may have ended.
                let _ = sender.send(line);
            }
        });
        let mut address = |what: &str| loop {
            let Ok::<Value, _>(line) = log.recv() else {
                let mut err = String::new();
                child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
                panic!("portolan ended: {err}");
            };
            if line["msg"] == what {
                break line["addr"].as_str().unwrap().parse().unwrap();
            }
        };
        let svp = address("listening for hosts");
        let api = address("listening for administration");
        Portolan { child, svp, api, log }
    }

    /// The next line of the log with this in its message.
    pub fn log_line(&mut self, with: &str) -> Value {
        let mut lines = self.log.iter();
        let found = lines.find(|line| line["msg"].as_str().unwrap().contains(with));
        found.unwrap_or_else(|| panic!("no line with {with:?}"))
    }

    /// SIGTERM; how it ended.
    pub fn stop(mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(file).expect("Linux");
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") * 1024
    }

    /// `portolanadm status`, as a value.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["--json", "status"])).unwrap()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.svp).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// An HTTP request over a new connection; status and body.
    pub fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let len = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    pub fn adm(&self, args: &[&str]) -> Output {
        let mut cmd = Command::new(env!("CARGO_BIN_EXE_portolanadm"));
        cmd.args(["--url", &format!("http://{}", self.api)]).args(args);
        cmd.stdin(Stdio::null()).output().unwrap()
    }

    /// portolanadm that works; its output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.adm(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Portolan {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
