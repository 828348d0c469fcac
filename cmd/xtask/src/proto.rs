// SPDX-License-Identifier: CDDL-1.0
//! `cargo xtask proto`: what is installed on illumos, as a tree, a tarball and an IPS manifest.
//!
//! ```text
//!   proto.list, usr/, man/ --+
//!   xtask kmod ---------------+--> target/proto/overlay-rs/{root/..., files, install.sh, uninstall.sh}
//!   xtask user ---------------+              |                                       overlay-rs.p5m
//!                                            +--> target/proto/overlay-rs.tar.gz
//! ```
//!
//! `files` in the tarball is the list without sources. The package itself, a .p5p, is made from the
//! tree and the manifest by pkgsend(1) and pkgrecv(1) on illumos.

use crate::toolchain::need_programs;
use crate::user::execute;
use anyhow::{Context, Result, bail};
use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "overlay-rs";

/// Ids of the owners on illumos, where they are the same on every system.
const USERS: [(&str, u32); 2] = [("root", 0), ("netadm", 16)];
const GROUPS: [(&str, u32); 3] = [("bin", 2), ("sys", 3), ("netadm", 65)];

/// An entry of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root directory, without a `/` in front.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory that may not be there yet.
    Dir(Owner),
    /// A file, and where its bytes are from.
    File(Owner, String),
    /// A symbolic link to this.
    Link(String),
}

/// Permission bits, user and group.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    mode: u32,
    user: String,
    group: String,
}

impl Owner {
    fn parse(mode: &str, user: &str, group: &str) -> Option<Owner> {
        id(&USERS, user).and(id(&GROUPS, group))?;
        let mode = u32::from_str_radix(mode, 8).ok()?;
        Some(Owner { mode, user: user.to_owned(), group: group.to_owned() })
    }

    fn apply(&self, path: &Path) -> Result<()> {
        // Not root, not their ids: the list in the tarball says them too.
        let _ = chown(path, id(&USERS, &self.user), id(&GROUPS, &self.group));
        Ok(std::fs::set_permissions(path, Permissions::from_mode(self.mode))?)
    }
}

fn id(ids: &[(&str, u32)], name: &str) -> Option<u32> {
    ids.iter().find(|(n, _)| *n == name).map(|(_, id)| *id)
}

/// Reads the list.
///
/// # Errors
/// A line that is none, named by its number; a path that is there twice, or is absolute.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let (path, kind) = match words.as_slice() {
            [] => continue,
            ["dir", path, mode, user, group] => {
                (path, Owner::parse(mode, user, group).map(Kind::Dir))
            }
            ["file", path, mode, user, group, source] => {
                let owner = Owner::parse(mode, user, group);
                (path, owner.map(|o| Kind::File(o, (*source).to_owned())))
            }
            ["link", path, target] => (path, Some(Kind::Link((*target).to_owned()))),
            _ => bail!("line {}: not an entry", n + 1),
        };
        let kind = kind.with_context(|| format!("line {}: no such mode or owner", n + 1))?;
        if path.starts_with('/') || entries.iter().any(|e| e.path == *path) {
            bail!("line {}: {path} is absolute, or there already", n + 1);
        }
        entries.push(Entry { path: (*path).to_owned(), kind });
    }
    Ok(entries)
}

