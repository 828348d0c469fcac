// SPDX-License-Identifier: CDDL-1.0
//! The page at `/`, as a browser shows it while the directory changes.

use crate::browser::Browser;
use crate::common::Portolan;

const A: &str = "11111111-1111-4111-8111-111111111111";
const B: &str = "22222222-2222-4222-8222-222222222222";

#[test]
fn the_page_follows_every_change() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("portolan.redb");
    let mut portolan = Portolan::start(&store, &[]);
    let api = portolan.api;
    browser.open(&format!("http://{api}/"), "");
    browser.shows("state", "live");
    browser.until("hosts", |text| text.lines().count() == 1);

    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    portolan.ok(&["host", "set", B, "2001:db8::2", "4790"]);
    browser.shows("hosts", &format!("{A}|192.0.2.1|4789|0|0"));
    browser.shows("hosts", &format!("{B}|2001:db8::2|4790|0|0"));
    browser.shows("numbers", "2\nhosts");

    portolan.ok(&["port", "set", "7", "10.0.0.1", "2:8:20:0:0:1", A]);
    portolan.ok(&["port", "set", "7", "fd00::1", "2:8:20:0:0:2", B, "--vlan", "4"]);
    // The backlog: each host was told of the guests that came once it had one itself, and that whatever it has
    // of routes from its own is stale.
    browser.shows("hosts", &format!("{A}|192.0.2.1|4789|1|3"));
    browser.shows("hosts", &format!("{B}|2001:db8::2|4790|1|2"));
    browser.shows("networks", "7||2|2|");
    browser.shows("ports", &format!("10.0.0.1|2:8:20:0:0:1|{A}||"));
    browser.shows("ports", &format!("fd00::1|2:8:20:0:0:2|{B}|4|"));
    browser.shows("numbers", "5\nlog backlog");

    // What people typed is text, whatever it looks like.
    let name = "<img src=x onerror=\"document.title='taken over'\">";
    portolan.ok(&["network", "set", "7", name]);
    browser.shows("networks", &format!("7|{name}|2|2"));
    assert_eq!(browser.eval("document.title"), "portolan");

    portolan.ok(&["port", "move", "7", "10.0.0.1", B]);
    browser.shows("ports", &format!("10.0.0.1|2:8:20:0:0:1|{B}||"));
    browser.shows("hosts", &format!("{A}|192.0.2.1|4789|0|4"));
    browser.until("changes", |text| {
        let newest = text.lines().nth(1).unwrap_or_default();
        newest.contains("\"move\"") && newest.contains("10.0.0.1") && newest.ends_with("|3")
    });

    portolan.ok(&["port", "delete", "7", "10.0.0.1"]);
    browser.until("ports", |text| !text.contains("10.0.0.1") && text.contains("fd00::1"));
    // Another network is shown when it is picked.
    portolan.ok(&["port", "set", "8", "10.8.0.1", "2:8:20:0:0:8", A]);
    browser.shows("networks", "8||1|1");
    browser.eval("document.querySelector('#networks tr:nth-child(3)').click()");
    browser.shows("which", "of network 8");
    browser.shows("ports", "10.8.0.1");

    // It says when the server is gone, and goes on by itself when it is back.
    portolan.child.kill().unwrap();
    portolan.child.wait().unwrap();
    browser.until("state", |text| text != "live");
    let portolan = Portolan::start(&store, &["--api", &api.to_string()]);
    browser.shows("state", "live");
    portolan.ok(&["port", "set", "8", "10.8.0.2", "2:8:20:0:0:9", A]);
    browser.shows("ports", "10.8.0.2");
}

/// Types into the fields of the form and sends it.
fn attach(browser: &mut Browser, fields: [&str; 6]) {
    let names = ["vnet", "subnet", "dcid", "r_vnet", "r_subnet", "r_dcid"];
    for (name, value) in names.iter().zip(fields) {
        browser.eval(&format!("document.forms.attach.elements['{name}'].value = '{value}'"));
    }
    browser.eval("document.forms.attach.requestSubmit()");
}

#[test]
fn the_page_attaches_and_detaches() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let portolan = Portolan::start(&dir.path().join("portolan.redb"), &[]);
    portolan.ok(&["host", "set", A, "192.0.2.1"]);
    portolan.ok(&["port", "set", "7", "10.7.0.5", "2:8:20:0:7:5", A]);
    portolan.ok(&["router", "set", "7", "10.7.0.1", "2:8:20:0:7:fe", "--vlan", "3"]);
    browser.open(&format!("http://{}/", portolan.api), "");
    browser.shows("state", "live");
    browser.shows("networks", "7||1|1|10.7.0.1");

    // What is refused is said where it was asked for, in the words of the server.
    attach(&mut browser, ["7", "10.7.0.0/24", "1", "8", "10.8.0.0/24", ""]);
    browser.shows("said", "there is no network 8");
    portolan.ok(&["router", "set", "8", "10.8.0.1", "2:8:20:0:8:fe"]);
    attach(&mut browser, ["7", "10.7.0.0/24", "1", "8", "10.8.0.0/24", ""]);
    browser.shows("attachments", "7|3|10.7.0.0/24|1|8||10.8.0.0/24||detach");
    browser.until("said", str::is_empty);
    browser.shows("routes", "7|3|10.7.0.0/24|10.8.0.0/24|8|||2:8:20:0:8:fe|");
    browser.shows("routes", "8||10.8.0.0/24|10.7.0.0/24|7|3|1|2:8:20:0:7:fe|");
    browser.shows("numbers", "2\nroutes");
    assert_eq!(portolan.ok(&["attachment", "list"]).lines().count(), 2);

    browser.eval("document.querySelector('#attachments button').click()");
    browser.until("attachments", |text| text.lines().count() == 1);
    browser.until("routes", |text| text.lines().count() == 1);
    assert_eq!(portolan.status()["routes"], 0);
}

#[test]
fn the_page_asks_for_the_token() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "correct horse battery\n").unwrap();
    let token = token.to_str().unwrap();
    let portolan = Portolan::start(&dir.path().join("portolan.redb"), &["--token-file", token]);
    portolan.ok(&["--token-file", token, "host", "set", A, "192.0.2.1"]);
    browser.open(&format!("http://{}/", portolan.api), "correct horse battery");
    browser.shows("state", "live");
    browser.shows("hosts", A);
}
