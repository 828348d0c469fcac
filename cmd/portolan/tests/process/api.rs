// SPDX-License-Identifier: CDDL-1.0
//! Administration: the API as such, and portolanadm.

use crate::common::{Portolan, fails};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

const A: &str = "11111111-1111-4111-8111-111111111111";
const B: &str = "22222222-2222-4222-8222-222222222222";

fn started() -> (tempfile::TempDir, Portolan) {
    let dir = tempfile::tempdir().unwrap();
    let portolan = Portolan::start(&dir.path().join("portolan.redb"), &[]);
    (dir, portolan)
}

fn vectors() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/svp_sessions.json"))
}

#[test]
fn every_path_of_the_description_answers() {
    let (_dir, portolan) = started();
    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    portolan.ok(&["network", "set", "7", "blue"]);
    portolan.ok(&["port", "set", "7", "10.0.0.1", "2:8:20:0:0:1", A]);
    let (status, text) = portolan.http("GET", "/openapi.json", "", "");
    assert_eq!(status, 200);
    let doc: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(doc["info"]["title"], "portolan");
    let paths = doc["paths"].as_object().unwrap();
    assert!(paths.len() >= 12, "{} paths", paths.len());
    for (path, methods) in paths {
        let path = path.replace("{vnet}", "7").replace("{id}", A).replace("{ip}", "10.0.0.1");
        for method in methods.as_object().unwrap().keys().filter(|m| *m != "parameters") {
            if path.ends_with("/watch") {
                continue;
            }
            let (status, body) = portolan.http(&method.to_uppercase(), &path, "", "{\"no\": 1}");
            // Known to the router; a body that makes no sense is refused, not taken for something.
            assert!(![405, 500].contains(&status), "{method} {path}: {status} {body}");
            assert!(status != 404 || body.contains("there is no"), "{method} {path}: {body}");
        }
    }
    let page = portolan.http("GET", "/", "", "");
    assert!(page.0 == 200 && page.1.contains("<title>portolan</title>"));
    assert!(!page.1.contains("http://") && !page.1.contains("https://"), "self-contained");
    let metrics = portolan.http("GET", "/metrics", "", "").1;
    assert!(metrics.contains("portolan_hosts 1\n") || metrics.contains("portolan_hosts 0\n"));
}

#[test]
fn only_administrators_administer() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("portolan.redb");
    let token = dir.path().join("token");
    std::fs::write(&token, "correct horse battery\n").unwrap();
    let token = token.to_str().unwrap();
    {
        let portolan = Portolan::start(&store, &["--token-file", token]);
        assert_eq!(portolan.http("GET", "/api/v1/status", "", "").0, 401);
        let wrong = "Authorization: Bearer incorrect horse battery\r\n";
        assert_eq!(portolan.http("GET", "/api/v1/status", wrong, "").0, 401);
        let right = "Authorization: Bearer correct horse battery\r\n";
        assert_eq!(portolan.http("GET", "/api/v1/status", right, "").0, 200);
        let output = portolan.adm(&["status"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("wants its token"), "{said}");
        portolan.ok(&["status", "--token-file", token]);
    }
    {
        let portolan = Portolan::start(&store, &[]);
        // Another site's name that leads here.
        assert_eq!(portolan.http("GET", "/api/v1/hosts", "Host: evil.example\r\n", "").0, 403);
        assert_eq!(portolan.http("GET", "/api/v1/hosts", "", "").0, 200);
    }
    let open = fails(&store, &["--api", "0.0.0.0:0"]);
    let said = String::from_utf8(open.stderr).unwrap();
    assert!(said.contains("--token-file"), "{said}");
    assert_eq!(open.status.code(), Some(96));
}

