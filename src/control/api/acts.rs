//! What the server is told to do: to reload, to be replaced; and what backends' heartbeats tell it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::ReloadCause;
use super::super::replacing::Replaced;
use super::super::view::{Push, Pushed, ReloadStatus};
use super::error::ApiError;
use super::extract::{Asked, At, Text};
use super::{Api, fresh};

pub(super) fn writing() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(reload)).routes(routes!(reload_as_prometheus)).routes(routes!(replace))
}

pub(super) fn pushing() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(push, push_by_post))
}

/// How a reload is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReloadParams {
    /// Taken whatever share of the clients it moves.
    #[serde(default)]
    #[param(required = false)]
    force: bool,
}

/// Loads the files again; answers when the new data does.
#[utoipa::path(
    post, path = "/v1/reload", tag = "acts", params(ReloadParams),
    responses(
        (status = 200, description = "The new data answers.", body = ReloadStatus),
        (status = 422, description = "Refused: the old data goes on answering. `messages` says why.", body = ReloadStatus),
    )
)]
async fn reload(State(api): State<Api>, Asked(asked): Asked<ReloadParams>) -> Result<Response, ApiError> {
    let cause = if asked.force { ReloadCause::Force } else { ReloadCause::Command };
    let report = api.control.reload(cause).await?;
    let status = if report.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, fresh(Json(report))).into_response())
}

/// The same under the path that Prometheus and its kin use.
#[utoipa::path(
    post, path = "/-/reload", tag = "acts", params(ReloadParams),
    responses(
        (status = 200, description = "The new data answers.", body = ReloadStatus),
        (status = 422, description = "Refused: the old data goes on answering. `messages` says why.", body = ReloadStatus),
    )
)]
async fn reload_as_prometheus(state: State<Api>, asked: Asked<ReloadParams>) -> Result<Response, ApiError> {
    reload(state, asked).await
}

/// Has the server replaced by a new process of its program on the same sockets; answers when that one does.
// The reply leaves while the successor answers already: this server stops accepting only after it.
#[utoipa::path(
    post, path = "/v1/replace", tag = "acts",
    responses((status = 200, description = "Who answers now.", body = Replaced))
)]
async fn replace(State(api): State<Api>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.replace().await?)))
}

/// Which check a heartbeat is for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PushParams {
    /// Only this check; else all of type `push`.
    #[serde(default)]
    check: Option<String>,
}

/// A heartbeat of a backend with checks of type `push`.
///
/// The body is what the backend says of itself, as agent-check words: `up`, `down # why`, `drain`, `75%`, `load=30/100`; without
/// one `up`.
#[utoipa::path(
    put, path = "/v1/push/{zone}/{pool}/{backend}", tag = "acts",
    params(
        ("zone" = String, Path, description = "Its zone."),
        ("pool" = String, Path, description = "Its pool."),
        ("backend" = String, Path, description = "Its name."),
        PushParams,
    ),
    request_body(content = inline(Words), content_type = "text/plain"),
    responses((status = 200, description = "Taken in; verdicts follow.", body = Pushed))
)]
async fn push(
    State(api): State<Api>,
    At((zone, pool, backend)): At<(String, String, String)>,
    Asked(asked): Asked<PushParams>,
    Text(body): Text,
) -> Result<Response, ApiError> {
    let zone = if zone == "." { "." } else { zone.trim_end_matches('.') };
    let push = Push {
        backend: format!("{}/{pool}/{backend}", zone.to_ascii_lowercase()),
        check: asked.check.filter(|check| !check.is_empty()),
        status: Some(body),
    };
    Ok(fresh(Json(api.control.push(push).await?)))
}

/// The same for clients that can only `POST`.
#[utoipa::path(
    post, path = "/v1/push/{zone}/{pool}/{backend}", tag = "acts",
    params(
        ("zone" = String, Path, description = "Its zone."),
        ("pool" = String, Path, description = "Its pool."),
        ("backend" = String, Path, description = "Its name."),
        PushParams,
    ),
    request_body(content = inline(Words), content_type = "text/plain"),
    responses((status = 200, description = "Taken in; verdicts follow.", body = Pushed))
)]
async fn push_by_post(
    state: State<Api>,
    at: At<(String, String, String)>,
    asked: Asked<PushParams>,
    body: Text,
) -> Result<Response, ApiError> {
    push(state, at, asked, body).await
}

/// Agent-check words.
#[derive(utoipa::ToSchema)]
#[schema(
    pattern = "^([^#]*[ ,])?([Uu][Pp]|[Dd][Oo][Ww][Nn]|[Dd]rain|[Mm]aint|[Rr]eady|[0-9]{1,3}%)([ ,#].*)?$",
    example = "up 75%"
)]
#[allow(dead_code, reason = "stands for the body in the document alone")]
struct Words(String);