/// Builds everything and lays it out.
///
/// # Errors
/// Something does not build, or a file is not there.
pub fn run(root: &Path) -> Result<()> {
    need_programs(&[("tar", "tar")])?;
    let built = crate::user::run(root)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let illumos = root.join("cmd/xtask/illumos");
    let entries = parse(&std::fs::read_to_string(illumos.join("proto.list"))?)?;
    // Whatever is there already may be older than its sources.
    let is_kmod = |e: &Entry| matches!(&e.kind, Kind::File(_, s) if s.starts_with("kmod:"));
    if entries.iter().any(is_kmod) {
        crate::kmod::run(root, false)?;
    }

    let out = target.join("proto").join(NAME);
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    let tree = out.join("root");
    for entry in &entries {
        let to = tree.join(&entry.path);
        std::fs::create_dir_all(to.parent().context("a path without a directory")?)?;
        match &entry.kind {
            Kind::Dir(owner) => {
                std::fs::create_dir_all(&to)?;
                owner.apply(&to)?;
            }
            Kind::Link(at) => symlink(at, &to)?,
            Kind::File(owner, source) => {
                let from = match source.split_once(':') {
                    Some(("kmod", name)) => target.join("kmod").join(name),
                    Some(("user", name)) => {
                        let built = built.iter().find(|b| b.artifact.file == name);
                        built.with_context(|| format!("no {name} was built"))?.path.clone()
                    }
                    _ => root.join(source),
                };
                std::fs::copy(&from, &to).with_context(|| from.display().to_string())?;
                owner.apply(&to)?;
            }
        }
    }
    std::fs::write(out.join("files"), files(&entries)?)?;
    std::fs::write(out.join(format!("{NAME}.p5m")), p5m(&entries)?)?;
    std::fs::copy(root.join("LICENSE"), out.join("LICENSE"))?;
    for script in ["install.sh", "uninstall.sh"] {
        std::fs::copy(illumos.join(script), out.join(script))?;
    }
    let tarball = out.with_extension("tar.gz");
    execute(
        Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--numeric-owner", "--format=ustar", "-czf"])
            .arg(&tarball)
            .arg("-C")
            .arg(target.join("proto"))
            .arg(NAME),
    )?;
    println!("{} entries in {}", entries.len(), tarball.display());
    Ok(())
}

/// The list that `install.sh` goes by.
pub fn files(entries: &[Entry]) -> Result<String> {
    let mut text = String::new();
    for Entry { path, kind } in entries {
        match kind {
            Kind::Dir(o) => writeln!(text, "dir {path} {:04o} {} {}", o.mode, o.user, o.group)?,
            Kind::File(o, _) => {
                writeln!(text, "file {path} {:04o} {} {}", o.mode, o.user, o.group)?
            }
            Kind::Link(target) => writeln!(text, "link {path} {target}")?,
        }
    }
    Ok(text)
}

/// The package manifest of pkg(7): actions, one a line, for pkgdepend and pkgsend with the tree as
/// proto area. The package of the system's own overlay has the same paths, so it cannot be there too.
pub fn p5m(entries: &[Entry]) -> Result<String> {
    let mut text = format!(
        "set name=pkg.fmri value=pkg:/system/network/{NAME}@{}\n\
         set name=pkg.summary value=\"Overlay networks\"\n\
         set name=pkg.description value=\"The overlay driver with VXLAN, varpd and its plugins, ipnet\"\n\
         set name=variant.arch value=i386\n\
         license LICENSE license=CDDL-1.0\n\
         driver name=overlay\n\
         depend type=exclude fmri=pkg:/system/network/overlay\n",
        env!("CARGO_PKG_VERSION")
    );
    for Entry { path, kind } in entries {
        match kind {
            Kind::Dir(o) => writeln!(
                text,
                "dir path={path} owner={} group={} mode={:04o}",
                o.user, o.group, o.mode
            )?,
            Kind::Link(target) => writeln!(text, "link path={path} target={target}")?,
            Kind::File(o, _) => {
                // What a running system has to do when the file changes.
                let actuator = match path.as_str() {
                    p if p.starts_with("lib/svc/manifest") => {
                        " restart_fmri=svc:/system/manifest-import:default"
                    }
                    p if p.starts_with("usr/kernel") || p.starts_with("platform") => {
                        " reboot-needed=true"
                    }
                    _ => "",
                };
                writeln!(
                    text,
                    "file {path} path={path} owner={} group={} mode={:04o}{actuator}",
                    o.user, o.group, o.mode
                )?;
            }
        }
    }
    Ok(text)
}
