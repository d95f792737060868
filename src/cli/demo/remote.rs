//! The demo's own door: other terminals kill and revive backends through it. A listener beside the server's, because a real
//! server has no such power over its backends.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::args::DemoBackendArgs;
use super::super::{Exit, Failure, Outcome, output};
use super::world::Hands;
use crate::control::client::{self, Client};
use crate::control::view::Problem;

/// What the demo did.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    /// In words.
    said: String,
}

/// `rollcall demo kill NAME` and `revive NAME`.
pub(super) async fn act(args: &DemoBackendArgs, action: &str) -> Outcome {
    let address = client::parse_address(&args.control)
        .map_err(|error| Failure::wrong(format!("--control {}: {error}", args.control)))?;
    let client = Client::new(address)?;
    let said: Said = client.post(&["demo", "backends", &args.backend, action]).await?;
    output::print_last(&format!("{}\n", said.said))?;
    Ok(Exit::Done)
}

/// The routes of the door.
pub(super) fn router(hands: Arc<Hands>) -> Router {
    Router::new().route("/demo/backends/{name}/{action}", post(wish)).fallback(nothing).with_state(hands)
}

async fn wish(State(hands): State<Arc<Hands>>, Path((name, action)): Path<(String, String)>) -> Response {
    let alive = match action.as_str() {
        "kill" => false,
        "revive" => true,
        _ => return nothing().await,
    };
    match hands.set(&name, alive).await {
        Ok(said) => Json(Said { said }).into_response(),
        Err(error) => (StatusCode::NOT_FOUND, Json(Problem::new(StatusCode::NOT_FOUND, error))).into_response(),
    }
}

async fn nothing() -> Response {
    let error = "this is a demo's own listener: it kills and revives backends, and knows nothing else".to_string();
    (StatusCode::NOT_FOUND, Json(Problem::new(StatusCode::NOT_FOUND, error))).into_response()
}

/// Notes for whoever shows them; a reader that is slow loses the note, not the demo.
pub(super) fn note(notes: &mpsc::Sender<String>, words: String) {
    let _ = notes.try_send(words);
}
