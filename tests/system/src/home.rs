// SPDX-License-Identifier: CDDL-1.0
//! Labs of a test's own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// nobody: whoever runs the tests, the demo needs no privilege.
const NOBODY: u32 = 65534;

/// A runtime directory of the test's own, removed on drop.
pub struct Home {
    exe: &'static str,
    dir: PathBuf,
}

impl Home {
    /// `exe` is the test's `overlay-tools`.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new(exe: &'static str) -> Home {
        let dir = std::env::temp_dir().join(format!("ovl-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Home { exe, dir }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lab, as an ordinary user.
    #[must_use]
    pub fn lab(&self, args: &[&str]) -> Command {
        let mut c = self.tool("lab");
        c.args(args);
        c
    }

    /// One of the programs in it, as the same user.
    #[must_use]
    pub fn tool(&self, program: &str) -> Command {
        let mut c = Command::new(self.exe);
        c.arg0(program).env("XDG_RUNTIME_DIR", &self.dir).env_remove("OVERLAY_ROOT");
        c.stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            c.uid(NOBODY).gid(NOBODY);
        }
        c
    }

    /// Runs the lab to its end.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        self.lab(args).output().unwrap()
    }

    /// The two-hosts topology on addresses of this test's own, as a file.
    ///
    /// # Panics
    /// As [`Home::own`].
    #[must_use]
    pub fn two_hosts(&self) -> String {
        self.own("two-hosts", "127.64.1.")
    }

    /// A ready topology, with these addresses replaced.
    ///
    /// # Panics
    /// There is no such topology.
    #[must_use]
    pub fn own(&self, topology: &str, addresses: &str) -> String {
        let pid = std::process::id();
        let text = good(&self.run(&["topologies", topology]));
        let own = format!("127.{}.{}.", 2 + (pid >> 8) % 60, pid % 256);
        let file = self.dir.join("own.toml");
        std::fs::write(&file, text.replace(addresses, &own)).unwrap();
        file.to_str().unwrap().into()
    }

    /// What labs left below the directory.
    ///
    /// # Panics
    /// The directory cannot be read.
    #[must_use]
    pub fn left(&self) -> Vec<PathBuf> {
        let Ok(dir) = std::fs::read_dir(self.dir.join("illumos-overlay-lab")) else {
            return vec![];
        };
        dir.map(|e| e.unwrap().path()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for lab in self.left() {
            let name = lab.file_name().unwrap().to_string_lossy().into_owned();
            let _ = self.run(&["down", &name]);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a program printed.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The output of a command that must end well.
///
/// # Panics
/// It did not.
pub fn good(out: &Output) -> String {
    assert!(out.status.success(), "{}\n{}{}", out.status, text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// A command must fail and say `expect`.
///
/// # Panics
/// It did not.
pub fn bad(out: &Output, expect: &str) {
    let err = text(&out.stderr);
    assert!(!out.status.success(), "succeeded: {}", text(&out.stdout));
    assert!(err.contains(expect), "{expect:?} is not in: {err}");
    assert!(!err.contains("panicked"), "{err}");
}
