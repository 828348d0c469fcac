// SPDX-License-Identifier: CDDL-1.0
//! Which plugins are loaded: those of the directories that were named, else those that belong to
//! this varpd.

use crate::{Fatal, cannot};
use libvarpd::Varpd;
use std::path::{Path, PathBuf};

/// Loads plugins of the directories on the command line, then of those in the properties. A
/// directory that cannot be read is fatal; what is wrong with a single plugin is logged.
pub fn load(varpd: &Varpd, options: &[PathBuf], properties: &[PathBuf]) -> Result<(), Fatal> {
    for dir in options.iter().chain(properties) {
        varpd.load_plugins(dir)?;
    }
    if options.is_empty() && properties.is_empty() {
        load_own(varpd)?;
    }
    Ok(())
}

/// Loads the plugins that belong to this varpd: of its directory on illumos, elsewhere those beside
/// the executable, or in `deps` beside it, where cargo leaves them.
fn load_own(varpd: &Varpd) -> Result<(), Fatal> {
    if cfg!(target_os = "illumos") {
        return Ok(varpd.load_plugins(Path::new("/usr/lib/varpd"))?);
    }
    let exe = std::env::current_exe().map_err(cannot("find the directory of varpd"))?;
    let beside = exe.parent().unwrap_or(Path::new("/"));
    let mut dirs = [beside.to_owned(), beside.join("deps")].into_iter().map(|d| plugins_in(&d));
    // Other shared objects of a build lie there too, so the name counts.
    let files = dirs.find(|files| !files.is_empty()).unwrap_or_default();
    if files.is_empty() {
        slog::warn!(
            varpd.log(),
            "no plugin lies beside {}: name a directory with -i",
            exe.display()
        );
    }
    files.iter().for_each(|file| varpd.load_plugin(file));
    Ok(())
}

/// The files `libvarpd_*.so` of a directory, in order.
fn plugins_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter(|e| {
            let name = e.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libvarpd_") && name.ends_with(".so")
        })
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}
