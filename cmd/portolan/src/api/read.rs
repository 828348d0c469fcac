// SPDX-License-Identifier: CDDL-1.0
//! Handlers that look.

use super::{Api, Problem};
use crate::index::Counts;
use crate::net::Mac;
use crate::record::{Host, LogRecord, Port, Write, port_key};
use crate::store::{Revision, Table};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::ops::Bound;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The server in numbers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// Of the program.
    pub version: &'static str,
    /// Seconds since it started.
    pub uptime: u64,
    /// Open connections of hosts.
    pub connections: i64,
    /// Requests answered since it started.
    pub requests: u64,
    /// What the directory holds.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How the server is.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, body = Status)))]
pub async fn status(State(api): State<Api>) -> Json<Status> {
    let server = &api.server;
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime: api.started.elapsed().as_secs(),
        connections: server.metrics.connections.get(),
        requests: server.metrics.requests(),
        counts: server.directory.read().counts(),
    })
}

/// Counters for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let counts = api.server.directory.read().counts();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.server.metrics.text(&counts))
}

/// A network with its size.
#[derive(Debug, Serialize, ToSchema)]
pub struct NetworkInfo {
    /// Its number.
    pub vnet: u32,
    /// If it is described.
    pub name: Option<String>,
    /// Addresses of guests.
    pub ports: u32,
    /// Hosts that carry them.
    pub hosts: usize,
    /// Addresses of its routers.
    #[schema(value_type = Vec<String>)]
    pub routers: Vec<IpAddr>,
}

fn network_info(api: &Api, vnet: u32) -> NetworkInfo {
    let index = api.server.directory.read();
    let (ports, hosts) = index.members(vnet).fold((0, 0), |(p, h), (_, n)| (p + n, h + 1));
    let routers = index.routers_of(vnet).map(|p| p.ip).collect();
    NetworkInfo { vnet, name: index.network(vnet).map(|n| n.name.clone()), ports, hosts, routers }
}

/// Networks that are described or have ports or routers.
#[utoipa::path(get, path = "/api/v1/networks", responses((status = 200, body = [NetworkInfo])))]
pub async fn networks(State(api): State<Api>) -> Json<Vec<NetworkInfo>> {
    let all = api.server.directory.read().networks();
    Json(all.into_iter().map(|vnet| network_info(&api, vnet)).collect())
}

/// One network.
#[utoipa::path(
    get,
    path = "/api/v1/networks/{vnet}",
    params(("vnet" = u32, Path,)),
    responses((status = 200, body = NetworkInfo), (status = 404, body = Problem))
)]
pub async fn network(
    State(api): State<Api>,
    Path(vnet): Path<u32>,
) -> Result<Json<NetworkInfo>, Problem> {
    let info = network_info(&api, vnet);
    match info.name.is_some() || info.ports > 0 || !info.routers.is_empty() {
        true => Ok(Json(info)),
        false => Err(Problem::missing(format_args!("network {vnet}"))),
    }
}

/// A host with its load.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostInfo {
    /// Where it is.
    #[serde(flatten)]
    pub host: Host,
    /// Ports on it, tombstones included.
    pub ports: u32,
    /// Log entries that it has not removed.
    pub log: usize,
}

/// All hosts.
#[utoipa::path(get, path = "/api/v1/hosts", responses((status = 200, body = [HostInfo])))]
pub async fn hosts(State(api): State<Api>) -> Json<Vec<HostInfo>> {
    let index = api.server.directory.read();
    let mut all: Vec<_> =
        index.hosts().map(|(host, ports, log)| HostInfo { host, ports, log }).collect();
    all.sort_unstable_by_key(|h| h.host.id);
    Json(all)
}

/// One host.
#[utoipa::path(
    get,
    path = "/api/v1/hosts/{id}",
    params(("id" = Uuid, Path,)),
    responses((status = 200, body = HostInfo), (status = 404, body = Problem))
)]
pub async fn host(State(api): State<Api>, Path(id): Path<Uuid>) -> Result<Json<HostInfo>, Problem> {
    let index = api.server.directory.read();
    let host = index.host(id).ok_or_else(|| Problem::missing(format_args!("host {id}")))?;
    let (ports, log) = (index.port_count(id), index.host_log(id).count());
    Ok(Json(HostInfo { host, ports, log }))
}

