//! What changes, as it changes: event streams, changes in pages, the latest transitions.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::overrides::glob;
use super::super::status::transition_status;
use super::super::view::{ChangesPage, Kind, TransitionStatus, Transitions, What};
use super::document::{event_schema, kinds_schema, limit_schema};
use super::error::ApiError;
use super::extract::Asked;
use super::lists::limit;
use super::{Api, fresh};

/// Event streams at once: fewer than connections, so that watchers never shut out commands.
pub(super) const MAX_WATCHERS: usize = 32;
/// An event stream without news says that it lives.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Changes that a stream fetches at a time.
const FETCHED: usize = 256;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events)).routes(routes!(changed)).routes(routes!(transitions))
}

/// What a stream is of.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EventsParams {
    /// With it the stream is of changes, of these kinds, with commas between them, or `all`. Without it, of statuses: the whole at
    /// once and again for each new generation.
    #[param(schema_with = kinds_schema)]
    kinds: Option<String>,
    /// Changes after this event, as `Last-Event-ID`, which wins, says it too. Without both, what comes from now on.
    #[param(schema_with = event_schema)]
    since: Option<String>,
}

/// Server-sent events.
///
/// Of statuses (events `status`), or, with `kinds`, of changes: an event `begin` says from where the stream goes on and whether
/// changes since the one that was asked for are lost (`missed`); then one event for each change, named by its kind, with its
/// number as `id`. Whoever comes again with that number in `Last-Event-ID` misses nothing that the server still knows: the
/// latest 4,096 changes since it started.
#[utoipa::path(
    get, path = "/v1/events", tag = "changes",
    params(EventsParams, ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event seen.")),
    responses(
        (status = 200, description = "Until the server ends or the client leaves.", body = String, content_type = "text/event-stream"),
        (status = 429, description = "32 others watch already.", body = super::super::view::Problem, content_type = "application/problem+json"),
    )
)]
async fn events(
    State(api): State<Api>,
    Asked(asked): Asked<EventsParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let kinds = asked.kinds.as_deref().map(read_kinds).transpose()?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
    let since = last.map(str::to_owned).or(asked.since.map(read_event).transpose()?);
    let permit = api
        .watchers
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiError(StatusCode::TOO_MANY_REQUESTS, format!("{MAX_WATCHERS} others watch already")))?;
    let alive = KeepAlive::new().interval(SIGN_OF_LIFE).text("here");
    // Whether anybody is there at all is said by the status code, not by an empty stream.
    Ok(match kinds {
        None => {
            api.control.look(|_| ()).await?;
            fresh(Sse::new(statuses(api, permit)).keep_alive(alive))
        }
        Some(kinds) => {
            let now = api.control.look(|world| world.changes.now()).await?;
            fresh(Sse::new(changes(api, permit, kinds, since.unwrap_or(now))).keep_alive(alive))
        }
    }
    .into_response())
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

/// What an event `begin` says.
#[derive(Serialize)]
struct Begin {
    missed: bool,
}

/// One watcher of changes.
struct Watcher {
    api: Api,
    news: watch::Receiver<u64>,
    kinds: Vec<Kind>,
    since: String,
    ready: VecDeque<Event>,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

fn changes(
    api: Api,
    permit: OwnedSemaphorePermit,
    kinds: Vec<Kind>,
    since: String,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut news = api.control.changes();
    news.mark_changed();
    let watcher = Watcher { api, news, kinds, since, ready: VecDeque::new(), begun: false, _permit: permit };
    stream::unfold(watcher, |mut watcher| async move {
        while watcher.ready.is_empty() {
            watcher.fetch().await?;
        }
        let event = watcher.ready.pop_front()?;
        Some((Ok(event), watcher))
    })
}

impl Watcher {
    /// Waits for news and makes events of them; `None` when the stream ends.
    async fn fetch(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            _ = self.api.stopping.wait_for(|stopping| *stopping) => return None,
            changed = self.news.changed() => changed.ok()?,
        }
        let kinds = self.kinds.clone();
        let wanted = move |what: &What| kinds.contains(&what.kind());
        let found = self.api.control.changed(Some(self.since.clone()), FETCHED, wanted).await.ok()?;
        if found.more {
            self.news.mark_changed();
        }
        if !self.begun || found.missed {
            self.begun = true;
            let begin = Event::default().event("begin").json_data(Begin { missed: found.missed }).ok()?;
            self.ready.push_back(match (found.missed, found.items.is_empty()) {
                (false, _) => begin.id(self.since.clone()),
                (true, true) => begin.id(found.next.clone()),
                // What the client had seen is of no use here, and the next event has its number.
                (true, false) => begin,
            });
        }
        for change in &found.items {
            let event = Event::default().event(change.what.kind().word()).id(change.event.clone());
            self.ready.push_back(event.json_data(change).ok()?);
        }
        self.since = found.next;
        Some(())
    }
}

