// SPDX-License-Identifier: CDDL-1.0
//! Handlers that change. Each answers when the change is on disk.

use super::{Api, Problem};
use crate::change::{Change, Changes, Outcome};
use crate::net::Mac;
use crate::record::{Host, Network, Port};
use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;

pub type Done = Result<Json<Outcome>, Problem>;

pub async fn one(api: &Api, change: Change) -> Done {
    let changes = Changes { restore: false, changes: vec![change] };
    Ok(Json(api.server.directory.change(changes).await?))
}

/// What is said of a network.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkBody {
    /// For people.
    pub name: String,
}

/// Describes a network.
#[utoipa::path(
    put,
    path = "/api/v1/networks/{vnet}",
    params(("vnet" = u32, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn put_network(
    State(api): State<Api>,
    Path(vnet): Path<u32>,
    Json(NetworkBody { name }): Json<NetworkBody>,
) -> Done {
    one(&api, Change::Network(Network { vnet, name })).await
}

/// Forgets the description of a network without ports.
#[utoipa::path(
    delete,
    path = "/api/v1/networks/{vnet}",
    params(("vnet" = u32, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn delete_network(State(api): State<Api>, Path(vnet): Path<u32>) -> Done {
    one(&api, Change::DeleteNetwork { vnet }).await
}

/// Where a host is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostBody {
    /// Underlay address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// UDP port; that of VXLAN if not given.
    #[serde(default = "vxlan_port")]
    pub port: u16,
}

fn vxlan_port() -> u16 {
    4789
}

/// Puts a host, or gives it another underlay address.
#[utoipa::path(
    put,
    path = "/api/v1/hosts/{id}",
    params(("id" = Uuid, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn put_host(
    State(api): State<Api>,
    Path(id): Path<Uuid>,
    Json(HostBody { ip, port }): Json<HostBody>,
) -> Done {
    one(&api, Change::Host(Host { id, ip, port })).await
}

/// Removes a host without ports, and its log.
#[utoipa::path(
    delete,
    path = "/api/v1/hosts/{id}",
    params(("id" = Uuid, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn delete_host(State(api): State<Api>, Path(id): Path<Uuid>) -> Done {
    one(&api, Change::DeleteHost { id }).await
}

/// Who and where a guest is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortBody {
    /// Its Ethernet address.
    #[schema(value_type = String)]
    pub mac: Mac,
    /// The host that carries it.
    pub host: Uuid,
    /// 802.1Q tag of its frames, 0 for none.
    #[serde(default)]
    pub vlan: u16,
    /// Whether this is the address of a router.
    #[serde(default)]
    pub router: bool,
}

/// Puts a port, or changes it.
#[utoipa::path(
    put,
    path = "/api/v1/networks/{vnet}/ports/{ip}",
    params(("vnet" = u32, Path,), ("ip" = String, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn put_port(
    State(api): State<Api>,
    Path((vnet, ip)): Path<(u32, IpAddr)>,
    Json(PortBody { mac, host, vlan, router }): Json<PortBody>,
) -> Done {
    let port = Port { vnet, ip, mac, host, vlan, router, deleted: false, modified: 0 };
    one(&api, Change::Port(port)).await
}

/// Removes a port.
#[utoipa::path(
    delete,
    path = "/api/v1/networks/{vnet}/ports/{ip}",
    params(("vnet" = u32, Path,), ("ip" = String, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn delete_port(State(api): State<Api>, Path((vnet, ip)): Path<(u32, IpAddr)>) -> Done {
    one(&api, Change::DeletePort { vnet, ip }).await
}

/// Which guest goes where.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveBody {
    /// The port with this IP address,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// or all ports with this Ethernet address.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub mac: Option<Mac>,
    /// The host that carries it from now on.
    pub host: Uuid,
}

/// Moves a guest to another host.
#[utoipa::path(
    post,
    path = "/api/v1/networks/{vnet}/move",
    params(("vnet" = u32, Path,)),
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn move_guest(
    State(api): State<Api>,
    Path(vnet): Path<u32>,
    Json(MoveBody { ip, mac, host }): Json<MoveBody>,
) -> Done {
    one(&api, Change::Move { vnet, ip, mac, host }).await
}

/// Makes changes together, or none of them.
#[utoipa::path(
    post,
    path = "/api/v1/changes",
    responses((status = 200, body = Outcome), (status = "4XX", body = Problem))
)]
pub async fn changes(State(api): State<Api>, Json(changes): Json<Changes>) -> Done {
    Ok(Json(api.server.directory.change(changes).await?))
}
