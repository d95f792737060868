//! `GET /v1/tail`: live answers as server-sent events, for as long as somebody reads them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Caller;
use super::error::ApiError;
use super::events::{MAX_WATCHERS, SIGN_OF_LIFE};
use super::extract::Asked;
use super::{Api, fresh};
use crate::control::tail::{Answer, Lost, TailQuery, answer, wanted};
use crate::control::view::Problem;
use crate::transport::Tapped;

/// Between two looks into the workers' rings.
const LOOK: Duration = Duration::from_millis(50);
/// Between two words about what was lost.
const SAY_LOST: Duration = Duration::from_secs(1);

struct Tail {
    api: Api,
    tapped: Tapped,
    /// One of the places of those who watch.
    _permit: OwnedSemaphorePermit,
    look: Interval,
    /// Answers that may still be told: `rate` a second, a second's worth at most.
    credit: f64,
    rate: u32,
    pending: VecDeque<Event>,
    lost: u64,
    unsaid: Duration,
}

/// What the events of a stream carry, for the document: `answer`, `lost`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "its shape is all that is wanted")]
enum TailTold {
    Answer(Answer),
    Lost(Lost),
}

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(tail))
}

/// Live answers, a sample of them.
///
/// Server-sent events: `answer` for each, `lost` with the number of those for which there was no room or no time. Sources of
/// queries are personal data: hence the scope `write`.
#[utoipa::path(
    get, path = "/v1/tail", tag = "changes", params(TailQuery),
    responses(
        (status = 200, description = "Until the client leaves or the server ends.", body = TailTold, content_type = "text/event-stream"),
        (status = 429, description = "32 others watch already.", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn tail(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<TailQuery>,
) -> Result<Response, ApiError> {
    let (wanted, rate) = wanted(&query).map_err(|message| ApiError(StatusCode::BAD_REQUEST, message))?;
    let permit = api
        .watchers
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError(StatusCode::TOO_MANY_REQUESTS, format!("{MAX_WATCHERS} others watch already")))?;
    let counters = api.control.counters().await?;
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "any".to_owned());
    let (name, client, rcode) = (said(&query.name), said(&query.client), said(&query.rcode));
    tracing::info!("{} taps live answers: name={name:?} client={client:?} rcode={rcode:?} rate={rate}", caller.0);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let tail = Tail {
        tapped: Tapped::open(counters, wanted),
        api,
        _permit: permit,
        look,
        credit: f64::from(rate),
        rate,
        pending: VecDeque::new(),
        lost: 0,
        unsaid: Duration::ZERO,
    };
    let told = stream::unfold(tail, |mut tail| async move {
        let event = tail.next().await?;
        Some((Ok::<_, Infallible>(event), tail))
    });
    Ok(fresh(Sse::new(told).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE).text("here"))).into_response())
}

impl Tail {
    async fn next(&mut self) -> Option<Event> {
        let mut stopping = self.api.stopping.clone();
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => return None,
                _ = self.look.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        self.credit = (self.credit + f64::from(self.rate) * LOOK.as_secs_f64()).min(f64::from(self.rate));
        let (samples, lost) = self.tapped.take();
        self.lost += lost;
        for sample in &samples {
            if self.credit < 1.0 {
                self.lost += 1;
                continue;
            }
            self.credit -= 1.0;
            self.pending.extend(Event::default().event("answer").json_data(answer(sample)).ok());
        }
        self.unsaid += LOOK;
        if self.lost > 0 && self.unsaid >= SAY_LOST {
            self.unsaid = Duration::ZERO;
            let lost = Lost { lost: std::mem::take(&mut self.lost) };
            self.pending.extend(Event::default().event("lost").json_data(lost).ok());
        }
    }
}
