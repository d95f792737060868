//! The control listener: what a running server tells and is told, as HTTP on a unix socket or loopback TCP.
//!
//! ```text
//! GET  /v1/status                       view::Status
//! GET  /v1/explain?name=&type=&client=&shares=true&down=  view::Explanation
//! GET  /v1/zones/{zone}/export?client=  the zone as a master file, text/dns (RFC 4027)
//! PUT  /v1/state    view::StateChange   view::StateChanged
//! PUT  /v1/push/ZONE/POOL/BACKEND?check=  view::Pushed; the body, plain text, is the status: agent-check words
//! POST /v1/reload?force=, /-/reload     view::ReloadStatus, 422 when it was refused
//! POST /v1/drill   drill::DrillRequest  server-sent events: progress, then drill::DrillReport; a DrillPlan for a dry run
//! GET  /v1/tail?name=&client=&rcode=&rate=  server-sent events: live answers, tail::Answer
//! POST /v1/replace                      replacing::Replaced, when a new process answers on the same sockets
//! GET  /v1/events                       server-sent events: a Status at once and one for each new generation
//! GET  /                                the dashboard: one page, its style and its script
//! GET  /livez, /readyz                  for supervisors: 200, or 503 before the first verdicts
//! ```
//!
//! Errors are problem details (RFC 9457), a [`view::Problem`](super::view::Problem). `auth` says who may ask for what. Decides nothing: every answer comes from [`Control`].

mod auth;
mod dashboard;
mod drill;
mod guard;
mod listener;
mod server;
mod tail;

pub(crate) use auth::Tokens;
pub use listener::{ControlBindError, ControlListener};
pub(crate) use server::serve_router;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection, StringRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::view::{ExplainQuery, Problem, Push, StateChange};
use super::{Control, ControlError, ReloadCause};
use auth::Caller;

use crate::config::plan::Scope;

/// Largest request body, octets. A state change is a few hundred.
const MAX_BODY: usize = 64 * 1024;
/// For one request; a reload of large zones that waits for new probes is the longest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Event streams at once: fewer than connections, so that watchers never shut out commands.
const MAX_WATCHERS: usize = 32;
/// An event stream without news says that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// `/readyz` answers at once, ready or not.
const READY_PATIENCE: Duration = Duration::from_millis(50);

/// Whose answers an export holds.
#[derive(Debug, serde::Deserialize)]
struct ExportQuery {
    client: Option<IpAddr>,
}

#[derive(Clone)]
struct Api {
    control: Control,
    watchers: Arc<Semaphore>,
    /// One drill at a time.
    drills: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// An error as the client sees it.
#[derive(Debug)]
struct ApiError(StatusCode, String);

/// Serves the control API until `shutdown` completes, then lets requests in flight finish, 2 s at most.
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
    let may = |scope| {
        let guard = auth::Guard { tokens: api.control.tokens(), scope };
        axum::middleware::from_fn_with_state(guard, auth::authorize)
    };
    let reading = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/explain", get(explain))
        .route("/v1/zones/{zone}/export", get(export))
        .route("/v1/events", get(events))
        .route_layer(may(Scope::Read));
    let writing = Router::new()
        .route("/v1/state", put(set_state))
        .route("/v1/drill", post(drill::drill))
        .route("/v1/tail", get(tail::tail))
        .route("/v1/reload", post(reload))
        .route("/-/reload", post(reload))
        .route("/v1/replace", post(replace))
        .route_layer(may(Scope::Write));
    let pushing =
        Router::new().route("/v1/push/{zone}/{pool}/{backend}", put(push).post(push)).route_layer(may(Scope::Push));
    Router::new()
        .merge(reading)
        .merge(writing)
        .merge(pushing)
        .merge(dashboard::router())
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(|| async { ApiError(StatusCode::NOT_FOUND, "there is nothing at this path".to_string()) })
        .method_not_allowed_fallback(|| async {
            ApiError(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method".to_string())
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(limit_time))
        .with_state(api)
}

async fn status(State(api): State<Api>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.status().await?)))
}

async fn explain(
    State(api): State<Api>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(mut query) = query.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    // `&type=&client=` as a form sends them: left empty is not given.
    query.rtype = query.rtype.filter(|text| !text.is_empty());
    query.client = query.client.filter(|text| !text.is_empty());
    query.down = query.down.filter(|text| !text.is_empty());
    Ok(fresh(Json(api.control.explain(query).await?)))
}

