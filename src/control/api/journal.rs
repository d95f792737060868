//! `GET /v1/journal`: what the journal in `state_dir` keeps.

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::extract::Asked;
use super::{Api, fresh};
use crate::control::journal::{JournalPage, JournalQuery, MOST_RECORDS};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(journal))
}

/// Which records are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// From then on, RFC 3339.
    #[param(format = DateTime)]
    since: Option<String>,
    /// Until then, RFC 3339.
    #[param(format = DateTime)]
    until: Option<String>,
    /// The latest so many.
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<usize>,
}

/// What happened, oldest first: loads, transitions, overrides, starts and stops, also of processes before this one.
#[utoipa::path(
    get, path = "/v1/journal", tag = "changes", params(Wanted),
    responses(
        (status = 200, description = "The latest records of that time.", body = JournalPage),
        (status = 404, description = "Without `state_dir` there is no journal.", body = super::super::view::Problem, content_type = "application/problem+json"),
    )
)]
async fn journal(State(api): State<Api>, Asked(wanted): Asked<Wanted>) -> Result<Response, ApiError> {
    if wanted.limit.is_some_and(|limit| limit == 0 || limit > MOST_RECORDS) {
        return Err(ApiError::bad(format!("limit must be from 1 to {MOST_RECORDS}")));
    }
    let query = JournalQuery {
        since: moment("since", wanted.since)?,
        until: moment("until", wanted.until)?,
        limit: wanted.limit,
    };
    Ok(fresh(Json(api.control.journal(query).await?)))
}

fn moment(name: &str, text: Option<String>) -> Result<Option<SystemTime>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    humantime::parse_rfc3339(&text)
        .map(Some)
        .map_err(|error| ApiError::bad(format!("{name} must be a time like 2026-11-21T02:48:00Z: {error}")))
}