/// `transition,override`, or `all`.
fn read_kinds(text: &str) -> Result<Vec<Kind>, ApiError> {
    if text == "all" {
        return Ok(Kind::ALL.to_vec());
    }
    let read = |word: &str| Kind::ALL.into_iter().find(|kind| kind.word() == word);
    text.split(',').map(read).collect::<Option<Vec<Kind>>>().ok_or_else(|| {
        let words: Vec<&str> = Kind::ALL.into_iter().map(Kind::word).collect();
        ApiError::bad(format!(
            "kinds: {text:?} is neither \"all\" nor some of {} with commas between",
            words.join(", ")
        ))
    })
}

/// The number of an event: hexadecimal digits, a hyphen, decimal digits.
fn read_event(text: String) -> Result<String, ApiError> {
    let (epoch, number) = text.split_once('-').unwrap_or_default();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = (1..=16).contains(&epoch.len())
        && epoch.bytes().all(hex)
        && (1..=19).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Ok(text) } else { Err(ApiError::bad(format!("since: {text:?} is no number of an event"))) }
}

/// Which changes are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ChangesParams {
    /// Changes after this event; without it, from the oldest that is known.
    #[param(schema_with = event_schema)]
    since: Option<String>,
    /// Changes at most.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
    /// Of these kinds, with commas between them; without it, all.
    #[param(schema_with = kinds_schema)]
    kinds: Option<String>,
}

/// What changed since this process began, the oldest first: the latest 4,096 changes are known.
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes", params(ChangesParams),
    responses((status = 200, description = "Changes, and what `since` goes on with.", body = ChangesPage))
)]
async fn changed(State(api): State<Api>, Asked(asked): Asked<ChangesParams>) -> Result<Response, ApiError> {
    let kinds = read_kinds(asked.kinds.as_deref().unwrap_or("all"))?;
    let limit = limit(asked.limit)?;
    let since = asked.since.map(read_event).transpose()?;
    let wanted = move |what: &What| kinds.contains(&what.kind());
    Ok(fresh(Json(api.control.changed(since, limit, wanted).await?)))
}

/// Which transitions are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct TransitionsParams {
    /// A glob over `zone/pool/backend`.
    backend: Option<String>,
    /// The latest, at most.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
}

/// The latest transitions of this process, oldest first: a hundred at most.
#[utoipa::path(
    get, path = "/v1/transitions", tag = "changes", params(TransitionsParams),
    responses((status = 200, description = "The latest.", body = Transitions))
)]
async fn transitions(State(api): State<Api>, Asked(asked): Asked<TransitionsParams>) -> Result<Response, ApiError> {
    let limit = limit(asked.limit)?;
    let wanted = move |id: &str| asked.backend.as_ref().is_none_or(|pattern| glob(pattern, id));
    let items = api.control.look(move |world| {
        let latest = world.transitions.iter().rev().filter(|one| wanted(&one.id)).take(limit);
        let mut items: Vec<TransitionStatus> = latest.map(transition_status).collect();
        items.reverse();
        items
    });
    Ok(fresh(Json(Transitions { items: items.await? })))
}