#[test]
fn portolanadm_does_all_of_it() {
    let (_dir, portolan) = started();
    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    portolan.ok(&["host", "set", B, "2001:db8::2", "4790"]);
    portolan.ok(&["port", "set", "7", "10.0.0.1", "2:8:20:0:0:1", A]);
    portolan.ok(&["port", "set", "7", "fd00::1", "2:8:20:0:0:1", A, "--vlan", "4"]);
    assert_eq!(
        portolan.ok(&["port", "set", "7", "10.0.0.1", "2:8:20:0:0:1", A]),
        "nothing to change\n"
    );
    let list = portolan.ok(&["port", "list", "7", "--mac", "02:08:20:00:00:01"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    portolan.ok(&["port", "move", "7", "2:8:20:0:0:1", B]);
    let show = portolan.ok(&["--json", "port", "show", "7", "fd00::1"]);
    let show: Value = serde_json::from_str(&show).unwrap();
    assert_eq!((show["host"].as_str(), &show["vlan"]), (Some(B), &4.into()));
    let log = portolan.ok(&["--json", "host", "log", A]);
    assert_eq!(
        log.lines().count(),
        5,
        "two addresses that came, twice; one guest that moved: {log}"
    );
    for (args, words) in [
        (vec!["host", "delete", B], "has 2 ports"),
        (vec!["host", "show", "33333333-3333-4333-8333-333333333333"], "there is no host"),
        (vec!["port", "delete", "7", "10.0.0.2"], "there is no port 10.0.0.2 in network 7"),
        (
            vec!["port", "set", "7", "10.0.0.2", "1:0:0:0:0:1", A],
            "not an Ethernet address of a guest",
        ),
    ] {
        let output = portolan.adm(&args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{args:?}: {said}");
    }
    portolan.ok(&["port", "delete", "7", "10.0.0.1"]);
    portolan.ok(&["port", "delete", "7", "fd00::1"]);
    portolan.ok(&["host", "delete", B]);
    assert_eq!(portolan.ok(&["host", "list"]).lines().count(), 2);
}

#[test]
fn portolanadm_attaches_and_detaches() {
    let (_dir, portolan) = started();
    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    portolan.ok(&["host", "set", B, "192.0.2.2"]);
    portolan.ok(&["port", "set", "7", "10.7.0.5", "2:8:20:0:7:5", A]);
    portolan.ok(&["port", "set", "8", "10.8.0.5", "2:8:20:0:8:5", B]);
    let attach = ["attach", "7", "10.7.0.0/24", "8", "10.8.0.0/24", "--dcid", "1", "--r-dcid", "2"];
    let refused = |args: &[&str]| {
        let output = portolan.adm(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&attach);
    assert!(said.contains("network 7 has no router address in 10.7.0.0/24, none at all"), "{said}");
    portolan.ok(&["router", "set", "7", "10.7.0.1", "2:8:20:0:7:fe", "--vlan", "3"]);
    portolan.ok(&["router", "set", "8", "10.8.0.1", "2:8:20:0:8:fe"]);
    let networks = portolan.ok(&["network", "list"]);
    let last: Vec<&str> = networks.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last, ["8", "-", "1", "1", "10.8.0.1"]);
    let routers = portolan.ok(&["router", "list"]);
    assert!(routers.contains("10.7.0.1  2:8:20:0:7:fe  3"), "{routers}");

    let done = portolan.ok(&attach);
    assert!(done.contains("2 log entries for hosts"), "{done}");
    assert_eq!(portolan.ok(&attach), "nothing to change\n");
    let list = portolan.ok(&["attachment", "list"]);
    let row: Vec<&str> = list.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["7", "3", "10.7.0.0/24", "1", "8", "0", "10.8.0.0/24", "2"]);
    let json: Value =
        serde_json::from_str(&portolan.ok(&["--json", "attachment", "list"])).unwrap();
    assert_eq!((&json["b"]["mac"], &json["a"]["vlan"]), (&"2:8:20:0:8:fe".into(), &3.into()));
    let routes = portolan.ok(&["route", "list"]);
    assert_eq!(routes.lines().count(), 3, "{routes}");
    // A route without one back is none.
    let args = ["route", "set", "--r-vnet", "9", "--r-send-mac", "2:8:20:0:9:fe"];
    portolan.ok(&[&args[..], &["7", "10.7.0.0/24", "10.9.0.0/24", "--vlan", "3"]].concat());
    assert_eq!(portolan.ok(&["attachment", "list"]), list);
    let event = portolan.ok(&["--json", "host", "log", B]);
    assert!(event.contains(r#""dst":"10.7.0.0/24""#), "{event}");
    let status = portolan.status();
    assert_eq!((&status["routers"], &status["routes"]), (&2.into(), &3.into()));
    let metrics = portolan.http("GET", "/metrics", "", "").1;
    assert!(metrics.contains("portolan_routers 2\n"), "{metrics}");

    let said = refused(&["attach", "7", "10.7.0.0/24", "8", "10.0.0.0/8"]);
    assert!(said.contains("overlap"), "{said}");
    portolan.ok(&["detach", "8", "10.8.0.0/24", "7", "10.7.0.0/24"]);
    assert_eq!(portolan.ok(&["attachment", "list"]).lines().count(), 1);
    let said = refused(&["detach", "8", "10.8.0.0/24", "7", "10.7.0.0/24"]);
    let want = "there is no attachment of 10.8.0.0/24 of network 8 to 10.7.0.0/24 of network 7";
    assert!(said.contains(want), "{said}");
    let said = refused(&["route", "delete", "7", "10.7.0.0/24", "10.9.0.0/24"]);
    assert!(
        said.contains("there is no route from 10.7.0.0/24 to 10.9.0.0/24 in network 7 with tag 0")
    );
    portolan.ok(&["route", "delete", "7", "10.7.0.0/24", "10.9.0.0/24", "--vlan", "3"]);
    assert_eq!(portolan.status()["routes"], 0);
    let said = refused(&["router", "delete", "7", "10.7.0.5"]);
    assert!(said.contains("there is no router address 10.7.0.5 in network 7"), "{said}");
    portolan.ok(&["router", "delete", "7", "10.7.0.1"]);
    assert_eq!(portolan.ok(&["router", "list"]).lines().count(), 2);
}

#[test]
fn an_export_restores_the_same_directory_in_both_forms() {
    let (dir, portolan) = started();
    let sessions: Value =
        serde_json::from_str(&std::fs::read_to_string(vectors()).unwrap()).unwrap();
    let buckets = dir.path().join("buckets.json");
    std::fs::write(&buckets, sessions["dbs"]["db-v2.json"].to_string()).unwrap();
    let said = portolan.ok(&["import", "--format", "moray", buckets.to_str().unwrap()]);
    assert!(said.contains("17 records"), "{said}");
    let export = portolan.ok(&["export"]);
    for format in ["jsonl", "moray"] {
        let file = dir.path().join(format);
        std::fs::write(&file, portolan.ok(&["export", "--format", format])).unwrap();
        let store = dir.path().join(format!("{format}.redb"));
        let other = Portolan::start(&store, &[]);
        let import = ["import", "--format", format, "--batch", "3", file.to_str().unwrap()];
        other.ok(&import);
        // Revisions differ with the batches; all else is the same, order of logs included.
        let plain = |text: &str| -> Vec<String> {
            let value = |line| {
                let mut value: Value = serde_json::from_str(line).unwrap();
                for kind in ["port", "route"] {
                    if let Some(record) = value.get_mut(kind) {
                        record["modified"] = 0.into();
                    }
                }
                if let Some(log) = value.get_mut("log") {
                    log["seq"] = 0.into();
                }
                value.to_string()
            };
            text.lines().map(value).collect()
        };
        assert_eq!(plain(&other.ok(&["export"])), plain(&export), "{format}");
        let again = other.ok(&[&import[..], &["--json"]].concat());
        assert!(again.contains("\"written\":0"), "{again}");
    }
}

#[test]
fn a_bad_line_stops_an_import_and_says_which() {
    let (dir, portolan) = started();
    let file = dir.path().join("bad.jsonl");
    let host = format!("{{\"host\":{{\"id\":\"{A}\",\"ip\":\"192.0.2.1\",\"port\":1}}}}\n");
    std::fs::write(&file, format!("{host}{{\"hots\":{{}}}}\n")).unwrap();
    let output = portolan.adm(&["import", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("record 2"), "{said}");
}

#[test]
fn watchers_see_changes_as_they_are_made() {
    let (_dir, portolan) = started();
    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    let mut stream = TcpStream::connect(portolan.api).unwrap();
    stream.set_read_timeout(Some(crate::common::LONG)).unwrap();
    write!(stream, "GET /api/v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut see = |text: &str| while !lines.next().unwrap().unwrap().contains(text) {};
    see("\"host\":{\"id\"");
    portolan.ok(&["port", "set", "7", "10.0.0.1", "2:8:20:0:0:1", A]);
    see("\"ip\":\"10.0.0.1\"");
    // A watcher does not keep the server from stopping.
    assert_eq!(portolan.stop().code(), Some(0));
}

#[test]
fn the_service_manager_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(crate::common::LONG)).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["--volatile", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let told = |want: &str| {
        let mut buf = [0; 256];
        let n = socket.recv(&mut buf).unwrap();
        assert!(std::str::from_utf8(&buf[..n]).unwrap().starts_with(want));
    };
    told("READY=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    told("STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
