// SPDX-License-Identifier: CDDL-1.0
//! Where a lab keeps what must outlive one command: directories, the record of its daemons, the tools' links.
//!
//! ```text
//!     $XDG_RUNTIME_DIR/illumos-overlay-lab/<lab>/      (else /tmp/illumos-overlay-lab-<uid>/<lab>/)
//!         lab.json            topology and daemons, written whole
//!         bin/dladm ...       links to this executable, for `lab exec`
//!         plugins/            links to varpd's lookup plugins
//!         <host>/             the root directory of a host
//! ```

use crate::host::{Daemon, Host};
use crate::topology::Topology;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The programs in this executable.
pub const APPLETS: &[&str] =
    &["dladm", "fakekerneld", "fkadm", "portolan", "portolanadm", "snoop", "varpd", "varpdadm"];

/// The directory that holds all labs of this user.
#[must_use]
pub fn labs_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|d| Path::new(d).is_dir()) {
        Some(d) => PathBuf::from(d).join("illumos-overlay-lab"),
        None => {
            let uid = rustix::process::getuid().as_raw();
            PathBuf::from(format!("/tmp/illumos-overlay-lab-{uid}"))
        }
    }
}

/// The directory of one lab.
#[derive(Debug)]
pub struct LabDir {
    path: PathBuf,
}

/// What is recorded of a running lab.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The text of the topology.
    pub topology: String,
    /// Daemons of each host and each directory, by name.
    pub hosts: Vec<(String, Vec<Daemon>)>,
    /// Network namespaces made for guests.
    pub netns: Vec<String>,
}

impl LabDir {
    /// The directory of the lab of that name, which need not exist.
    #[must_use]
    pub fn of(name: &str) -> LabDir {
        LabDir { path: labs_dir().join(name) }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root directory of a host.
    #[must_use]
    pub fn host_root(&self, host: &str) -> PathBuf {
        self.path.join(host)
    }

    /// Makes the directory and the links for `lab exec`.
    ///
    /// # Errors
    /// The directory exists already (the lab is up), or cannot be made, or is too long for socket addresses.
    pub fn create(&self) -> Result<()> {
        let parent = labs_dir();
        std::fs::create_dir_all(&parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        check_owner(&parent)?;
        if let Err(e) = std::fs::create_dir(&self.path) {
            if e.kind() == std::io::ErrorKind::AlreadyExists {
                bail!(
                    "{} exists: this lab is up already, or was left behind; `lab down {}` removes it",
                    self.path.display(),
                    self.path.file_name().unwrap_or_default().display()
                );
            }
            return Err(e).with_context(|| format!("cannot create {}", self.path.display()));
        }
        // sockaddr_un holds 107 bytes; the longest path below a host is that of the dlmgmt door.
        let longest =
            self.path.as_os_str().len() + 20 + "/etc/svc/volatile/dladm/dlmgmt_door".len();
        ensure!(
            longest <= 107,
            "{} is too long for Unix sockets below it; set XDG_RUNTIME_DIR to a shorter directory",
            self.path.display()
        );
        let bin = self.path.join("bin");
        std::fs::create_dir(&bin)?;
        let exe = std::env::current_exe()?;
        for a in APPLETS {
            std::os::unix::fs::symlink(&exe, bin.join(a))?;
        }
        std::fs::create_dir(self.plugins())?;
        for file in built_plugins(&exe)? {
            let name = file.file_name().unwrap_or_default();
            std::os::unix::fs::symlink(&file, self.plugins().join(name))?;
        }
        Ok(())
    }

    /// The directory with varpd's lookup plugins, and nothing else: varpd loads every library in it.
    #[must_use]
    pub fn plugins(&self) -> PathBuf {
        self.path.join("plugins")
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    /// I/O.
    pub fn save(&self, topology: &str, hosts: &[Host], netns: &[String]) -> Result<()> {
        let record = Record {
            topology: topology.into(),
            hosts: hosts.iter().map(|h| (h.name.clone(), h.daemons().to_vec())).collect(),
            netns: netns.to_vec(),
        };
        let tmp = self.path.join(".lab.json");
        std::fs::write(&tmp, serde_json::to_vec_pretty(&record)?)?;
        std::fs::rename(tmp, self.path.join("lab.json"))?;
        Ok(())
    }

    /// The topology and the hosts of a lab that is up.
    ///
    /// # Errors
    /// No such lab, or its record is damaged.
    pub fn load(&self) -> Result<(Topology, Vec<Host>, Vec<String>)> {
        let path = self.path.join("lab.json");
        let text = std::fs::read(&path).with_context(|| {
            format!("no lab at {} (`lab status` lists them)", self.path.display())
        })?;
        let r: Record =
            serde_json::from_slice(&text).with_context(|| format!("damaged {}", path.display()))?;
        let hosts =
            r.hosts.into_iter().map(|(n, d)| Host::recorded(&n, self.host_root(&n), d)).collect();
        Ok((Topology::parse(&r.topology)?, hosts, r.netns))
    }

    /// Removes the directory and all below it.
    ///
    /// # Errors
    /// I/O.
    pub fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            r => r.with_context(|| format!("cannot remove {}", self.path.display())),
        }
    }
}

/// The lookup plugins that were built with `exe`: beside it, or where cargo leaves those of a dependency, which are the
/// newer ones.
///
/// # Errors
/// There are none.
pub fn built_plugins(exe: &Path) -> Result<Vec<PathBuf>> {
    let dir = exe.parent().unwrap_or(Path::new("/"));
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for d in [dir.join("deps"), dir.to_path_buf()] {
        for entry in std::fs::read_dir(&d).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            if text.starts_with("libvarpd_") && text.ends_with(".so") {
                found.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    ensure!(!found.is_empty(), "no lookup plugin (libvarpd_*.so) lies beside {}", exe.display());
    Ok(found.into_values().collect())
}

/// The names of the labs that are up.
#[must_use]
pub fn names() -> Vec<String> {
    let Ok(dir) = std::fs::read_dir(labs_dir()) else { return Vec::new() };
    let mut names: Vec<String> = dir
        .flatten()
        .filter(|e| e.path().join("lab.json").exists())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// /tmp is everybody's: a directory of another user there is not trusted with what we run.
fn check_owner(dir: &Path) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let meta = std::fs::symlink_metadata(dir)?;
    let me = rustix::process::geteuid().as_raw();
    ensure!(
        meta.is_dir() && meta.uid() == me,
        "{} is not a directory of yours; set XDG_RUNTIME_DIR to one",
        dir.display()
    );
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    Ok(())
}
