// SPDX-License-Identifier: CDDL-1.0
//! portolanadm: the API of portolan as a command.

mod args;
mod client;
mod import;
mod output;
mod route;

pub use args::Args;
use args::{AttachmentCommand, Command, Format, Guest, HostCommand, NetworkCommand, PortCommand};

use crate::api::{HostBody, MoveBody, NetworkBody, PortBody, PortPage};
use crate::change::Change;
use crate::record::Port;
use anyhow::{Context, Result};
use clap::Parser;
use client::Client;
use output::Output;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::net::IpAddr;
use std::process::ExitCode;

/// The whole program; `args` start with its name. A library function, so that the lab holds this program
/// too.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(Args::parse_from(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // A reader that has seen enough (head, less) is no failure.
            let pipe = e.downcast_ref::<std::io::Error>();
            if pipe.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS;
            }
            eprintln!("portolanadm: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the command line says.
pub fn run(args: Args) -> Result<()> {
    let client = Client::new(&args)?;
    let out = Output { json: args.json };
    match args.command {
        Command::Status => out.status(&client.get("/api/v1/status")?),
        Command::Network(c) => network(&client, &out, c),
        Command::Host(c) => host(&client, &out, c),
        Command::Port(c) => port(&client, &out, c),
        Command::Router(c) => route::router(&client, &out, c),
        Command::Attach { sides, dcid, r_dcid } => {
            route::attach(&client, &out, &sides, dcid, r_dcid)
        }
        Command::Detach { sides } => route::detach(&client, &out, &sides),
        Command::Attachment(AttachmentCommand::List) => route::attachments(&client, &out),
        Command::Route(c) => route::route(&client, &out, c),
        Command::Import(import) => import::run(&client, &out, &import),
        Command::Export { format } => export(&client, format),
        Command::Watch => watch(&client, &out),
    }
}

fn network(client: &Client, out: &Output, command: NetworkCommand) -> Result<()> {
    let path = |vnet: u32| format!("/api/v1/networks/{vnet}");
    match command {
        NetworkCommand::List => out.networks(&client.get("/api/v1/networks")?),
        NetworkCommand::Show { vnet } => {
            out.networks(&Value::Array(vec![client.get(&path(vnet))?]))
        }
        NetworkCommand::Set { vnet, name } => {
            out.done(&client.put(&path(vnet), &NetworkBody { name })?)
        }
        NetworkCommand::Delete { vnet } => out.done(&client.delete(&path(vnet))?),
    }
}

fn host(client: &Client, out: &Output, command: HostCommand) -> Result<()> {
    let path = |id| format!("/api/v1/hosts/{id}");
    match command {
        HostCommand::List => out.hosts(&client.get("/api/v1/hosts")?),
        HostCommand::Show { id } => out.hosts(&Value::Array(vec![client.get(&path(id))?])),
        HostCommand::Set { id, ip, port } => {
            out.done(&client.put(&path(id), &HostBody { ip, port })?)
        }
        HostCommand::Delete { id } => out.done(&client.delete(&path(id))?),
        HostCommand::Log { id } => out.log(&client.get(&format!("{}/log", path(id)))?),
    }
}

fn port(client: &Client, out: &Output, command: PortCommand) -> Result<()> {
    let path = |vnet: u32, ip: IpAddr| format!("/api/v1/networks/{vnet}/ports/{ip}");
    match command {
        PortCommand::List { vnet, host, mac } => {
            let mut query = String::new();
            if let Some(host) = host {
                query += &format!("&host={host}");
            }
            if let Some(mac) = mac {
                query += &format!("&mac={mac}");
            }
            list_ports(client, out, vnet, &query)
        }
        PortCommand::Show { vnet, ip } => {
            let port: Port = serde_json::from_value(client.get(&path(vnet, ip))?)?;
            out.ports_head()?;
            out.ports(&[port])
        }
        PortCommand::Set { vnet, ip, mac, host, vlan, router } => {
            out.done(&client.put(&path(vnet, ip), &PortBody { mac, host, vlan, router })?)
        }
        PortCommand::Delete { vnet, ip } => out.done(&client.delete(&path(vnet, ip))?),
        PortCommand::Move { vnet, guest, host } => {
            let body = match guest {
                Guest::Ip(ip) => MoveBody { ip: Some(ip), mac: None, host },
                Guest::Mac(mac) => MoveBody { ip: None, mac: Some(mac), host },
            };
            out.done(&client.post(&format!("/api/v1/networks/{vnet}/move"), &body)?)
        }
    }
}

/// Page by page, so that a million ports need no more memory than a thousand.
fn list_ports(client: &Client, out: &Output, vnet: u32, query: &str) -> Result<()> {
    out.ports_head()?;
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/networks/{vnet}/ports?limit=1000{query}{after}");
        let page: PortPage = serde_json::from_value(client.get(&path)?)?;
        out.ports(&page.ports)?;
        match page.next {
            Some(ip) => after = format!("&after={ip}"),
            None => return Ok(()),
        }
    }
}

fn export(client: &Client, format: Format) -> Result<()> {
    let mut to = std::io::BufWriter::new(std::io::stdout().lock());
    for line in client.lines("/api/v1/export")? {
        let line = line?;
        match format {
            Format::Jsonl => writeln!(to, "{line}")?,
            Format::Moray => {
                let change: Change = serde_json::from_str(&line).context("export")?;
                if let Some((bucket, key, value)) = crate::moray::write(&change) {
                    let object = serde_json::json!({"bucket": bucket, "key": key, "value": value});
                    writeln!(to, "{object}")?;
                }
            }
        }
    }
    to.flush()?;
    Ok(())
}

fn watch(client: &Client, out: &Output) -> Result<()> {
    for line in client.lines("/api/v1/watch")?.map_while(Result::ok).filter(|l| !l.is_empty()) {
        out.changed(&line)?;
        std::io::stdout().flush()?;
    }
    anyhow::bail!("the server has ended the stream")
}

/// Lines of an answer.
pub(crate) fn lines_of(reader: impl std::io::Read) -> impl Iterator<Item = Result<String>> {
    std::io::BufReader::new(reader).lines().map(|line| line.context("the answer was cut off"))
}
