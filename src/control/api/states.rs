//! What operators say of backends.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::resources;
use super::super::supervisor::LONGEST_OVERRIDE;
use super::super::view::{BackendState, StateChange, StateChanged, StateRequest};
use super::auth::Caller;
use super::error::ApiError;
use super::extract::{At, Sent};
use super::{Api, fresh};

/// Octets of a reason or a name at most: they are kept, and shown in a line.
const LONGEST_WORD: usize = 1000;

pub(super) fn reading() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(backend_state))
}

pub(super) fn writing() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(set_state)).routes(routes!(set_backend_state))
}

/// Whether a backend is in service by anybody's word, and when it can be stopped.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/pools/{pool}/backends/{backend}/state", tag = "states",
    params(
        ("zone" = String, Path, description = "Its zone."),
        ("pool" = String, Path, description = "Its pool."),
        ("backend" = String, Path, description = "Its name."),
    ),
    responses((status = 200, description = "Its state.", body = BackendState))
)]
async fn backend_state(
    State(api): State<Api>,
    At((zone, pool, backend)): At<(String, String, String)>,
) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.look(move |world| resources::backend_state(world, &zone, &pool, &backend)).await??)))
}

/// Overrides one backend, or with `auto` no longer.
///
/// The override wins over the file, outlives reloads (and restarts, where there is a `state_dir`), and ends by itself at `until`
/// or after `for`, whichever is earlier. `by` is who asked (the token's name, the user at the other end of a unix socket, or
/// the address), unless it is said.
#[utoipa::path(
    put, path = "/v1/zones/{zone}/pools/{pool}/backends/{backend}/state", tag = "states",
    params(
        ("zone" = String, Path, description = "Its zone."),
        ("pool" = String, Path, description = "Its pool."),
        ("backend" = String, Path, description = "Its name."),
    ),
    request_body = StateRequest,
    responses(
        (status = 200, description = "In force, and on disk where `kept` says so.", body = StateChanged),
        (status = 409, description = "`until` is not ahead, or more than a century.", body = super::super::view::Problem, content_type = "application/problem+json"),
    )
)]
async fn set_backend_state(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    At((zone, pool, backend)): At<(String, String, String)>,
    Sent(asked): Sent<StateRequest>,
) -> Result<Response, ApiError> {
    let now = SystemTime::now();
    let until = asked.until.as_deref().map(|text| ahead(text, now)).transpose()?;
    let for_ms = asked.lasting.as_deref().map(milliseconds).transpose()?;
    let by = asked.by.filter(|by| !by.trim().is_empty()).or(Some(caller.0));
    short(asked.reason.as_deref(), "reason")?;
    short(by.as_deref(), "by")?;
    let id = api.control.look(move |world| resources::backend_state(world, &zone, &pool, &backend)).await??.id;
    let change = StateChange { backend: id, state: asked.state, for_ms, reason: asked.reason, by };
    Ok(fresh(Json(api.control.set_state_of(change, until).await?)))
}

/// Overrides all backends that a pattern names, as `rollcall state` does.
#[utoipa::path(
    put, path = "/v1/state", tag = "states", request_body = StateChange,
    responses((status = 200, description = "In force, and on disk where `kept` says so.", body = StateChanged))
)]
async fn set_state(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Sent(mut change): Sent<StateChange>,
) -> Result<Response, ApiError> {
    if change.by.as_deref().is_none_or(|by| by.trim().is_empty()) {
        change.by = Some(caller.0);
    }
    short(change.reason.as_deref(), "reason")?;
    short(change.by.as_deref(), "by")?;
    Ok(fresh(Json(api.control.set_state(change).await?)))
}

/// RFC 3339 with an offset.
fn ahead(text: &str, now: SystemTime) -> Result<SystemTime, ApiError> {
    let read: jiff::Timestamp = text.parse().map_err(|_| {
        ApiError::bad(format!("until: {text:?} is no date and time with an offset, like 2026-12-01T08:00:00+01:00"))
    })?;
    let until = SystemTime::from(read);
    let conflict = |sentence: &str| ApiError(StatusCode::CONFLICT, format!("until: {text} {sentence}"));
    if until <= now {
        return Err(conflict("is not ahead"));
    }
    if until.duration_since(now).is_ok_and(|lasting| lasting > LONGEST_OVERRIDE) {
        return Err(conflict("is more than a century ahead; without an end an override holds until it is removed"));
    }
    Ok(until)
}

fn milliseconds(text: &str) -> Result<u64, ApiError> {
    let read = humantime::parse_duration(text)
        .map_err(|why| ApiError::bad(format!("for: {text:?} is no duration like \"30m\" or \"2h\": {why}")))?;
    Ok(u64::try_from(read.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn short(text: Option<&str>, what: &str) -> Result<(), ApiError> {
    match text {
        Some(text) if text.chars().count() > LONGEST_WORD => {
            Err(ApiError::bad(format!("{what}: {LONGEST_WORD} characters at most")))
        }
        _ => Ok(()),
    }
}
