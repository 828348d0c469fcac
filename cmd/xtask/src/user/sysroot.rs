// SPDX-License-Identifier: CDDL-1.0
//! What rustc links against: a stub for each library of the list, `crt1.o`, and the wrapper of the
//! linker driver.

use super::execute;
use super::symbols::{Library, List, PROCESS};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What was made.
pub struct Sysroot {
    /// The linker driver. Its path never changes: with another linker cargo compiles everything anew.
    pub linker: PathBuf,
    /// Whether what was linked before was linked against something else, of which cargo knows nothing.
    pub changed: bool,
}

/// Makes all of it anew in `dir`.
pub fn make(dir: &Path, list: &List, crt1: &Path) -> Result<Sysroot> {
    let mut hash = DefaultHasher::new();
    list.hash(&mut hash);
    std::fs::read(crt1)?.hash(&mut hash);
    let (hash, file) = (format!("{:016x}", hash.finish()), dir.join("hash"));
    let changed = !std::fs::read(&file).is_ok_and(|before| before == hash.as_bytes());
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut libraries = list.0.iter().filter(|library| library.soname != PROCESS);
    libraries.try_for_each(|library| stub(dir, library))?;
    assemble(crt1, &dir.join("crt1.o"))?;
    let linker = wrapper(dir)?;
    std::fs::write(file, hash)?;
    Ok(Sysroot { linker, changed })
}

/// Assembles one file.
pub fn assemble(source: &Path, object: &Path) -> Result<()> {
    execute(Command::new("as").arg("--64").arg(source).arg("-o").arg(object))
}

/// A library that has the names, and neither code nor versions.
fn stub(dir: &Path, library: &Library) -> Result<()> {
    let mut text = String::new();
    for (name, symbol) in &library.symbols {
        let (section, kind) = match symbol.size {
            None => (".text", "function"),
            Some(_) => (".data", "object"),
        };
        let size = symbol.size.unwrap_or(1);
        writeln!(
            text,
            "{section}\n.globl {name}\n.type {name}, @{kind}\n.size {name}, {size}\n\
             {name}: .skip {size}"
        )?;
    }
    let [source, object] = ["s", "o"].map(|e| dir.join(library.link_name()).with_extension(e));
    std::fs::write(&source, text)?;
    assemble(&source, &object)?;
    let out = dir.join(library.link_name());
    execute(
        Command::new("ld.lld")
            .args(["-m", "elf_x86_64", "-shared", "--hash-style=sysv", "-soname", &library.soname])
            .arg(&object)
            .arg("-o")
            .arg(&out),
    )?;
    for alias in &library.aliases {
        std::os::unix::fs::symlink(library.link_name(), dir.join(format!("lib{alias}.so")))?;
    }
    std::fs::remove_file(source)?;
    Ok(std::fs::remove_file(object)?)
}

/// A linker has to be one program without arguments, whose name says that it takes a compiler's.
fn wrapper(dir: &Path) -> Result<PathBuf> {
    let xtask = std::env::current_exe()?;
    let path = dir.join("illumos-cc");
    let text = format!(
        "#!/bin/sh\nexec '{}' illumos-ld --sysroot '{}' -- \"$@\"\n",
        xtask.display(),
        dir.display()
    );
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