async fn export(
    State(api): State<Api>,
    zone: Result<Path<String>, PathRejection>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Path(zone) = zone.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let Query(query) = query.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let text = api.control.export(zone, query.client.unwrap_or(Ipv4Addr::LOCALHOST.into())).await?;
    Ok(fresh(([(header::CONTENT_TYPE, "text/dns")], text)))
}

async fn set_state(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    change: Result<Json<StateChange>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(mut change) = change.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    if change.by.as_deref().is_none_or(|by| by.trim().is_empty()) {
        change.by = Some(caller.0);
    }
    Ok(fresh(Json(api.control.set_state(change).await?)))
}

/// Which check a heartbeat is for.
#[derive(Debug, serde::Deserialize)]
struct PushQuery {
    #[serde(default)]
    check: Option<String>,
}

async fn push(
    State(api): State<Api>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<PushQuery>, QueryRejection>,
    body: Result<String, StringRejection>,
) -> Result<Response, ApiError> {
    let Path((zone, pool, backend)) = path.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let Query(query) = query.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let body = body.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let zone = if zone == "." { "." } else { zone.trim_end_matches('.') };
    let push = Push {
        backend: format!("{}/{pool}/{backend}", zone.to_ascii_lowercase()),
        check: query.check.filter(|check| !check.is_empty()),
        status: Some(body),
    };
    Ok(fresh(Json(api.control.push(push).await?)))
}

#[derive(serde::Deserialize)]
struct ReloadQuery {
    #[serde(default)]
    force: bool,
}

async fn reload(
    State(api): State<Api>,
    query: Result<Query<ReloadQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let cause = if query.force { ReloadCause::Force } else { ReloadCause::Command };
    let report = api.control.reload(cause).await?;
    let status = if report.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, fresh(Json(report))).into_response())
}

/// The reply leaves while the successor answers already: this server stops accepting only after it.
async fn replace(State(api): State<Api>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.replace().await?)))
}

async fn readyz(State(api): State<Api>) -> Result<&'static str, ApiError> {
    match tokio::time::timeout(READY_PATIENCE, api.control.ready()).await {
        Ok(()) => Ok("ok\n"),
        Err(_) => Err(ApiError(StatusCode::SERVICE_UNAVAILABLE, "waiting for the first verdicts".to_string())),
    }
}

async fn events(State(api): State<Api>) -> Result<impl IntoResponse, ApiError> {
    let permit = api
        .watchers
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError(StatusCode::TOO_MANY_REQUESTS, format!("{MAX_WATCHERS} others watch already")))?;
    // Whether anybody is there at all is said by the status code, not by an empty stream.
    api.control.status().await?;
    Ok(Sse::new(statuses(api, permit)).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE).text("here")))
}

/// A status at once, and one for each new generation; generations that come faster than they are read are skipped.
fn statuses(api: Api, permit: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut generations = api.control.generations();
    generations.mark_changed();
    stream::unfold((api, generations, permit), |(mut api, mut generations, permit)| async move {
        tokio::select! {
            biased;
            _ = api.stopping.wait_for(|stopping| *stopping) => return None,
            changed = generations.changed() => changed.ok()?,
        }
        let status = api.control.status().await.ok()?;
        let event = Event::default().event("status").id(status.generation.to_string()).json_data(&status).ok()?;
        Some((Ok(event), (api, generations, permit)))
    })
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("took longer than {} s", REQUEST_TIMEOUT.as_secs());
            ApiError(StatusCode::GATEWAY_TIMEOUT, message).into_response()
        }
    }
}

/// What is true now is not true later.
fn fresh(body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> ApiError {
        let status = match &error {
            ControlError::NotFound(_) => StatusCode::NOT_FOUND,
            ControlError::Invalid(_) => StatusCode::BAD_REQUEST,
            ControlError::Refused(_) => StatusCode::CONFLICT,
            ControlError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            ControlError::Gone => StatusCode::SERVICE_UNAVAILABLE,
        };
        ApiError(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.0, fresh(Json(Problem::new(self.0, self.1)))).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests;
