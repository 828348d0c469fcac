// SPDX-License-Identifier: CDDL-1.0
//! Views for people: columns under headings, as other administrative programs have them.
use crate::view::{Counters, Daemon, Instance, Lookups, View};
use libvarpd::status::{Mode, PluginStatus, State};
use serde_json::{Map, Value};

/// The text of a view, lines with their ends.
pub fn show(view: &View) -> String {
    match view {
        View::Status(daemon) => status(daemon),
        View::Instances(all) => instances(all),
        View::Lookups(all) => lookups(all),
        View::Counters(all) => all.iter().map(counters).collect::<Vec<_>>().join("\n"),
        View::Plugins(all) => plugins(all),
    }
}

/// Rows under a heading; columns as wide as they must be, the last as long as it is.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new<const N: usize>(heading: [&str; N]) -> Table {
        Table(vec![heading.map(str::to_owned).to_vec()])
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.push(cells.to_vec());
    }

    fn push(&mut self, cells: Vec<String>) {
        // What a plugin or varpd says may have anything in it; a line is a line.
        let clean = |c: String| c.replace(|c: char| c.is_control(), " ");
        self.0.push(cells.into_iter().map(clean).collect());
    }

    fn text(&self) -> String {
        let mut widths = Vec::new();
        for row in &self.0 {
            widths.resize(row.len(), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        self.0.iter().map(line).collect()
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Point => "point",
        Mode::Dynamic => "dynamic",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Active => "active",
        State::Degraded => "degraded",
        State::Orphaned => "orphaned",
        State::Closing => "closing",
    }
}

fn name(name: Option<&String>, id: u32) -> String {
    name.cloned().unwrap_or_else(|| id.to_string())
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.into()
}

/// A length of time in its two largest units.
fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A latency, to three digits.
fn latency(ns: u64) -> String {
    let n = ns as f64;
    let (value, unit) = match ns {
        0 => return "-".into(),
        1..1000 => return format!("{ns}ns"),
        1000..1_000_000 => (n / 1e3, "us"),
        1_000_000..1_000_000_000 => (n / 1e6, "ms"),
        _ => (n / 1e9, "s"),
    };
    let places = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.places$}{unit}")
}

fn status(d: &Daemon) -> String {
    let mut out = format!(
        "varpd {}, process {}, up for {}, {} lookup threads\n",
        d.version,
        d.pid,
        span(d.uptime_seconds),
        d.lookup_threads
    );
    let mut line = |what: &str, text: String| out.push_str(&format!("{what:11} {text}\n"));
    line("kernel:", format!("version {} of /dev/overlay", d.kernel));
    line("plugins:", or_dash(d.plugins.join(", ")));
    let by_state = d.instances.iter().map(|(s, n)| format!("{n} {}", state(*s)));
    line("instances:", or_dash(by_state.collect::<Vec<_>>().join(", ")));
    let l = &d.lookups;
    line(
        "lookups:",
        format!(
            "{} asked, {} found, {} dropped, {} proxied, {} forgotten, {} waiting",
            l.asked, l.found, l.dropped, l.proxied, l.forgotten, d.outstanding
        ),
    );
    line("", format!("{} destinations not taken, {} for no instance", l.not_taken, d.unplaced));
    let calls = d.door.iter().map(|(command, c)| match c.errors {
        0 => format!("{} {command}", c.calls),
        errors => format!("{} {command} ({errors} failed)", c.calls),
    });
    line("door calls:", or_dash(calls.collect::<Vec<_>>().join(", ")));
    out
}

fn instances(all: &[Instance]) -> String {
    let mut table = Table::new([
        "ID",
        "LINK",
        "LINKID",
        "VNET",
        "DCID",
        "PLUGIN",
        "MODE",
        "DEST",
        "STATE",
        "WAITING",
        "LAST ERROR",
    ]);
    for i in all {
        let error = match (&i.last_error, i.last_error_age) {
            (Some(e), Some(age)) => format!("{} ago: {}", span(age), e.text),
            _ => "-".into(),
        };
        table.row([
            i.id.to_string(),
            name(i.name.as_ref(), i.link),
            i.link.to_string(),
            i.vnetid.to_string(),
            i.dcid.to_string(),
            i.plugin.clone(),
            mode(i.mode).into(),
            i.dest.join("+"),
            state(i.state).into(),
            i.outstanding.to_string(),
            error,
        ]);
    }
    table.text()
}

