// SPDX-License-Identifier: CDDL-1.0
//! Which packages of the workspace are for illumos, and what comes out of them.
//!
//! All are, unless their manifest says otherwise and why:
//!
//! ```toml
//! [package.metadata.illumos]
//! build = false
//! reason = "stands for the kernel where there is none"
//! ```
//!
//! A library is named as cargo does, or, where the workspace has that name already, as its manifest
//! says: `library = "libvarpd.so"`.
//!
//! One whose programs have probes names them there, as `probes = ["provider:probe"]`, for the audit.

use super::ld::map_globals;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug)]
pub struct Packages {
    pub built: Vec<String>,
    /// Name and reason.
    pub left_out: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// exec(2).
    Program,
    /// A shared object that another program loads.
    Library,
}

/// A file that the linker makes.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// What loads it.
    pub kind: Kind,
    /// As cargo names the file.
    pub made: String,
    /// As it is called.
    pub file: String,
    /// What it exports, in order, from `exports.map` beside its manifest.
    pub exports: Vec<String>,
    /// Probes of DTrace that it has, as `provider:probe`; the manifest of its package says them.
    pub probes: Vec<String>,
}

impl Artifact {
    /// The name a library is installed under and knows itself by.
    pub fn soname(&self) -> String {
        format!("{}.1", self.file)
    }

    /// Whether varpd is to load it, and its init section to register it.
    pub fn is_plugin(&self) -> bool {
        self.kind == Kind::Library && self.file.starts_with("libvarpd_")
    }
}

pub fn read(mut cargo: Command) -> Result<Packages> {
    let out = cargo.args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    if !out.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&out.stderr));
    }
    from_json(&serde_json::from_slice(&out.stdout)?)
}

fn from_json(metadata: &Value) -> Result<Packages> {
    let mut all = Packages { built: vec![], left_out: vec![], artifacts: vec![] };
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"])?;
        let illumos = &package["metadata"]["illumos"];
        if illumos["build"] == Value::Bool(false) {
            let reason = text(&illumos["reason"])
                .with_context(|| format!("{name} is not built for illumos and must say why"))?;
            all.left_out.push((name.to_owned(), reason.to_owned()));
            continue;
        }
        all.built.push(name.to_owned());
        let manifest = PathBuf::from(text(&package["manifest_path"])?);
        let exports = exports(&manifest.with_file_name("exports.map"))?;
        let probes = list(&illumos["probes"]).map(|p| Ok(text(p)?.to_owned()));
        let probes = probes.collect::<Result<Vec<_>>>()?;
        for target in list(&package["targets"]) {
            let has = |key: &str, word| list(&target[key]).any(|k| k == word);
            let name = text(&target["name"])?.replace('-', "_");
            let (exports, probes) = (exports.clone(), probes.clone());
            if has("kind", "bin") {
                let file = text(&target["name"])?.to_owned();
                let made = file.clone();
                all.artifacts.push(Artifact { kind: Kind::Program, made, file, exports, probes });
            } else if has("kind", "cdylib") {
                let made = format!("lib{name}.so");
                let file = illumos["library"].as_str().unwrap_or(&made).to_owned();
                all.artifacts.push(Artifact { kind: Kind::Library, made, file, exports, probes });
            }
        }
    }
    Ok(all)
}

fn exports(map: &Path) -> Result<Vec<String>> {
    let mut names = match std::fs::read_to_string(map) {
        Ok(text) => map_globals(&text),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => vec![],
        Err(e) => return Err(e).with_context(|| map.display().to_string()),
    };
    names.sort();
    Ok(names)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("cargo metadata has another form than expected")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(illumos: Value) -> Value {
        json!({"packages": [{
            "name": "a-b",
            "manifest_path": "/nowhere/Cargo.toml",
            "metadata": {"illumos": illumos},
            "targets": [
                {"name": "a_b", "kind": ["cdylib", "rlib"]},
                {"name": "a-b", "kind": ["bin"]},
                {"name": "t", "kind": ["test"]},
            ],
        }]})
    }

    #[test]
    fn programs_and_libraries_are_found() {
        let all = from_json(&package(Value::Null)).unwrap();
        let files: Vec<_> = all.artifacts.iter().map(|a| (a.kind, a.file.as_str())).collect();
        assert_eq!(files, [(Kind::Library, "liba_b.so"), (Kind::Program, "a-b")]);
        assert_eq!(all.artifacts[0].soname(), "liba_b.so.1");
    }

    #[test]
    fn a_library_may_have_a_name_of_its_own() {
        let all = from_json(&package(json!({"library": "libc.so"}))).unwrap();
        let library = &all.artifacts[0];
        assert_eq!((library.made.as_str(), library.soname().as_str()), ("liba_b.so", "libc.so.1"));
    }

    #[test]
    fn who_is_left_out_says_why() {
        let all = from_json(&package(json!({"build": false, "reason": "r"}))).unwrap();
        assert_eq!(all.left_out, [("a-b".to_owned(), "r".to_owned())]);
        assert!(all.artifacts.is_empty());
        assert!(from_json(&package(json!({"build": false}))).is_err());
    }
}
