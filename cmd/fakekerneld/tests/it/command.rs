// SPDX-License-Identifier: CDDL-1.0
//! The fkadm command against a running fakekerneld.

use std::ffi::OsString;
use std::process::{Command, Output};

use crate::common::{Host, two_hosts};
use devctl::Root;

/// Not a test of its own: fkadm, in the process that [`fkadm`] starts.
#[test]
fn fkadm_itself() {
    let Some(args) = std::env::var_os("FKADM_TEST_ARGS") else { return };
    let args = args.into_string().unwrap();
    let args = std::iter::once("fkadm").chain(args.split(' ')).map(OsString::from);
    let code = fkadm::main(args);
    std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 9 });
}

/// Output of a fkadm command line, its words separated by single blanks. Exit status 9 stands for
/// all but 0.
fn fkadm(root: &Root, args: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "command::fkadm_itself", "--nocapture", "-q"])
        .env("FKADM_TEST_ARGS", args)
        .env("OVERLAY_ROOT", root.dir())
        .output()
        .unwrap()
}

/// What it prints, less the line of the test harness.
fn text(o: &Output) -> String {
    let all = String::from_utf8_lossy(&o.stdout);
    all.lines()
        .filter(|l| !l.is_empty() && *l != "running 1 test")
        .map(|l| format!("{l}\n"))
        .collect()
}

fn good(host: &Host, args: &str) -> String {
    let o = fkadm(&host.root, args);
    assert!(o.status.success(), "{args}: {o:?}");
    text(&o)
}

fn bad(root: &Root, args: &str) -> String {
    let o = fkadm(root, args);
    assert_eq!(o.status.code(), Some(9), "{args}: {o:?}");
    String::from_utf8(o.stderr).unwrap()
}

#[test]
fn each_command_prints_what_it_found() {
    let [(a, _), (b, _)] = two_hosts(false);
    assert!(good(&a, "status").contains("checks debug"));
    assert!(good(&a, "modinfo").contains("overlay/vxlan"));
    let links = good(&a, "links");
    assert!(links.starts_with("LINKID  LINK") && links.contains("vnic0"), "{links}");
    assert!(good(&a, "guest attach vnic0 10.1.0.1/24 fd00::1/64").contains("internal"));
    good(&b, "guest attach vnic0 10.1.0.2/24");
    assert!(good(&a, "guest list").contains("10.1.0.1/24,fd00::1/64"));
    let ping = good(&a, "guest ping vnic0 10.1.0.2 -c 2 -i 0");
    assert!(ping.contains("2 sent, 2 received, 0 lost") && ping.contains("round trip"), "{ping}");
    let json: serde_json::Value =
        serde_json::from_str(&good(&a, "--json guest ping vnic0 10.1.0.2 -c 1")).unwrap();
    assert_eq!((&json["sent"], &json["received"]), (&1.into(), &1.into()));
    good(&b, "guest tcp serve vnic0 -p 99");
    assert!(good(&a, "guest tcp send vnic0 10.1.0.2 -p 99 -n 300K").contains("307200 bytes"));

    let kstat = good(&a, "kstat -p overlay:::opackets");
    assert!(
        kstat.lines().any(|l| l.starts_with("overlay:") && l.contains(":opackets\t")),
        "{kstat}"
    );
    assert!(good(&a, "kstat").contains("module: overlay"));
    let json: serde_json::Value = serde_json::from_str(&good(&a, "kstat -j overlay")).unwrap();
    assert!(json.as_array().is_some_and(|a| !a.is_empty()));

    let file = a.root.path("/out.pcap");
    let wait = std::thread::scope(|s| {
        let capture = s.spawn(|| good(&a, &format!("capture vnic0 -c 2 -w {}", file.display())));
        std::thread::sleep(std::time::Duration::from_millis(200));
        good(&b, "guest ping vnic0 10.1.0.1 -c 3 -i 50");
        capture.join()
    });
    wait.unwrap();
    assert!(std::fs::metadata(&file).unwrap().len() > 24 + 2 * (16 + 42));

    good(&a, "guest detach vnic0");
    assert_eq!(good(&a, "violations"), "");
    good(&a, "shutdown");
    b.end_clean();
}

#[test]
fn failures_say_what_to_do() {
    let [(a, _), _b] = two_hosts(true);
    assert!(
        bad(&a.root, "guest ping vnic0 10.1.0.9 -c 1 -W 10").is_empty(),
        "a lost ping is told on stdout"
    );
    assert!(bad(&a.root, "guest tcp send vnic0 10.1.0.2 -p 4").contains("refused"));
    assert!(bad(&a.root, "guest attach vnic9 10.0.0.1/8").contains("no link is named"));
    assert!(bad(&a.root, "guest ping vnic0").contains("Usage"));
    assert!(bad(&a.root, "capture vnic0 -w /nowhere/file").contains("/nowhere/file"));
    let root = a.root.clone();
    a.end_clean();
    let e = bad(&root, "links");
    assert!(e.contains("no fakekerneld is running under") && e.contains("fakekerneld -R"), "{e}");
}
