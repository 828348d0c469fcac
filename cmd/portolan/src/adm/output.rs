// SPDX-License-Identifier: CDDL-1.0
//! What is shown: tables for people, JSON lines for programs.

use crate::record::Port;
use anyhow::Result;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

pub struct Output {
    pub json: bool,
}

/// A field as text: strings bare, nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => "-".into(),
        Value::Array(all) if all.is_empty() => "-".into(),
        Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Output {
    /// Rows of an array of objects, columns by their keys.
    fn table(&self, list: &Value, columns: &[(&str, &str)]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        let rows: Vec<&Value> = list.as_array().into_iter().flatten().collect();
        if self.json {
            for row in rows {
                writeln!(out, "{row}")?;
            }
            return Ok(());
        }
        let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        // A key such as a/vnet is a field within a field.
        let cell = |row: &Value, key| row.pointer(&format!("/{key}")).map_or("-".into(), text);
        let cells = |row: &Value| columns.iter().map(|(_, key)| cell(row, key)).collect();
        let all: Vec<Vec<String>> =
            std::iter::once(heads).chain(rows.into_iter().map(cells)).collect();
        let width = |at: usize| all.iter().map(|row| row[at].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        for row in &all {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    pub fn status(&self, status: &Value) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            return Ok(writeln!(out, "{status}")?);
        }
        for (key, value) in status.as_object().into_iter().flatten() {
            writeln!(out, "{key:>12}  {}", text(value))?;
        }
        Ok(())
    }

    pub fn networks(&self, list: &Value) -> Result<()> {
        let columns = [
            ("NETWORK", "vnet"),
            ("NAME", "name"),
            ("PORTS", "ports"),
            ("HOSTS", "hosts"),
            ("ROUTERS", "routers"),
        ];
        self.table(list, &columns)
    }

    pub fn hosts(&self, list: &Value) -> Result<()> {
        let columns = [
            ("HOST", "id"),
            ("UNDERLAY", "ip"),
            ("PORT", "port"),
            ("PORTS", "ports"),
            ("LOG", "log"),
        ];
        self.table(list, &columns)
    }

    pub fn log(&self, list: &Value) -> Result<()> {
        self.table(list, &[("SEQ", "seq"), ("ID", "id"), ("EVENT", "event")])
    }

    pub fn routes(&self, list: &Value) -> Result<()> {
        let columns = [
            ("NETWORK", "vnet"),
            ("VLAN", "vlan"),
            ("FROM", "subnet"),
            ("TO", "r_subnet"),
            ("DC", "r_dcid"),
            ("NETWORK", "r_vnet"),
            ("VLAN", "r_vlan"),
            ("ETHERNET", "r_send_mac"),
        ];
        self.table(list, &columns)
    }

    pub fn routers(&self, list: &Value) -> Result<()> {
        let columns =
            [("NETWORK", "vnet"), ("ROUTER", "ip"), ("ETHERNET", "mac"), ("VLAN", "vlan")];
        self.table(list, &columns)
    }

    pub fn attachments(&self, list: &Value) -> Result<()> {
        let columns = [
            ("NETWORK", "a/vnet"),
            ("VLAN", "a/vlan"),
            ("SUBNET", "a/subnet"),
            ("DC", "a/dcid"),
            ("NETWORK", "b/vnet"),
            ("VLAN", "b/vlan"),
            ("SUBNET", "b/subnet"),
            ("DC", "b/dcid"),
        ];
        self.table(list, &columns)
    }

    pub fn ports_head(&self) -> Result<()> {
        if !self.json {
            let head = ["NETWORK", "IP", "ETHERNET", "HOST"];
            let [network, ip, mac, host] = head;
            let mut out = std::io::stdout();
            writeln!(out, "{network:<8}  {ip:<24}  {mac:<17}  {host:<36}  VLAN")?;
        }
        Ok(())
    }

    pub fn ports(&self, ports: &[Port]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for p in ports {
            if self.json {
                writeln!(out, "{}", serde_json::to_string(p)?)?;
                continue;
            }
            let flags = [(p.router, " router"), (p.deleted, " deleted")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, f)| *f).collect();
            let (ip, mac) = (p.ip.to_string(), p.mac.to_string());
            writeln!(out, "{:<8}  {ip:<24}  {mac:<17}  {}  {}{flags}", p.vnet, p.host, p.vlan)?;
        }
        Ok(())
    }

    /// A change was made.
    pub fn done(&self, outcome: &Value) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match self.json {
            true => writeln!(out, "{outcome}")?,
            false if outcome["written"] == 0 => writeln!(out, "nothing to change")?,
            false => writeln!(
                out,
                "done, revision {}; {} log entries for hosts",
                outcome["revision"], outcome["logged"]
            )?,
        }
        Ok(())
    }

    pub fn imported(&self, records: usize, written: u64, time: Duration) -> Result<()> {
        let (seconds, rate) = (time.as_secs_f64(), records as f64 / time.as_secs_f64().max(0.001));
        let mut out = std::io::stdout().lock();
        match self.json {
            true => writeln!(
                out,
                "{}",
                json!({"records": records, "written": written, "seconds": seconds})
            )?,
            false => writeln!(
                out,
                "{records} records in {seconds:.1} s ({rate:.0} a second), {written} written"
            )?,
        }
        Ok(())
    }

    /// A line of the stream of changes.
    pub fn changed(&self, line: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            return Ok(writeln!(out, "{line}")?);
        }
        let changed: Value = serde_json::from_str(line)?;
        let shown = changed["changes"].as_array().map_or(0, Vec::len);
        for change in changed["changes"].as_array().into_iter().flatten() {
            writeln!(out, "{:>8}  {change}", text(&changed["revision"]))?;
        }
        let count = changed["count"].as_u64().unwrap_or(0) as usize;
        if count > shown {
            writeln!(out, "{:>8}  and {} more", text(&changed["revision"]), count - shown)?;
        }
        Ok(())
    }
}
