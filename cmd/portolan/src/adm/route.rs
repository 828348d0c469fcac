// SPDX-License-Identifier: CDDL-1.0
//! Commands of routers, attachments and routes.

use super::args::{RouteCommand, RouterCommand, Sides};
use super::client::Client;
use super::output::Output;
use crate::api::{AttachBody, DetachBody, RouterBody};
use crate::change::{Side, SideKey};
use crate::record::{Route, RouteKey};
use anyhow::Result;

const ATTACHMENTS: &str = "/api/v1/attachments";

pub fn router(client: &Client, out: &Output, command: RouterCommand) -> Result<()> {
    let path = |vnet, ip| format!("/api/v1/networks/{vnet}/routers/{ip}");
    match command {
        RouterCommand::List => out.routers(&client.get("/api/v1/routers")?),
        RouterCommand::Set { vnet, ip, mac, vlan } => {
            out.done(&client.put(&path(vnet, ip), &RouterBody { mac, vlan })?)
        }
        RouterCommand::Delete { vnet, ip } => out.done(&client.delete(&path(vnet, ip))?),
    }
}

pub fn attach(client: &Client, out: &Output, s: &Sides, dcid: u32, r_dcid: u32) -> Result<()> {
    let a = Side { vnet: s.vnet, subnet: s.subnet, dcid };
    let b = Side { vnet: s.r_vnet, subnet: s.r_subnet, dcid: r_dcid };
    out.done(&client.post(ATTACHMENTS, &AttachBody { a, b })?)
}

pub fn detach(client: &Client, out: &Output, s: &Sides) -> Result<()> {
    let a = SideKey { vnet: s.vnet, subnet: s.subnet };
    let b = SideKey { vnet: s.r_vnet, subnet: s.r_subnet };
    out.done(&client.delete_body(ATTACHMENTS, &DetachBody { a, b })?)
}

pub fn attachments(client: &Client, out: &Output) -> Result<()> {
    out.attachments(&client.get(ATTACHMENTS)?)
}

pub fn route(client: &Client, out: &Output, command: RouteCommand) -> Result<()> {
    const PATH: &str = "/api/v1/routes";
    match command {
        RouteCommand::List => out.routes(&client.get(PATH)?),
        RouteCommand::Set { key, r_dcid, r_vnet, r_vlan, r_send_mac } => {
            let route = Route {
                vnet: key.vnet,
                vlan: key.vlan,
                subnet: key.subnet,
                r_subnet: key.r_subnet,
                r_dcid,
                r_vnet,
                r_vlan,
                r_send_mac,
                net_uuid: None,
                r_net_uuid: None,
                deleted: false,
                modified: 0,
            };
            out.done(&client.put(PATH, &route)?)
        }
        RouteCommand::Delete { key } => {
            let key: RouteKey = key.into();
            out.done(&client.delete_body(PATH, &key)?)
        }
    }
}
