//! What the server answers and why: the status of the whole, explanations, shares, zones as master files.

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::ControlError;
use super::super::view::{ExplainQuery, Explanation, Shares, Status};
use super::document::{ascii_address, client_schema, name_schema, patterns_schema, type_schema};
use super::error::ApiError;
use super::extract::{Asked, At};
use super::{Api, fresh};

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(explain))
        .routes(routes!(shares))
        .routes(routes!(export))
}

/// The whole server at one moment.
///
/// Everything at once, as `rollcall status --json` prints it. Where there are very many names or backends, the lists are
/// lighter.
#[utoipa::path(get, path = "/v1/status", tag = "answers", responses((status = 200, description = "The whole.", body = Status)))]
async fn status(State(api): State<Api>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.status().await?)))
}

/// What of a question a form leaves empty counts as not given.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// What `explain` takes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExplainParams {
    /// Presentation form, absolute with or without the final dot.
    #[param(schema_with = name_schema)]
    name: String,
    /// A record type: `A`, `AAAA`, `TXT`, `TYPE65280`, …; without it `A`.
    #[serde(rename = "type", default)]
    #[param(schema_with = type_schema)]
    rtype: Option<String>,
    /// Whose question: an address or a network (`2001:db8::/56`); without it 127.0.0.1.
    #[serde(default)]
    #[param(schema_with = client_schema)]
    client: Option<String>,
    /// Whether the shares are asked for too.
    #[serde(default)]
    #[param(required = false)]
    shares: bool,
    /// Backends that the shares take to be down, with commas between them: `zone/pool/backend`, each part a glob, or the backend's
    /// part alone.
    #[serde(default)]
    #[param(schema_with = patterns_schema)]
    down: Option<String>,
}

/// Which answer a client gets, and every step that led to it.
#[utoipa::path(
    get, path = "/v1/explain", tag = "answers", params(ExplainParams),
    responses((status = 200, description = "The answer and its steps; `exists` says whether there is such a name.", body = Explanation))
)]
async fn explain(State(api): State<Api>, Asked(asked): Asked<ExplainParams>) -> Result<Response, ApiError> {
    let ExplainParams { name, rtype, client, shares, down } = asked;
    let query = ExplainQuery { name, rtype: given(rtype), client: given(client), shares, down: given(down) };
    Ok(fresh(Json(api.control.explain(query).await?)))
}

/// What `shares` takes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SharesParams {
    /// Presentation form, absolute with or without the final dot.
    #[param(schema_with = name_schema)]
    name: String,
    /// A record type: `A`, `AAAA`, `SRV`, …; without it `A`.
    #[serde(rename = "type", default)]
    #[param(schema_with = type_schema)]
    rtype: Option<String>,
    /// Whose question: an address or a network; without it over all clients.
    #[serde(default)]
    #[param(schema_with = client_schema)]
    client: Option<String>,
    /// Backends taken to be down, as in `explain`.
    #[serde(default)]
    #[param(schema_with = patterns_schema)]
    down: Option<String>,
}

/// Each backend's share of a name's answers.
#[utoipa::path(
    get, path = "/v1/shares", tag = "answers", params(SharesParams),
    responses((status = 200, description = "Shares, the largest first.", body = Shares))
)]
async fn shares(State(api): State<Api>, Asked(asked): Asked<SharesParams>) -> Result<Response, ApiError> {
    let SharesParams { name, rtype, client, down } = asked;
    let query = ExplainQuery { name, rtype: given(rtype), client: given(client), shares: true, down: given(down) };
    let explanation = api.control.explain(query).await?;
    let shares = explanation.shares.unwrap_or_default();
    Ok(fresh(Json(Shares { question: explanation.question, shares })))
}

/// What `export` takes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportParams {
    /// Whose answers the file holds, an address; without it 127.0.0.1.
    #[serde(default)]
    #[param(schema_with = ascii_address)]
    client: Option<String>,
}

/// A zone as a master file (RFC 1035), as it answers now.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/export", tag = "answers",
    params(("zone" = String, Path, description = "Its apex."), ExportParams),
    responses((status = 200, description = "The zone as text (RFC 4027).", body = String, content_type = "text/dns"))
)]
async fn export(
    State(api): State<Api>,
    At(zone): At<String>,
    Asked(asked): Asked<ExportParams>,
) -> Result<Response, ApiError> {
    let client = match asked.client {
        None => Ipv4Addr::LOCALHOST.into(),
        Some(text) => {
            text.parse::<IpAddr>().map_err(|_| ControlError::Invalid(format!("{text:?} is no IP address")))?
        }
    };
    let text = api.control.export(zone, client).await?;
    Ok(fresh(([(header::CONTENT_TYPE, "text/dns")], text)))
}
