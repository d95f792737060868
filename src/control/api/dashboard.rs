//! The dashboard: one page with its style and script, embedded. It holds no data; it asks the API for them, with a token
//! where one is wanted.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;

/// Nothing but this server's own files, no frame around it, no form that leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`, `/dashboard.css` and `/dashboard.js`.
pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(index)).routes(routes!(style)).routes(routes!(script))
}

/// The dashboard.
#[utoipa::path(
    get, path = "/", tag = "process",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html"))
)]
async fn index() -> impl IntoResponse {
    page("text/html; charset=utf-8", include_str!("dashboard/index.html")).await
}

/// Its style.
#[utoipa::path(
    get, path = "/dashboard.css", tag = "process",
    responses((status = 200, description = "A style sheet.", body = String, content_type = "text/css"))
)]
async fn style() -> impl IntoResponse {
    page("text/css; charset=utf-8", include_str!("dashboard/dashboard.css")).await
}

/// Its script.
#[utoipa::path(
    get, path = "/dashboard.js", tag = "process",
    responses((status = 200, description = "A script.", body = String, content_type = "text/javascript"))
)]
async fn script() -> impl IntoResponse {
    page("text/javascript; charset=utf-8", include_str!("dashboard/dashboard.js")).await
}

async fn page(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The page changes with the binary.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
