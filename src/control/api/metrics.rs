//! `GET /metrics`: what Prometheus scrapes, in the format that it asks for.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::ApiError;
use super::{Api, fresh};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// For Prometheus: OpenMetrics where that is asked for, else the older text format.
#[utoipa::path(
    get, path = "/metrics", tag = "process",
    responses(
        (status = 200, description = "Every metric.", content(
            (String = "text/plain; version=0.0.4; charset=utf-8"),
            (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ))
    )
)]
async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    let openmetrics = wants_openmetrics(&headers);
    let text = api.control.metrics(openmetrics).await?;
    let kind = if openmetrics { OPENMETRICS } else { PROMETHEUS };
    Ok(fresh(([(header::CONTENT_TYPE, kind), (header::VARY, "Accept")], text).into_response()))
}

/// Prometheus names the formats that it reads, the best first with the highest `q`; a browser and curl name neither.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let weight = |wanted: &str| -> f32 {
        let all = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = all.flat_map(|value| value.split(',')).map(|range| range.trim());
        let of = ranges.filter(|range| range.split(';').next().is_some_and(|kind| kind.trim() == wanted));
        let weights = of.map(|range| {
            let q = range.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
            q.and_then(|q| q.parse().ok()).unwrap_or(1.0)
        });
        weights.fold(0.0, f32::max)
    };
    weight("application/openmetrics-text") > weight("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.parse().unwrap());
            wants_openmetrics(&headers)
        };
        // As Prometheus 2.42 and 2.53 ask.
        assert!(accepts(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(!accepts("text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"));
        assert!(!accepts("*/*"));
        assert!(!accepts("text/html,application/xhtml+xml"));
        assert!(!wants_openmetrics(&HeaderMap::new()));
    }
}
