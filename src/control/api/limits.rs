//! Limits on what one request may send and take.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// Largest request body, octets. A state change is a few hundred.
pub(super) const MAX_BODY: usize = 64 * 1024;
/// For a body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For one request; a reload of large zones that waits for new probes is the longest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// 504 for what takes too long.
pub(super) async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("took longer than {} s", REQUEST_TIMEOUT.as_secs());
            ApiError(StatusCode::GATEWAY_TIMEOUT, message).into_response()
        }
    }
}

/// Reads the whole body before anything is done with it: 413 when it is too large, 408 when it does not come.
pub(super) async fn read_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(octets)) => next.run(Request::from_parts(parts, Body::from(octets))).await,
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
                let message = format!("a body has {MAX_BODY} octets at most");
                return ApiError(StatusCode::PAYLOAD_TOO_LARGE, message).into_response();
            }
            ApiError::bad("the body broke off").into_response()
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
            let mut response = ApiError(StatusCode::REQUEST_TIMEOUT, message).into_response();
            // RFC 9110 15.5.9
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}
