// SPDX-License-Identifier: CDDL-1.0
//! The lab as a user meets it: the demo, its interruption, labs that stay up, and wrong input.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use system_tests::home::{Home, bad, good, text};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
/// Processes whose command line names `dir`.
fn processes(dir: &Path) -> Vec<i32> {
    let dir = dir.as_os_str().as_encoded_bytes();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(dir.len()).any(|w| w == dir)
        })
        .collect()
}

fn wait_until(what: &str, f: impl Fn() -> bool) {
    let start = Instant::now();
    while !f() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_demo_tells_what_it_did_as_json_and_leaves_nothing() {
    let home = Home::new(EXE);
    let out = home.run(&["demo", "--plugin", "direct", "--json", "--tcp", "32"]);
    let v: Value = serde_json::from_str(&good(&out)).unwrap();
    assert_eq!(v["plugin"], "direct");
    assert_eq!(v["ping"]["sent"], 80);
    assert_eq!(v["ping"]["received"], 80);
    assert_eq!(v["tcp"]["bytes"], 32 << 20);
    assert!(v["tcp"]["gbps"].as_f64().unwrap() > 0.0);
    assert!(v["ping"]["rtt_us"]["avg"].as_f64().unwrap() > 0.0);
    let hosts = v["hosts"].as_array().unwrap();
    assert_eq!(hosts.len(), 2);
    // What one host sent is what the other received, and all of the stream went this way.
    let n = |host: usize, k: &str| hosts[host]["counters"][k].as_u64().unwrap();
    assert_eq!(n(0, "opackets"), n(1, "ipackets"));
    assert_eq!(n(0, "obytes"), n(1, "ibytes"));
    assert!(n(0, "obytes") > 32 << 20);
    assert!(v["drops"].as_object().unwrap().is_empty(), "{}", v["drops"]);
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

#[test]
fn the_demo_leaves_captures_of_every_layer_that_belong_together() {
    let home = Home::new(EXE);
    let dir = home.dir().join("captures");
    let args = ["demo", "--plugin", "direct", "--json", "--tcp", "1", "--capture"];
    let v: Value =
        serde_json::from_str(&good(&home.run(&[&args[..], &[dir.to_str().unwrap()]].concat())))
            .unwrap();
    let files: Vec<&str> =
        v["captures"].as_array().unwrap().iter().map(|c| c["file"].as_str().unwrap()).collect();
    assert_eq!(files.len(), 6, "{}", v["captures"]);
    let snoop = |args: &[&str]| {
        let files = files.iter().flat_map(|f| ["-i", f]);
        let out = Command::new(EXE).arg0("snoop").args(args).args(files).output().unwrap();
        good(&out)
    };
    assert!(snoop(&["-r", "arp"]).contains("ARP C Who is "));
    let ipnet = snoop(&["-V", "-r", "zone", "0", "icmp"]);
    assert!(ipnet.contains("IPNET out interface") && ipnet.contains("IPNET in interface"));
    // Each echo request and reply of 80 was seen where it left and where it came: as a frame, by IP,
    // and in VXLAN.
    let flows = snoop(&["-Fj", "icmp", "or", "icmp6"]);
    let flows: Vec<Value> = flows.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let sum = |k: &str| flows.iter().map(|f| f[k].as_u64().unwrap()).sum::<u64>();
    // Neighbours are asked for with the same protocol.
    let asked = snoop(&["-V", "-r", "icmp6"]).matches("Neighbor ").count() as u64;
    assert_eq!(sum("bare_packets") + sum("wrapped_packets"), 6 * 160 + asked, "{flows:?}");
    assert!(flows.iter().all(|f| f["vnet"].is_u64()), "{flows:?}");
}

#[test]
fn the_demo_of_the_files_plugin_sees_lookups_and_a_guest_that_moves() {
    let home = Home::new(EXE);
    let out = home.run(&["demo", "--plugin", "files", "--json", "--tcp", "8"]);
    let v: Value = serde_json::from_str(&good(&out)).unwrap();
    assert_eq!((v["plugin"].as_str(), v["ping"]["received"].as_u64()), (Some("files"), Some(80)));
    assert_eq!(v["hosts"].as_array().unwrap().len(), 3);
    found_and_moved(&v);
    let moved = &v["moved"];
    assert_eq!(moved["received_before"], 0);
    // Nothing was dropped but questions that varpd answered.
    let drops: Vec<_> = v["drops"].as_object().unwrap().keys().collect();
    assert_eq!(drops, ["drop_lookup_drop"]);
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

/// Both addresses of the second guest were asked for, and it moved.
fn found_and_moved(v: &Value) {
    let first = v["first_contact"].as_array().unwrap();
    for (contact, protocol, address) in
        [(&first[0], "ARP", "10.77.0.2"), (&first[1], "ND", "fd77::2")]
    {
        assert_eq!(contact["protocol"], protocol);
        assert_eq!(contact["address"], address);
        assert_eq!(contact["mac"], "2:8:20:0:0:2");
        assert!(contact["misses"].as_u64().unwrap() >= 1);
    }
    let moved = &v["moved"];
    assert_eq!(
        (&moved["guest"], &moved["from"], &moved["to"]),
        (&"g2".into(), &"h2".into(), &"h3".into())
    );
    assert_eq!(moved["received_after"], moved["sent_after"]);
}

#[test]
fn the_demo_of_the_svp_plugin_asks_a_directory_and_follows_a_guest_that_moves() {
    let home = Home::new(EXE);
    let v: Value =
        serde_json::from_str(&good(&home.run(&["demo", "--json", "--tcp", "8"]))).unwrap();
    assert_eq!((v["plugin"].as_str(), v["ping"]["received"].as_u64()), (Some("svp"), Some(80)));
    found_and_moved(&v);
    assert!(v["moved"]["milliseconds"].as_f64().unwrap() > 0.0);
    assert_eq!(v["misses"]["count"], 30);
    assert!(v["misses"]["p50_us"].as_f64().unwrap() > v["misses"]["hit_p50_us"].as_f64().unwrap());
    assert!(v["lost"].is_null());
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

#[test]
fn the_demo_loses_a_directory_and_carries_on() {
    let home = Home::new(EXE);
    let v: Value = serde_json::from_str(&good(&home.run(&[
        "demo",
        "--lose-a-directory",
        "--json",
        "--tcp",
        "8",
    ])))
    .unwrap();
    assert_eq!((&v["lost"]["directory"], &v["lost"]["received"]), (&"d1".into(), &20.into()));
    found_and_moved(&v);
    bad(&home.run(&["demo", "--plugin", "files", "--lose-a-directory"]), "only svp");
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

#[test]
fn a_lab_with_a_directory_is_administered_from_its_commands() {
    let home = Home::new(EXE);
    let topology = home.own("directory", "127.64.6.");
    good(&home.run(&["up", &topology]));
    let status: Value = serde_json::from_str(&good(&home.run(&["status", "--json"]))).unwrap();
    let names: Vec<_> =
        status[0]["hosts"].as_array().unwrap().iter().map(|h| h["name"].clone()).collect();
    assert_eq!(names, ["h1", "h2", "h3", "d1"]);
    let exec =
        |host: &str, command: &[&str]| good(&home.run(&[&["exec", host, "--"], command].concat()));
    let ports = exec("d1", &["portolanadm", "port", "list", "100"]);
    assert!(ports.contains("10.77.0.3") && ports.contains("fd77::3"), "{ports}");
    wait_until("h1 is connected", || {
        exec("h1", &["varpdadm", "counters", "ov0"]).contains("ACTIVE")
    });
    // The guest throws away an answer for which it must first ask where it goes.
    wait_until("g3 answers", || {
        home.run(&["exec", "h1", "--", "fkadm", "guest", "ping", "g1", "10.77.0.3"])
            .status
            .success()
    });
    good(&home.run(&["down"]));
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

#[test]
fn the_demo_runs_on_module_files() {
    let Some(modules) = test_skip::kernel_modules() else { return };
    let home = Home::new(EXE);
    let out = home.run(&[
        "demo",
        "--plugin",
        "files",
        "--tcp",
        "8",
        "--modload",
        modules.to_str().unwrap(),
    ]);
    let text = good(&out);
    for line in [
        "ping      80 sent, 80 received",
        "8388608 bytes intact",
        "dropped   drop_lookup_drop",
        "g2 from h2 to h3: 0 of 20 answered before the files were edited, 20 of 20 after",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let file = |name: &str| modules.join(name).canonicalize().unwrap().display().to_string();
    for host in ["h1", "h2", "h3"] {
        let overlay = format!("{host}: drv/overlay ({})", file("overlay"));
        assert!(text.contains(&overlay), "{overlay}: {text}");
    }
    assert!(text.contains(&format!("h1: overlay/vxlan ({})", file("vxlan"))), "{text}");
    bad(&home.run(&["demo", "--modload", "/dev"]), "/dev/overlay");
    assert_eq!(home.left(), Vec::<PathBuf>::new());
}

fn start_long_demo(home: &Home) -> Child {
    let child = home
        .lab(&["demo", "--tcp", "100000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the demo did not start its daemons", || processes(home.dir()).len() >= 4);
    // Somewhere within the stream.
    std::thread::sleep(Duration::from_millis(1500));
    child
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let home = Home::new(EXE);
    let mut demo = start_long_demo(&home);
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = demo.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

#[test]
fn a_demo_whose_reader_has_enough_cleans_up_and_says_nothing() {
    let home = Home::new(EXE);
    let mut demo = home.lab(&["demo", "--tcp", "100000"]);
    let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    lines.find(|l| l.as_ref().is_ok_and(|l| l.contains("starting 3 hosts"))).unwrap().unwrap();
    drop(lines);
    let out = demo.wait_with_output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(processes(home.dir()), Vec::<i32>::new());
}

#[test]
fn the_daemons_of_a_killed_demo_die_with_it() {
    let home = Home::new(EXE);
    let mut demo = start_long_demo(&home);
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_until("daemons outlive the demo", || processes(home.dir()).is_empty());
    // The directory is left, and `lab down` takes it away.
    let left = home.left();
    assert_eq!(left.len(), 1);
    good(&home.run(&["down", left[0].file_name().unwrap().to_str().unwrap()]));
    assert_eq!(home.left(), Vec::<PathBuf>::new());
}

#[test]
fn every_ready_topology_comes_up_works_and_goes() {
    let home = Home::new(EXE);
    for (name, from, vnic, to) in [
        ("two-hosts", "h1", "g1", "fd77::2"),
        ("three-hosts", "h3", "g3", "fd77::1"),
        ("two-vnets", "h2", "blue2", "10.77.2.1"),
        ("jumbo", "h1", "g1", "10.77.1.2"),
        ("ipv6-underlay", "h2", "g2", "10.77.3.1"),
        ("three-vnets", "h1", "red1", "10.2.20.12"),
    ] {
        good(&home.run(&["up", name]));
        let ping = || {
            home.run(&[
                "exec", from, "--", "fkadm", "-j", "guest", "ping", vnic, to, "-c", "3", "-i", "0",
            ])
        };
        if name.starts_with("three") {
            // The guest that answers asks for the other's address first, and loses what it meant to send.
            wait_until("not all pings were answered", || ping().status.success());
        }
        let v: Value = serde_json::from_str(&good(&ping())).unwrap();
        assert_eq!(v["received"], 3, "{name}");
        if name == "three-hosts" {
            let seen = good(&home.run(&["exec", from, "--", "varpdadm", "lookups", "ov0", "-j"]));
            let v: Value = serde_json::from_str(&seen).unwrap();
            assert_eq!(v[0]["name"], "ov0");
            assert!(v[0]["lookups"]["found"].as_u64() > Some(0), "{seen}");
            assert!(v[0]["ndp"]["answered"].as_u64() > Some(0), "{seen}");
            let seen = good(&home.run(&["exec", from, "--", "varpdadm", "status"]));
            assert!(seen.contains("instances:  1 active"), "{seen}");
        }
        good(&home.run(&["down"]));
        assert_eq!(home.left(), Vec::<PathBuf>::new());
        assert_eq!(processes(home.dir()), Vec::<i32>::new());
    }
}

#[test]
fn a_lab_is_seen_used_and_refused_a_second_time() {
    let home = Home::new(EXE);
    let file = home.two_hosts();
    good(&home.run(&["up", &file]));
    let status: Value = serde_json::from_str(&good(&home.run(&["status", "--json"]))).unwrap();
    assert_eq!(status[0]["name"], "two-hosts");
    assert_eq!(status[0]["hosts"][1]["running"], true);
    assert_eq!(status[0]["hosts"][0]["links"].as_array().unwrap().len(), 2);
    assert_eq!(status[0]["guests"][0]["name"], "g1");
    bad(&home.run(&["up", &file]), "lab down two-hosts");
    // A second kernel and a second varpd on the same root are refused; the first ones stay.
    bad(&home.run(&["exec", "h1", "--", "fakekerneld"]), "fakekerneld");
    bad(&home.run(&["exec", "h1", "--", "varpd", "-f"]), "another varpd");
    let shown = good(&home.run(&["exec", "h1", "--", "dladm", "show-overlay", "-f"]));
    assert!(shown.contains("ONLINE"), "{shown}");
    // Exit statuses pass through.
    assert_eq!(home.run(&["exec", "h1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    bad(&home.run(&["exec", "h9", "--", "true"]), "it has h1, h2");
    bad(&home.run(&["exec", "g1", "--", "true"]), "--netns");
    bad(&home.run(&["exec", "h1", "--", "no-such-program"]), "no-such-program");
    good(&home.run(&["down", "two-hosts"]));
    bad(&home.run(&["down", "two-hosts"]), "no lab");
    bad(&home.run(&["exec", "h1", "--", "true"]), "no lab is up");
}

#[test]
fn a_lab_whose_daemons_were_killed_says_so_and_goes() {
    let home = Home::new(EXE);
    good(&home.run(&["up", &home.two_hosts()]));
    for pid in processes(home.dir()) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        );
    }
    wait_until("daemons still run", || processes(home.dir()).is_empty());
    let status = home.run(&["status"]);
    assert!(!status.status.success());
    assert!(text(&status.stdout).contains("NOT RUNNING"), "{}", text(&status.stdout));
    let down = home.run(&["down", "two-hosts"]);
    bad(&down, "was no longer running");
    assert_eq!(home.left(), Vec::<PathBuf>::new());
}

#[test]
fn a_wrong_file_of_hosts_is_told_and_the_last_good_one_stays() {
    let home = Home::new(EXE);
    good(&home.run(&["up", &home.own("three-hosts", "127.64.5.")]));
    let dladm = |args: &str| {
        let mut all = vec!["exec", "h1", "--", "dladm"];
        all.extend(args.split(' '));
        home.run(&all)
    };
    let file = home.dir().join("illumos-overlay-lab/three-hosts/h1/etc/overlay/ov0.json");
    let right = std::fs::read_to_string(&file).unwrap();
    let create = format!(
        "create-overlay -e vxlan -s files -v 9 -p vxlan/listen_ip=127.0.0.1,files/config={} ov9",
        file.display()
    );
    let again = format!("modify-overlay -p files/config={} ov0", file.display());
    let why = "ov0.json:1:29: 2:8:20:0:0:2/port: 0 is not a whole number from 1 to 65535";
    std::fs::write(&file, "{\"2:8:20:0:0:2\": {\"port\":   0}}").unwrap();
    bad(&dladm(&create), why);
    bad(&dladm("show-overlay ov9"), "ov9");
    bad(&dladm(&again), why);
    let shown = good(&dladm("show-overlay -f -p -o status,details ov0"));
    assert!(shown.starts_with("DEGRADED:files") && shown.contains("2/port"), "{shown}");
    let ping =
        || home.run(&["exec", "h1", "--", "fkadm", "guest", "ping", "g1", "fd77::3", "-i", "0"]);
    wait_until("the last good file is used", || ping().status.success());
    // A file that is right again is read when varpd gets the signal; g3 has another port in it, so it is asked for
    // anew and not found.
    let other = right.replace("4789", "4790");
    std::fs::write(&file, other).unwrap();
    let status: Value = serde_json::from_str(&good(&home.run(&["status", "--json"]))).unwrap();
    let daemons = status[0]["hosts"][0]["daemons"].as_array().unwrap();
    let varpd = daemons.iter().find(|d| d["program"] == "varpd").unwrap()["pid"].as_i64().unwrap();
    let varpd = rustix::process::Pid::from_raw(varpd as i32).unwrap();
    rustix::process::kill_process(varpd, rustix::process::Signal::USR1).unwrap();
    let online = || good(&dladm("show-overlay -f -p -o status ov0")).starts_with("ONLINE");
    wait_until("varpd reads the file again", online);
    assert_eq!(good(&dladm("show-overlay -t -p -o target ov0")), "", "what moved is forgotten");
    assert!(!ping().status.success());
    assert!(good(&dladm("show-overlay -t -p -o destination ov0")).contains("4790"));
    good(&home.run(&["down"]));
}

#[test]
fn wrong_input_is_named_and_leaves_nothing() {
    let home = Home::new(EXE);
    bad(&home.run(&["up", "nowhere.toml"]), "ready ones: two-hosts");
    bad(&home.run(&["up", "two-hosts", "--netns"]), "needs root");
    bad(&home.run(&["topologies", "nope"]), "nope");
    bad(&home.run(&["demo", "--tcp", "0"]), "0");
    let file = home.dir().join("t.toml");
    let ready = std::fs::read_to_string(home.two_hosts()).unwrap();
    for (from, to, expect) in [
        ("vnet = 100", "vnet = \"x\"", "vnet"),
        ("search = \"direct\"", "search = \"nope\"", "nope"),
        ("listen = \"127.", "listen = \"192.", "g1"),
        ("\"direct/dest_port\" = \"4789\"", "\"direct/dest_port\" = \"0\"", "direct/dest_port"),
        ("mac = \"2:8:20:0:0:1\"", "mac = \"zz\"", "MAC address 'zz'"),
    ] {
        std::fs::write(&file, ready.replace(from, to)).unwrap();
        bad(&home.run(&["up", file.to_str().unwrap()]), expect);
        assert_eq!(home.left(), Vec::<PathBuf>::new(), "{to}");
        assert_eq!(processes(home.dir()), Vec::<i32>::new(), "{to}");
    }
}