/// Log entries that a host has not removed, oldest first; at most 1000.
#[utoipa::path(
    get,
    path = "/api/v1/hosts/{id}/log",
    params(("id" = Uuid, Path,)),
    responses((status = 200, body = [LogRecord]))
)]
pub async fn host_log(State(api): State<Api>, Path(id): Path<Uuid>) -> Json<Vec<LogRecord>> {
    let index = api.server.directory.read();
    let record = |(seq, named): (u64, svp::log::Named)| LogRecord {
        host: id,
        seq,
        id: named.id,
        event: (&named.entry).into(),
    };
    Json(index.host_log(id).take(PAGE_MAX).map(record).collect())
}

const PAGE_MAX: usize = 1000;

/// Which ports to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PortQuery {
    /// Begin behind this address: `next` of the page before.
    #[param(value_type = Option<String>)]
    after: Option<IpAddr>,
    /// Only on this host.
    host: Option<Uuid>,
    /// Only with this Ethernet address.
    #[param(value_type = Option<String>)]
    mac: Option<Mac>,
    /// At most so many: 100 if not given, 1000 at most.
    limit: Option<usize>,
}

/// Ports of a network in order of address.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PortPage {
    /// Revision of the directory they are of.
    pub revision: Revision,
    /// The ports.
    pub ports: Vec<Port>,
    /// What to give as `after` for those that follow, if any do.
    #[schema(value_type = Option<String>)]
    pub next: Option<IpAddr>,
}

/// Ports of a network.
#[utoipa::path(
    get,
    path = "/api/v1/networks/{vnet}/ports",
    params(("vnet" = u32, Path,), PortQuery),
    responses((status = 200, body = PortPage))
)]
pub async fn ports(
    State(api): State<Api>,
    Path(vnet): Path<u32>,
    Query(query): Query<PortQuery>,
) -> Result<Json<PortPage>, Problem> {
    let page = tokio::task::spawn_blocking(move || page(&api, vnet, &query)).await;
    match page {
        Ok(page) => page.map(Json),
        Err(e) => Err(Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, e)),
    }
}

fn page(api: &Api, vnet: u32, query: &PortQuery) -> Result<PortPage, Problem> {
    let limit = query.limit.unwrap_or(100).clamp(1, PAGE_MAX);
    let snapshot = api.server.directory.snapshot()?;
    let from = query.after.unwrap_or(IpAddr::from([0u16; 8]));
    let prefix = vnet.to_be_bytes();
    let behind = match query.after {
        Some(ip) => Bound::Excluded(port_key(vnet, ip)),
        None => Bound::Unbounded,
    };
    let mut page = PortPage { revision: snapshot.revision(), ports: Vec::new(), next: None };
    snapshot.scan(Table::Ports, &port_key(vnet, from), &mut |key, value| {
        if !key.starts_with(&prefix) {
            return false;
        }
        if matches!(&behind, Bound::Excluded(at) if at == key) {
            return true;
        }
        let Ok(Write::Port(_, _, Some(port))) = Write::from_record(Table::Ports, key, value) else {
            return true;
        };
        let fits =
            query.host.is_none_or(|h| h == port.host) && query.mac.is_none_or(|m| m == port.mac);
        if fits && page.ports.len() == limit {
            page.next = page.ports.last().map(|p| p.ip);
            return false;
        }
        if fits {
            page.ports.push(port);
        }
        true
    })?;
    Ok(page)
}

/// One port.
#[utoipa::path(
    get,
    path = "/api/v1/networks/{vnet}/ports/{ip}",
    params(("vnet" = u32, Path,), ("ip" = String, Path,)),
    responses((status = 200, body = Port), (status = 404, body = Problem))
)]
pub async fn port(
    State(api): State<Api>,
    Path((vnet, ip)): Path<(u32, IpAddr)>,
) -> Result<Json<Port>, Problem> {
    let port = api.server.directory.read().port(vnet, ip);
    port.map(Json).ok_or_else(|| Problem::missing(format_args!("port {ip} in network {vnet}")))
}
