//! The OpenAPI document: what the annotations at the handlers do not say, because it holds for all of them.

use axum::extract::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, Required, ResponseBuilder, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::lists::{LARGEST_PAGE, USUAL_PAGE};
use crate::config::plan::Scope;

/// The name of the security scheme.
pub(super) const BEARER: &str = "bearer";

/// What the document begins with.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "rollcall",
        description = "The control listener of rollcall, an authoritative DNS server that is a load balancer. Errors are problem \
                       details (RFC 9457). Over a unix socket, and over loopback where no tokens are configured, no token is \
                       needed.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(super::super::view::Problem)),
    tags(
        (name = "answers", description = "What the server answers, and why."),
        (name = "resources", description = "Zones, names, pools, backends, checks."),
        (name = "states", description = "What operators say of backends."),
        (name = "acts", description = "What the server is told to do."),
        (name = "changes", description = "What changes, as it changes."),
        (name = "process", description = "Whether it lives; the dashboard; this document."),
    )
)]
struct Beginning;

/// The document without any path.
pub(super) fn beginning() -> OpenApi {
    let mut document = <Beginning as utoipa::OpenApi>::openapi();
    crate::VERSION.clone_into(&mut document.info.version);
    let words = "A token of the file that `control.tokens` names (RFC 6750). Scopes: `read` looks, `write` changes answers, sees who \
                 asks, and includes `read`, `push` reports heartbeats.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build();
    document.components.get_or_insert_default().add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    document
}

/// The word of a scope.
pub(super) fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Write => "write",
        Scope::Push => "push",
    }
}

/// Says of all operations in `document` that they need `scope`.
pub(super) fn secure(document: &mut OpenApi, scope: Scope) {
    for (_, _, operation) in operations(document) {
        operation.security = Some(vec![SecurityRequirement::new(BEARER, [scope_word(scope)])]);
        add_problem(operation, "401", "No token, or none that is known here.");
        add_problem(operation, "403", "The token lacks the scope, or Host or Origin is foreign.");
    }
}

/// Adds what any request can meet.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, _, operation) in operations(document) {
        add_problem(operation, "400", "The request makes no sense, or has not exactly one Host.");
        add_problem(operation, "403", "Host or Origin is foreign.");
        add_problem(operation, "405", "The path does not take that method.");
        if path.starts_with("/v1/") || path.starts_with("/-/") {
            add_problem(operation, "408", "The body did not come within 10 s.");
            add_problem(operation, "413", "The body is larger than 64 KiB.");
            add_problem(operation, "500", "It could not be done; nothing changed.");
            add_problem(operation, "503", "The server is shutting down.");
            add_problem(operation, "504", "It took longer than 60 s.");
        }
        if path.contains('{') || operation.request_body.is_some() {
            add_problem(operation, "404", "There is no such thing here.");
        }
        if let Some(body) = &mut operation.request_body {
            // A heartbeat may say nothing: it is `up` then.
            if let RefOr::T(body) = body
                && body.content.contains_key("text/plain")
            {
                body.required = Some(Required::False);
            }
            add_problem(operation, "415", "The body is not of the type that is wanted.");
            add_problem(operation, "422", "The body is well-formed, but not what is wanted.");
        }
        let is = |parameter: &RefOr<Parameter>, name: &str| matches!(parameter, RefOr::T(one) if one.name == name);
        if operation.parameters.iter().flatten().any(|parameter| is(parameter, "after")) {
            add_problem(operation, "410", "The files were loaded again since the list began: begin anew.");
        }
    }
}

/// Every operation with its path and method.
pub(super) fn operations(document: &mut OpenApi) -> impl Iterator<Item = (&str, &'static str, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let PathItem { get, put, post, delete, patch, head, options, trace, .. } = item;
        let all = [
            ("GET", get),
            ("PUT", put),
            ("POST", post),
            ("DELETE", delete),
            ("PATCH", patch),
            ("HEAD", head),
            ("OPTIONS", options),
            ("TRACE", trace),
        ];
        all.into_iter().filter_map(|(method, operation)| Some((path.as_str(), method, operation.as_mut()?)))
    })
}

fn add_problem(operation: &mut Operation, status: &str, words: &str) {
    let problem = RefOr::<Schema>::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let response = ResponseBuilder::new().description(words).content("application/problem+json", content).build();
    operation.responses.responses.entry(status.to_owned()).or_insert(RefOr::T(response));
}

/// The finished document, as it is sent.
#[derive(Clone)]
pub(super) struct Document(pub(super) Bytes);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(openapi))
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "process",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
async fn openapi(Extension(document): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], document.0).into_response()
}

// What parameters look like. The patterns are those that are read, so that a document's reader is refused nothing else.

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

/// `limit`
pub(super) fn limit_schema() -> Schema {
    let number = ObjectBuilder::new().schema_type(SchemaType::new(Type::Integer));
    number.minimum(Some(1)).maximum(Some(LARGEST_PAGE)).default(Some(USUAL_PAGE.into())).build().into()
}

/// `after`
pub(super) fn place_schema() -> Schema {
    text().pattern(Some("^[0-9a-f]{1,16}(-[0-9]{1,9}){3}$")).build().into()
}

/// `since`
pub(super) fn event_schema() -> Schema {
    text().pattern(Some("^[0-9a-f]{1,16}-[0-9]{1,19}$")).build().into()
}

/// `kinds`
pub(super) fn kinds_schema() -> Schema {
    let kind = "(transition|override|reload|pool|frozen)";
    text().pattern(Some(format!("^(all|{kind}(,{kind})*)$"))).examples(["transition,pool"]).build().into()
}

/// A domain name in presentation form.
pub(super) fn name_schema() -> Schema {
    text().min_length(Some(1)).max_length(Some(1004)).examples(["www.lb.example.com"]).build().into()
}

/// A record type.
pub(super) fn type_schema() -> Schema {
    text().examples(["A"]).build().into()
}

/// An address or a network.
pub(super) fn client_schema() -> Schema {
    text().examples(["2001:db8::/56"]).build().into()
}

/// Names of backends with commas between them.
pub(super) fn patterns_schema() -> Schema {
    text().examples(["b2"]).build().into()
}

/// An IPv4 or IPv6 address.
pub(super) fn ascii_address() -> Schema {
    let of = |format| text().format(Some(SchemaFormat::KnownFormat(format))).build();
    OneOfBuilder::new().item(of(KnownFormat::Ipv4)).item(of(KnownFormat::Ipv6)).build().into()
}

fn words(words: &[&str]) -> Schema {
    text().enum_values(Some(words.iter().copied())).build().into()
}

/// What a pool can be.
pub(super) fn pool_state_schema() -> Schema {
    words(&super::super::status::POOL_STATES)
}

/// What a check can say.
pub(super) fn verdict_schema() -> Schema {
    words(&["up", "down", "unknown"])
}
