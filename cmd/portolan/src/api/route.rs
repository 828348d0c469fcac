// SPDX-License-Identifier: CDDL-1.0
//! Handlers of routes, of the router addresses that guests send to, and of attachments: pairs of routes
//! that lead to each other.

use super::write::{Done, one};
use super::{Api, Problem};
use crate::change::{Change, Side, SideKey};
use crate::net::{Mac, Subnet};
use crate::record::{Port, Route, RouteKey};
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A router address.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterBody {
    /// Its Ethernet address, from which routed frames come too.
    #[schema(value_type = String)]
    pub mac: Mac,
    /// 802.1Q tag of the frames in its network, 0 for none.
    #[serde(default)]
    pub vlan: u16,
}

/// Router addresses of all networks.
#[utoipa::path(get, path = "/api/v1/routers", responses((status = 200, body = [Port])))]
pub async fn routers(State(api): State<Api>) -> Json<Vec<Port>> {
    let index = api.server.directory.read();
    Json(index.routers().collect())
}

/// Puts a router address, or changes it.
#[utoipa::path(
    put,
    path = "/api/v1/networks/{vnet}/routers/{ip}",
    params(("vnet" = u32, Path,), ("ip" = String, Path,)),
    responses((status = 200, body = crate::change::Outcome), (status = "4XX", body = Problem))
)]
pub async fn put_router(
    State(api): State<Api>,
    Path((vnet, ip)): Path<(u32, IpAddr)>,
    Json(RouterBody { mac, vlan }): Json<RouterBody>,
) -> Done {
    let host = Uuid::nil();
    let port = Port { vnet, ip, mac, host, vlan, router: true, deleted: false, modified: 0 };
    one(&api, Change::Port(port)).await
}

/// Removes a router address.
#[utoipa::path(
    delete,
    path = "/api/v1/networks/{vnet}/routers/{ip}",
    params(("vnet" = u32, Path,), ("ip" = String, Path,)),
    responses((status = 200, body = crate::change::Outcome), (status = "4XX", body = Problem))
)]
pub async fn delete_router(State(api): State<Api>, Path((vnet, ip)): Path<(u32, IpAddr)>) -> Done {
    let there = api.server.directory.read().port(vnet, ip).is_some_and(|p| p.is_router());
    if !there {
        return Err(Problem::missing(format_args!("router address {ip} in network {vnet}")));
    }
    one(&api, Change::DeletePort { vnet, ip }).await
}

/// How many to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Most {
    /// At most so many; all if not given.
    limit: Option<usize>,
}

impl Most {
    fn or_all(&self) -> usize {
        self.limit.unwrap_or(usize::MAX)
    }
}

/// Routes by network, tag, source and destination.
#[utoipa::path(
    get,
    path = "/api/v1/routes",
    params(Most),
    responses((status = 200, body = [Route]))
)]
pub async fn routes(State(api): State<Api>, Query(most): Query<Most>) -> Json<Vec<Route>> {
    let index = api.server.directory.read();
    Json(index.routes().take(most.or_all()).cloned().collect())
}

/// Puts a route, or changes it.
#[utoipa::path(
    put,
    path = "/api/v1/routes",
    responses((status = 200, body = crate::change::Outcome), (status = "4XX", body = Problem))
)]
pub async fn put_route(State(api): State<Api>, Json(route): Json<Route>) -> Done {
    one(&api, Change::Route(route)).await
}

/// Removes a route.
#[utoipa::path(
    delete,
    path = "/api/v1/routes",
    responses((status = 200, body = crate::change::Outcome), (status = "4XX", body = Problem))
)]
pub async fn delete_route(State(api): State<Api>, Json(key): Json<RouteKey>) -> Done {
    one(&api, Change::DeleteRoute(key)).await
}

/// What is attached to what.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachBody {
    /// One.
    pub a: Side,
    /// The other.
    pub b: Side,
}

/// Attaches two subnets: routes from each to the other, by their router addresses.
#[utoipa::path(
    post,
    path = "/api/v1/attachments",
    responses((status = 200, body = crate::change::Outcome), (status = "4XX", body = Problem))
)]
pub async fn attach(State(api): State<Api>, Json(AttachBody { a, b }): Json<AttachBody>) -> Done {
    one(&api, Change::Attach { a, b }).await
}

/// What is detached from what.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachBody {
    /// One.
    pub a: SideKey,
    /// The other.
    pub b: SideKey,
}

/// Detaches two subnets: removes the routes from each to the other.
#[utoipa::path(
    delete,
    path = "/api/v1/attachments",
    responses((status = 200, body = crate::change::Outcome), (status = "4XX", body = Problem))
)]
pub async fn detach(State(api): State<Api>, Json(DetachBody { a, b }): Json<DetachBody>) -> Done {
    one(&api, Change::Detach { a, b }).await
}

/// Two subnets that are attached to each other.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// One.
    pub a: AttachedSide,
    /// The other.
    pub b: AttachedSide,
}

/// A side of an attachment, as the routes between both have it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AttachedSide {
    /// Its network.
    pub vnet: u32,
    /// 802.1Q tag there.
    pub vlan: u16,
    /// Its addresses.
    #[schema(value_type = String)]
    pub subnet: Subnet,
    /// Its data centre.
    pub dcid: u32,
    /// Source Ethernet address of frames that are routed there.
    #[schema(value_type = String)]
    pub mac: Mac,
}

/// The destination of a route.
fn side(r: &Route) -> AttachedSide {
    AttachedSide {
        vnet: r.r_vnet,
        vlan: r.r_vlan,
        subnet: r.r_subnet,
        dcid: r.r_dcid,
        mac: r.r_send_mac,
    }
}

/// Subnets that are attached to each other. A route that has none back is in the list of routes only.
#[utoipa::path(
    get,
    path = "/api/v1/attachments",
    params(Most),
    responses((status = 200, body = [Attachment]))
)]
pub async fn attachments(
    State(api): State<Api>,
    Query(most): Query<Most>,
) -> Json<Vec<Attachment>> {
    let index = api.server.directory.read();
    let both = index.routes().filter(|r| !r.deleted).filter_map(|there| {
        let key = RouteKey {
            vnet: there.r_vnet,
            vlan: there.r_vlan,
            subnet: there.r_subnet,
            r_subnet: there.subnet,
        };
        let back = index.route_at(&key).filter(|back| !back.deleted)?;
        // Each pair once, and only if the way back leads to where we came from.
        let is = (back.r_vnet, back.r_vlan) == (there.vnet, there.vlan) && there.key() < key;
        is.then(|| Attachment { a: side(back), b: side(there) })
    });
    Json(both.take(most.or_all()).collect())
}
