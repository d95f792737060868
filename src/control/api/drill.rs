//! `POST /v1/drill`: refused with its reasons, answered at once when dry, else told as it goes.

use std::convert::Infallible;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;

use super::auth::Caller;
use super::{Api, ApiError, SIGN_OF_LIFE, fresh};
use crate::control::drill::{self, DrillEvent, DrillRequest};
use crate::control::view::Problem;

/// Events that wait for a slow reader; lines beyond that stand in the report alone.
const PENDING: usize = 64;

pub(super) async fn drill(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<DrillRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = request.map_err(|rejection| ApiError(rejection.status(), rejection.body_text()))?;
    let assessed = api.control.assess(request.clone()).await?;
    if request.dry_run {
        return Ok(fresh(Json(assessed.plan)));
    }
    let permit = api
        .drills
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError(StatusCode::CONFLICT, "no drill: another one is under way".to_string()))?;
    let (sender, events) = mpsc::channel(PENDING);
    let stopping = api.stopping.clone();
    tokio::spawn(async move {
        drill::run(api.control, assessed, request, caller.0, sender, stopping).await;
        drop(permit);
    });
    let told = stream::unfold(events, |mut events| async move {
        let event = match events.recv().await? {
            DrillEvent::Progress(line) => Event::default().event("progress").json_data(line),
            DrillEvent::Report(report) => Event::default().event("report").json_data(report),
            DrillEvent::Failed(why) => {
                Event::default().event("failed").json_data(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))
            }
        };
        Some((Ok::<_, Infallible>(event.ok()?), events))
    });
    Ok(fresh(Sse::new(told).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE).text("here"))).into_response())
}
