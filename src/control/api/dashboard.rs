//! The dashboard: one page with its style and script, embedded. It holds no data; it asks the API for them, with a token
//! where one is wanted.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// Nothing but this server's own files, no frame around it, no form that leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`, `/dashboard.css` and `/dashboard.js`.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("dashboard/index.html"))))
        .route("/dashboard.css", get(|| page("text/css; charset=utf-8", include_str!("dashboard/dashboard.css"))))
        .route("/dashboard.js", get(|| page("text/javascript; charset=utf-8", include_str!("dashboard/dashboard.js"))))
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
