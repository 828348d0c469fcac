// SPDX-License-Identifier: CDDL-1.0
//! Administration over HTTP: JSON, streams of JSON lines, metrics, a page for people.
//!
//! Who may: on a loopback address without a token everybody on this machine, through a name of this machine
//! only (a page of some other site that a browser here shows cannot use it). With a token, who has it.

mod auth;
mod read;
mod route;
mod stream;
mod write;

use crate::change::ChangeError;
use crate::serve::Server;
use crate::store::StoreError;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use read::{HostInfo, NetworkInfo, PortPage, Status};
pub use route::{AttachBody, DetachBody, RouterBody};
pub use write::{HostBody, MoveBody, NetworkBody, PortBody};

/// The largest request, bytes: about 100 000 changes.
const BODY_MAX: usize = 16 << 20;

/// What handlers work with.
#[derive(Clone)]
pub struct Api {
    /// The SVP side, with the directory.
    pub server: Arc<Server>,
    /// Who shows it may do anything. `None`: whoever reaches us.
    pub token: Option<Arc<str>>,
    /// When the server started.
    pub started: Instant,
    /// Streams end when it becomes true.
    pub stop: watch::Receiver<bool>,
}

/// What is answered when it is not done.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// In words.
    pub error: String,
}

impl Problem {
    fn new(status: StatusCode, error: impl std::fmt::Display) -> Problem {
        Problem { status, error: error.to_string() }
    }

    fn missing(what: impl std::fmt::Display) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, format_args!("there is no {what}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

impl From<ChangeError> for Problem {
    fn from(e: ChangeError) -> Problem {
        let status = match e {
            ChangeError::Missing(_) => StatusCode::NOT_FOUND,
            ChangeError::Conflict(_) => StatusCode::CONFLICT,
            ChangeError::Invalid(_) => StatusCode::BAD_REQUEST,
            ChangeError::Store(_) => StatusCode::INSUFFICIENT_STORAGE,
            ChangeError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Problem::new(status, e)
    }
}

impl From<StoreError> for Problem {
    fn from(e: StoreError) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, e)
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "portolan",
    description = "Directory of overlay networks: networks, hosts, ports, routes, and what hosts are told."
))]
struct Doc;

/// The handlers, and their description.
fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Doc::openapi())
        .routes(routes!(read::status))
        .routes(routes!(read::networks))
        .routes(routes!(read::network, write::put_network, write::delete_network))
        .routes(routes!(read::hosts))
        .routes(routes!(read::host, write::put_host, write::delete_host))
        .routes(routes!(read::host_log))
        .routes(routes!(read::ports))
        .routes(routes!(read::port, write::put_port, write::delete_port))
        .routes(routes!(write::move_guest))
        .routes(routes!(route::routers))
        .routes(routes!(route::put_router, route::delete_router))
        .routes(routes!(route::routes, route::put_route, route::delete_route))
        .routes(routes!(route::attachments, route::attach, route::detach))
        .routes(routes!(write::changes))
        .routes(routes!(stream::export))
        .routes(routes!(stream::watch))
        .routes(routes!(read::metrics))
}

/// The OpenAPI description, JSON.
pub fn openapi() -> String {
    let doc = described().into_openapi();
    doc.to_pretty_json().unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"))
}

/// All of it.
pub fn router(api: Api) -> Router {
    let (routes, doc) = described().split_for_parts();
    let doc: Arc<str> = doc.to_pretty_json().unwrap_or_default().into();
    let json = [(header::CONTENT_TYPE, "application/json")];
    routes
        .layer(middleware::from_fn_with_state(api.clone(), auth::check))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .route("/openapi.json", get(move || async move { (json, doc.to_string()) }))
        .route("/", get(page))
        .with_state(api)
}

/// The page shows nothing that it does not get from the API, with the token of whoever looks at it.
async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("page.html")))
}
