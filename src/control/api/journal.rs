//! `GET /v1/journal?since=&until=&limit=`: what happened, from the journal.

use std::time::SystemTime;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::{Api, ApiError, fresh};
use crate::control::journal::{JournalQuery, MOST_RECORDS};

/// Which records are wanted; what is empty is not given.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// RFC 3339.
    #[serde(default)]
    since: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    until: Option<String>,
    /// The latest so many.
    #[serde(default)]
    limit: Option<usize>,
}

pub(super) async fn journal(
    State(api): State<Api>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    if wanted.limit.is_some_and(|limit| limit == 0 || limit > MOST_RECORDS) {
        return Err(ApiError(StatusCode::BAD_REQUEST, format!("limit must be from 1 to {MOST_RECORDS}")));
    }
    let query = JournalQuery {
        since: moment("since", wanted.since)?,
        until: moment("until", wanted.until)?,
        limit: wanted.limit,
    };
    Ok(fresh(Json(api.control.journal(query).await?)))
}

fn moment(name: &str, text: Option<String>) -> Result<Option<SystemTime>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    humantime::parse_rfc3339(&text).map(Some).map_err(|error| {
        let message = format!("{name} must be a time like 2026-11-21T02:48:00Z: {error}");
        ApiError(StatusCode::BAD_REQUEST, message)
    })
}
