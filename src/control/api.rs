//! The control listener: what a running server tells and is told, as HTTP on a unix socket or TCP.
//!
//! ```text
//! answers   GET  /v1/status, /v1/explain, /v1/shares, /v1/zones/{zone}/export
//! lists     GET  /v1/zones and below, /v1/names, /v1/pools, /v1/backends, /v1/checks: one by one, or in pages
//! states    PUT  /v1/state (globs), /v1/zones/{zone}/pools/{pool}/backends/{backend}/state (GET, PUT)
//! acts      POST /v1/drill, /v1/reload, /-/reload, /v1/replace; PUT or POST /v1/push/{zone}/{pool}/{backend}
//! events    GET  /v1/events (server-sent events), /v1/changes, /v1/transitions, /v1/journal
//! tail      GET  /v1/tail (server-sent events): live answers
//! metrics   GET  /metrics, for Prometheus
//! dashboard GET  / and its files
//! document  GET  /openapi.json
//!           GET  /livez, /readyz: for supervisors, 200, or 503 before the first verdicts
//! ```
//!
//! A route is one function with its annotation: [`utoipa_axum`] makes router and document of the same. Errors are problem
//! details (RFC 9457), a [`view::Problem`](super::view::Problem). `auth` says who may ask for what. Decides nothing: every
//! answer comes from [`Control`].

mod acts;
mod answers;
mod auth;
mod dashboard;
mod document;
mod drill;
mod error;
mod events;
mod extract;
mod guard;
mod journal;
mod limits;
mod listener;
mod lists;
mod metrics;
mod server;
mod states;
mod tail;

pub(crate) use auth::Tokens;
pub use listener::{ControlBindError, ControlListener};
pub(crate) use server::serve_router;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Control;
use crate::config::plan::Scope;
use document::Document;
use error::ApiError;
use events::MAX_WATCHERS;

/// `/readyz` answers at once, ready or not.
const READY_PATIENCE: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct Api {
    control: Control,
    watchers: Arc<Semaphore>,
    /// One drill at a time.
    drills: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// Serves the control API until `shutdown` completes, then lets requests in flight finish, 1.5 s at most.
pub async fn serve(
    listener: ControlListener,
    control: Control,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let tokens = control.tokens();
    let (watchers, drills) = (Arc::new(Semaphore::new(MAX_WATCHERS)), Arc::new(Semaphore::new(1)));
    let router = router(Api { control, watchers, drills, stopping });
    serve_router(listener, router, Some(tokens), async move {
        shutdown.await;
        // Event streams would go on for ever: they end first.
        let _ = stop.send(true);
    })
    .await
}

fn router(api: Api) -> Router {
    let (router, document) = parts(&api);
    let text = document.to_json().unwrap_or_default();
    router
        .fallback(|| async { ApiError(StatusCode::NOT_FOUND, "there is nothing at this path".to_string()) })
        .method_not_allowed_fallback(|| async {
            ApiError(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method".to_string())
        })
        .layer(DefaultBodyLimit::max(limits::MAX_BODY))
        .layer(axum::middleware::from_fn(limits::limit_time))
        .layer(Extension(Document(Bytes::from(text))))
        .with_state(api)
}

/// Every route, and the document that tells them all. A new route stands here, in the group whose scope it needs.
fn parts(api: &Api) -> (Router<Api>, OpenApi) {
    let guarded = |scope: Scope, group: OpenApiRouter<Api>| {
        let guard = auth::Guard { tokens: api.control.tokens(), scope };
        let mut group = group
            .route_layer(axum::middleware::from_fn(limits::read_body))
            .route_layer(axum::middleware::from_fn_with_state(guard, auth::authorize));
        document::secure(group.get_openapi_mut(), scope);
        group
    };
    let reading = answers::router()
        .merge(lists::router())
        .merge(states::reading())
        .merge(events::router())
        .merge(journal::router())
        .merge(metrics::router());
    let writing = states::writing().merge(acts::writing()).merge(drill::router()).merge(tail::router());
    let open = dashboard::router().merge(document::router()).routes(routes!(livez)).routes(routes!(readyz));
    let mut all = OpenApiRouter::with_openapi(document::beginning())
        .merge(guarded(Scope::Read, reading))
        .merge(guarded(Scope::Write, writing))
        .merge(guarded(Scope::Push, acts::pushing()))
        .merge(open);
    document::complete(all.get_openapi_mut());
    all.split_for_parts()
}

/// Whether the process answers at all.
#[utoipa::path(get, path = "/livez", tag = "process", responses((status = 200, description = "It does.", body = String)))]
async fn livez() -> &'static str {
    "ok\n"
}

/// Whether queries are answered: from the first verdicts on.
#[utoipa::path(
    get, path = "/readyz", tag = "process",
    responses(
        (status = 200, description = "They are.", body = String),
        (status = 503, description = "Not yet.", body = super::view::Problem, content_type = "application/problem+json"),
    )
)]
async fn readyz(State(api): State<Api>) -> Result<&'static str, ApiError> {
    match tokio::time::timeout(READY_PATIENCE, api.control.ready()).await {
        Ok(()) => Ok("ok\n"),
        Err(_) => Err(ApiError(StatusCode::SERVICE_UNAVAILABLE, "waiting for the first verdicts".to_string())),
    }
}

/// What is true now is not true later.
fn fresh(body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
