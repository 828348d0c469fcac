// SPDX-License-Identifier: CDDL-1.0
//! Module files in place of what is linked in.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Host, command, root};

/// Loaded modules but ipnet: name, and whether it is a file.
fn loaded(host: &Host) -> Vec<(String, bool)> {
    let all = host.client().modinfo().unwrap();
    let others = all.into_iter().filter(|m| m.name != "drv/ipnet");
    others.map(|m| (m.name, m.file.is_some())).collect()
}

fn load(host: &Host, name: &str, file: &Path) -> Result<(), String> {
    host.client().modload(name, Some(file)).map(drop).map_err(|e| e.to_string())
}

#[test]
fn a_module_is_replaced_by_a_file_and_goes_when_told() {
    let Some(dir) = test_skip::kernel_modules() else { return };
    let host = Host::start();
    assert_eq!(loaded(&host), [("drv/overlay".into(), false)]);
    let overlay = dir.join("overlay");
    assert!(load(&host, "drv/overlay", &overlay).unwrap_err().contains("loaded already"));
    host.client().modunload("drv/overlay").unwrap();
    assert_eq!(loaded(&host), []);
    // A file that is refused is not the module of that name: the one linked in still is.
    assert!(load(&host, "drv/overlay", Path::new("/dev/null")).is_err());
    host.client().modload("drv/overlay", None).unwrap();
    assert_eq!(loaded(&host), [("drv/overlay".into(), false)]);
    host.client().modunload("drv/overlay").unwrap();
    load(&host, "drv/overlay", &overlay).unwrap();
    load(&host, "overlay/vxlan", &dir.join("vxlan")).unwrap();
    assert_eq!(loaded(&host), [("drv/overlay".into(), true), ("overlay/vxlan".into(), true)]);

    let busy = host.client().modunload("drv/overlay").unwrap_err().to_string();
    assert!(busy.contains("drv/overlay"), "vxlan needs it: {busy}");
    host.client().modunload("overlay/vxlan").unwrap();
    host.client().modunload("drv/overlay").unwrap();
    // From now on the file is the module of that name.
    host.client().modload("drv/overlay", None).unwrap();
    assert_eq!(loaded(&host), [("drv/overlay".into(), true)]);
    assert!(host.client().modunload("drv/nothing").is_err());
    assert!(host.client().modload("drv/nothing", None).is_err());
    host.end_clean();
}

#[test]
fn a_file_that_is_no_module_is_refused_with_its_reason() {
    let host = Host::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m");
    std::fs::write(&file, "no module").unwrap();
    let why = load(&host, "misc/m", &file).unwrap_err();
    assert!(why.contains("no ELF magic") && why.contains(file.to_str().unwrap()), "{why}");
    assert!(load(&host, "misc/m", &dir.path().join("absent")).is_err());
    // This program is ELF, but no module.
    let exe = std::env::current_exe().unwrap();
    assert!(load(&host, "misc/m", &exe).unwrap_err().contains("is not ET_REL"));
    let unknown = host.client().modload("misc/m", None).unwrap_err().to_string();
    assert!(unknown.contains("No such file"), "none of these files is known now: {unknown}");
    host.end_clean();
}

#[test]
fn files_from_the_start() {
    let Some(modules) = test_skip::kernel_modules() else { return };
    let dir = tempfile::tempdir().unwrap();
    let start = |file: &Path| {
        let mut command: Command = command(&root(dir.path()));
        // It needs drv/overlay, which comes first without being named.
        command.arg("--modload").arg(format!("overlay/vxlan={}", file.display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let failed = start(Path::new("/dev/null")).output().unwrap();
    assert!(!failed.status.success());
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(text.contains("/dev/null: header: not a complete ELF file"), "{text}");

    // The linked driver does not tell where its functions are.
    let failed = start(&modules.join("vxlan")).output().unwrap();
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(text.contains("symbol overlay_plugin_"), "{text}");

    let mut both = start(&modules.join("vxlan"));
    both.arg("--modload").arg(format!("drv/overlay={}", modules.join("overlay").display()));
    let host = Host::start_command(root(dir.path()), both);
    assert_eq!(loaded(&host), [("drv/overlay".into(), true), ("overlay/vxlan".into(), true)]);
    host.end_clean();
}
