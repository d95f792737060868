//! `POST /v1/drill`: refused with its reasons, answered at once when dry, else told as it goes.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::error::ApiError;
use super::events::SIGN_OF_LIFE;
use super::extract::Sent;
use super::states::short;
use super::{Api, fresh};
use crate::control::drill::{self, DrillEvent, DrillPlan, DrillReport, DrillRequest};
use crate::control::report::Line;
use crate::control::view::Problem;

/// Events that wait for a slow reader; lines beyond that stand in the report alone.
const PENDING: usize = 64;

/// What the events of a stream carry, for the document: `progress`, `report`, `failed`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "its shape is all that is wanted")]
enum DrillTold {
    Progress(Line),
    Report(Box<DrillReport>),
    Failed(Problem),
}

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(drill))
}

/// Takes backends out under supervision, watches the answers, brings them back.
///
/// Server-sent events: `progress` for each thing that happens, then one `report`, or `failed`. A dry run is answered at once with
/// the plan. A client that leaves ends the drill.
#[utoipa::path(
    post, path = "/v1/drill", tag = "acts", request_body = DrillRequest,
    responses(
        (status = 200, description = "The drill, until its end; the plan alone for a dry run.", content(
            (DrillPlan = "application/json"),
            (DrillTold = "text/event-stream"),
        )),
        (status = 409, description = "It may not be done now, with every reason.", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn drill(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Sent(request): Sent<DrillRequest>,
) -> Result<Response, ApiError> {
    short(request.reason.as_deref(), "reason")?;
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