fn lookups(all: &[Lookups]) -> String {
    let mut table = Table::new([
        "LINK",
        "ASKED",
        "FOUND",
        "DROPPED",
        "PROXIED",
        "FORGOTTEN",
        "WAITING",
        "P50",
        "P90",
        "P99",
        "P99.9",
        "MAX",
    ]);
    for i in all {
        let (l, f) = (&i.lookups, &i.latency);
        let [p50, p90, p99, p999, max] =
            [f.p50_ns, f.p90_ns, f.p99_ns, f.p999_ns, f.max_ns].map(latency);
        let [asked, found, dropped, proxied, forgotten, waiting] =
            [l.asked, l.found, l.dropped, l.proxied, l.forgotten, i.outstanding]
                .map(|n| n.to_string());
        let link = name(i.name.as_ref(), i.link);
        table.row([
            link, asked, found, dropped, proxied, forgotten, waiting, p50, p90, p99, p999, max,
        ]);
    }
    let mut out = table.text();
    let mut table = Table::new(["LINK", "ROUTES ASKED", "FOUND", "NOT FOUND"]);
    for i in all.iter().filter(|i| i.routes.asked != 0) {
        let counts = [i.routes.asked, i.routes.found, i.routes.not_found];
        let [asked, found, not_found] = counts.map(|n| n.to_string());
        table.row([name(i.name.as_ref(), i.link), asked, found, not_found]);
    }
    append(&mut out, &table);
    let mut table = Table::new(["LINK", "PROXY", "ANSWERED", "NO ANSWER", "REFUSED"]);
    for i in all {
        for (protocol, c) in [("arp", i.arp), ("ndp", i.ndp), ("dhcp", i.dhcp)] {
            let counts = [c.answered, c.no_answer, c.refused];
            if counts != [0; 3] {
                let [answered, no_answer, refused] = counts.map(|n| n.to_string());
                let link = name(i.name.as_ref(), i.link);
                table.row([link, protocol.into(), answered, no_answer, refused]);
            }
        }
    }
    append(&mut out, &table);
    out
}

/// A table more, if there is anything in it.
fn append(out: &mut String, table: &Table) {
    if table.0.len() > 1 {
        out.push('\n');
        out.push_str(&table.text());
    }
}

/// What a plugin tells: values one below the other, and lists of objects as tables.
fn counters(c: &Counters) -> String {
    let mut values = Table::new([&name(c.name.as_ref(), c.link), c.plugin.as_str()]);
    let mut tables = String::new();
    for (key, value) in flat(&c.told) {
        match value
            .as_array()
            .map(|all| all.iter().map(Value::as_object).collect::<Option<Vec<_>>>())
        {
            Some(Some(rows)) => tables.push_str(&told_table(key, &rows)),
            _ => values.row([key.to_owned(), plain(value)]),
        }
    }
    values.text() + &tables
}

/// A list of objects; the columns are the members of the first.
fn told_table(key: &str, rows: &[&Map<String, Value>]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| flat(row)).collect();
    let Some(first) = rows.first() else { return format!("{key}: none\n") };
    let mut table = Table(Vec::new());
    table.push(first.iter().map(|(k, _)| k.replace('_', " ").to_uppercase()).collect());
    for row in &rows {
        let cell =
            |key: &str| row.iter().find(|(k, _)| *k == key).map_or("-".into(), |c| plain(c.1));
        table.push(first.iter().map(|(k, _)| cell(k)).collect());
    }
    format!("{key}:\n{}", table.text())
}

/// The members of an object, and in place of one that is an object its members.
fn flat(object: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut all = Vec::new();
    for (key, value) in object {
        match value.as_object() {
            Some(inner) => all.extend(flat(inner)),
            None => all.push((key.as_str(), value)),
        }
    }
    all
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => or_dash(text.clone()),
        value => value.to_string(),
    }
}

fn plugins(all: &[PluginStatus]) -> String {
    let mut table = Table::new(["NAME", "MODE", "ARP", "DHCP", "ROUTES", "INSTANCES", "FILE"]);
    for p in all {
        table.row([
            p.name.clone(),
            mode(p.mode).into(),
            yes(p.arp),
            yes(p.dhcp),
            yes(p.routes),
            p.instances.to_string(),
            p.file.clone(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_latencies() {
        for (seconds, text) in
            [(-1.0, "0s"), (59.9, "59s"), (60.0, "1m00s"), (7325.0, "2h02m"), (90_000.0, "1d01h")]
        {
            assert_eq!(span(seconds), text);
        }
        for (ns, text) in [
            (0, "-"),
            (999, "999ns"),
            (1000, "1.00us"),
            (9_996, "10.0us"),
            (99_960, "100us"),
            (12_345_678, "12.3ms"),
            (3_000_000_000, "3.00s"),
        ] {
            assert_eq!(latency(ns), text);
        }
    }

    #[test]
    fn what_a_plugin_tells_is_values_and_tables() {
        let told = serde_json::json!({
            "server": "portolan:1296", "state": {"degraded": null},
            "connections": [{"address": "192.0.2.1:1296", "counters": {"in_flight": 3}}, {"address": "[::1]:1296", "counters": {"in_flight": 0}}],
            "none": [],
        });
        let told = told.as_object().cloned().unwrap_or_default();
        let c = Counters { id: 1, link: 7, name: Some("sdc0".into()), plugin: "svp".into(), told };
        let text = "sdc0      svp\nserver    portolan:1296\ndegraded  -\n\
            connections:\nADDRESS         IN FLIGHT\n192.0.2.1:1296  3\n[::1]:1296      0\nnone: none\n";
        assert_eq!(counters(&c), text);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "LONG", "LAST"]);
        table.row(["wide cell".into(), "x".into(), "two\nlines".into()]);
        assert_eq!(table.text(), "A          LONG  LAST\nwide cell  x     two lines\n");
    }
}
