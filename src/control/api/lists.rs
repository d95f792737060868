//! Zones, names, pools, backends, checks and routes: one by one, and in pages of bounded size.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::resources::{self, Place, Slice, Wanted};
use super::super::view::{
    BackendStatus, CheckItem, NameItem, NameStatus, Page, PoolStatus, PoolSummary, RouteStatus, ZoneSummary,
};
use super::super::world::World;
use super::document::{limit_schema, place_schema, pool_state_schema, verdict_schema};
use super::error::ApiError;
use super::extract::{Asked, At};
use super::{Api, fresh};

/// Items of a page, unless asked otherwise.
pub(super) const USUAL_PAGE: usize = 100;
/// Items of a page at most.
pub(super) const LARGEST_PAGE: usize = 1000;

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(zones))
        .routes(routes!(zone))
        .routes(routes!(zone_names))
        .routes(routes!(zone_name))
        .routes(routes!(zone_pools))
        .routes(routes!(zone_pool))
        .routes(routes!(pool_backends))
        .routes(routes!(pool_backend))
        .routes(routes!(backend_checks))
        .routes(routes!(zone_routes))
        .routes(routes!(zone_route))
        .routes(routes!(names))
        .routes(routes!(pools))
        .routes(routes!(backends))
        .routes(routes!(checks))
}

/// How many, and from where on.
#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PageParams {
    /// Items of a page at most.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
    /// `next` of the page before. After a reload it is 410: begin anew.
    #[param(schema_with = place_schema)]
    after: Option<String>,
}

/// The `limit` of a request.
pub(super) fn limit(asked: Option<usize>) -> Result<usize, ApiError> {
    match asked.unwrap_or(USUAL_PAGE) {
        limit @ 1..=LARGEST_PAGE => Ok(limit),
        _ => Err(ApiError::bad(format!("limit is a number from 1 to {LARGEST_PAGE}"))),
    }
}

/// A list of [`resources`]: what is wanted of it, from where on, how many at most.
type List<T> = fn(&World, &Wanted, Option<Place>, usize) -> Option<Slice<T>>;

/// One page, put together from slices so that the task that decides is never kept for long.
async fn page<T: Serialize + Send + 'static>(
    api: &Api,
    asked: PageParams,
    wanted: Wanted,
    list: List<T>,
) -> Result<Response, ApiError> {
    let limit = limit(asked.limit)?;
    let begin = asked.after.map(|text| Place::read(&text).ok_or_else(|| ApiError::bad("after is no `next` of a page")));
    let mut place = begin.transpose()?;
    let mut items = Vec::new();
    while items.len() < limit {
        let (wanted, rest) = (wanted.clone(), limit - items.len());
        let slice = api.control.look(move |world| list(world, &wanted, place, rest)).await?;
        let gone = || ApiError(StatusCode::GONE, "the files were loaded again since: begin the list anew".to_owned());
        let slice = slice.ok_or_else(gone)?;
        items.extend(slice.items);
        place = slice.next;
        if place.is_none() {
            break;
        }
    }
    Ok(fresh(Json(Page { items, next: place.map(|place| place.to_string()) })))
}

/// What belongs to one zone; 404 where there is none.
async fn in_zone(api: &Api, zone: String) -> Result<Wanted, ApiError> {
    let named = zone.clone();
    api.control.look(move |world| resources::zone_named(world, &named).map(drop)).await??;
    Ok(Wanted { within: Some((zone, None)), ..Wanted::default() })
}

/// The zones, by name.
#[utoipa::path(
    get, path = "/v1/zones", tag = "resources", params(PageParams),
    responses((status = 200, description = "A page of zones.", body = Page<ZoneSummary>))
)]
async fn zones(State(api): State<Api>, Asked(asked): Asked<PageParams>) -> Result<Response, ApiError> {
    page(&api, asked, Wanted::default(), |world, _, from, limit| resources::zones(world, from, limit)).await
}

/// One zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}", tag = "resources", params(("zone" = String, Path, description = "Its apex.")),
    responses((status = 200, description = "The zone.", body = ZoneSummary))
)]
async fn zone(State(api): State<Api>, At(zone): At<String>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.look(move |world| resources::zone(world, &zone)).await??)))
}

/// The balanced names of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/names", tag = "resources",
    params(("zone" = String, Path, description = "Its apex."), PageParams),
    responses((status = 200, description = "A page of names, each type by itself.", body = Page<NameItem>))
)]
async fn zone_names(
    State(api): State<Api>,
    At(zone): At<String>,
    Asked(asked): Asked<PageParams>,
) -> Result<Response, ApiError> {
    let wanted = in_zone(&api, zone).await?;
    page(&api, asked, wanted, resources::names).await
}

/// One balanced name, all its types.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/names/{name}", tag = "resources",
    params(("zone" = String, Path, description = "Its apex."), ("name" = String, Path, description = "Absolute: www.lb.example.com.")),
    responses((status = 200, description = "Each type of the name.", body = Vec<NameStatus>))
)]
async fn zone_name(State(api): State<Api>, At((zone, name)): At<(String, String)>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.look(move |world| resources::name(world, &zone, &name)).await??)))
}

/// The pools of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/pools", tag = "resources",
    params(("zone" = String, Path, description = "Its apex."), PageParams),
    responses((status = 200, description = "A page of pools, without their backends.", body = Page<PoolSummary>))
)]
async fn zone_pools(
    State(api): State<Api>,
    At(zone): At<String>,
    Asked(asked): Asked<PageParams>,
) -> Result<Response, ApiError> {
    let wanted = in_zone(&api, zone).await?;
    page(&api, asked, wanted, resources::pools).await
}

/// One pool with its backends, as `status` has it.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/pools/{pool}", tag = "resources",
    params(("zone" = String, Path, description = "Its zone."), ("pool" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The pool.", body = PoolStatus))
)]
async fn zone_pool(State(api): State<Api>, At((zone, pool)): At<(String, String)>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.look(move |world| resources::pool(world, &zone, &pool)).await??)))
}

/// The backends of a pool.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/pools/{pool}/backends", tag = "resources",
    params(("zone" = String, Path, description = "Its zone."), ("pool" = String, Path, description = "Its name."), PageParams),
    responses((status = 200, description = "A page of backends.", body = Page<BackendStatus>))
)]
async fn pool_backends(
    State(api): State<Api>,
    At((zone, pool)): At<(String, String)>,
    Asked(asked): Asked<PageParams>,
) -> Result<Response, ApiError> {
    let within = Some((zone.clone(), Some(pool.clone())));
    api.control.look(move |world| resources::pool_named(world, &zone, &pool)).await??;
    page(&api, asked, Wanted { within, ..Wanted::default() }, resources::backends).await
}

/// One backend.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/pools/{pool}/backends/{backend}", tag = "resources",
    params(
        ("zone" = String, Path, description = "Its zone."),
        ("pool" = String, Path, description = "Its pool."),
        ("backend" = String, Path, description = "Its name."),
    ),
    responses((status = 200, description = "The backend.", body = BackendStatus))
)]
async fn pool_backend(
    State(api): State<Api>,
    At((zone, pool, backend)): At<(String, String, String)>,
) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.look(move |world| resources::backend(world, &zone, &pool, &backend)).await??)))
}

/// The checks of a backend, each of its addresses by itself.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/pools/{pool}/backends/{backend}/checks", tag = "resources",
    params(
        ("zone" = String, Path, description = "Its zone."),
        ("pool" = String, Path, description = "Its pool."),
        ("backend" = String, Path, description = "Its name."),
    ),
    responses((status = 200, description = "All of them.", body = Page<CheckItem>))
)]
async fn backend_checks(
    State(api): State<Api>,
    At((zone, pool, backend)): At<(String, String, String)>,
) -> Result<Response, ApiError> {
    let items = api.control.look(move |world| resources::checks_of(world, &zone, &pool, &backend)).await??;
    Ok(fresh(Json(Page { items, next: None })))
}

/// The routes of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/routes", tag = "resources", params(("zone" = String, Path, description = "Its apex.")),
    responses((status = 200, description = "All of them, by name.", body = Page<RouteStatus>))
)]
async fn zone_routes(State(api): State<Api>, At(zone): At<String>) -> Result<Response, ApiError> {
    let items = api.control.look(move |world| resources::routes(world, &zone)).await??;
    Ok(fresh(Json(Page { items, next: None })))
}

/// One route.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/routes/{route}", tag = "resources",
    params(("zone" = String, Path, description = "Its zone."), ("route" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The route.", body = RouteStatus))
)]
async fn zone_route(State(api): State<Api>, At((zone, route)): At<(String, String)>) -> Result<Response, ApiError> {
    Ok(fresh(Json(api.control.look(move |world| resources::route(world, &zone, &route)).await??)))
}

/// Which names are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct NamesParams {
    /// Items of a page at most.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
    /// `next` of the page before. After a reload it is 410: begin anew.
    #[param(schema_with = place_schema)]
    after: Option<String>,
    /// A glob over zones.
    zone: Option<String>,
    /// A glob over absolute names.
    name: Option<String>,
    /// A glob over the pools and routes that names lead to.
    pool: Option<String>,
}

/// Balanced names of all zones.
#[utoipa::path(
    get, path = "/v1/names", tag = "resources", params(NamesParams),
    responses((status = 200, description = "A page of names, each type by itself.", body = Page<NameItem>))
)]
async fn names(State(api): State<Api>, Asked(asked): Asked<NamesParams>) -> Result<Response, ApiError> {
    let NamesParams { limit, after, zone, name, pool } = asked;
    let wanted = Wanted { zone, name, pool, ..Wanted::default() };
    page(&api, PageParams { limit, after }, wanted, resources::names).await
}

/// Which pools are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct PoolsParams {
    /// Items of a page at most.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
    /// `next` of the page before. After a reload it is 410: begin anew.
    #[param(schema_with = place_schema)]
    after: Option<String>,
    /// A glob over zones.
    zone: Option<String>,
    /// A glob over names of pools.
    pool: Option<String>,
    /// Their state.
    #[param(schema_with = pool_state_schema)]
    state: Option<PoolState>,
}

/// What a pool can be.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum PoolState {
    Healthy,
    Degraded,
    Frozen,
    Diverted,
    Panic,
    Closed,
}

/// Pools of all zones.
#[utoipa::path(
    get, path = "/v1/pools", tag = "resources", params(PoolsParams),
    responses((status = 200, description = "A page of pools, without their backends.", body = Page<PoolSummary>))
)]
async fn pools(State(api): State<Api>, Asked(asked): Asked<PoolsParams>) -> Result<Response, ApiError> {
    let PoolsParams { limit, after, zone, pool, state } = asked;
    let state = state.map(|state| {
        let word = match state {
            PoolState::Healthy => "healthy",
            PoolState::Degraded => "degraded",
            PoolState::Frozen => "frozen",
            PoolState::Diverted => "diverted",
            PoolState::Panic => "panic",
            PoolState::Closed => "closed",
        };
        word.to_owned()
    });
    page(&api, PageParams { limit, after }, Wanted { zone, pool, state, ..Wanted::default() }, resources::pools).await
}

/// Which backends are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct BackendsParams {
    /// Items of a page at most.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
    /// `next` of the page before. After a reload it is 410: begin anew.
    #[param(schema_with = place_schema)]
    after: Option<String>,
    /// A glob over zones.
    zone: Option<String>,
    /// A glob over names of pools.
    pool: Option<String>,
    /// A glob over names of backends.
    backend: Option<String>,
    /// A glob over their states: `down`, `drain*`, `forced *`.
    state: Option<String>,
}

/// Backends of all pools.
#[utoipa::path(
    get, path = "/v1/backends", tag = "resources", params(BackendsParams),
    responses((status = 200, description = "A page of backends.", body = Page<BackendStatus>))
)]
async fn backends(State(api): State<Api>, Asked(asked): Asked<BackendsParams>) -> Result<Response, ApiError> {
    let BackendsParams { limit, after, zone, pool, backend, state } = asked;
    let wanted = Wanted { zone, pool, backend, state, ..Wanted::default() };
    page(&api, PageParams { limit, after }, wanted, resources::backends).await
}

/// Which checks are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ChecksParams {
    /// Items of a page at most; the checks of one backend stand on one page all the same.
    #[param(schema_with = limit_schema)]
    limit: Option<usize>,
    /// `next` of the page before. After a reload it is 410: begin anew.
    #[param(schema_with = place_schema)]
    after: Option<String>,
    /// A glob over zones.
    zone: Option<String>,
    /// A glob over names of pools.
    pool: Option<String>,
    /// A glob over names of backends.
    backend: Option<String>,
    /// Their verdict.
    #[param(schema_with = verdict_schema)]
    verdict: Option<VerdictWord>,
}

/// What a check can say.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum VerdictWord {
    Up,
    Down,
    Unknown,
}

/// Checks of all backends, each address by itself.
#[utoipa::path(
    get, path = "/v1/checks", tag = "resources", params(ChecksParams),
    responses((status = 200, description = "A page of checks.", body = Page<CheckItem>))
)]
async fn checks(State(api): State<Api>, Asked(asked): Asked<ChecksParams>) -> Result<Response, ApiError> {
    let ChecksParams { limit, after, zone, pool, backend, verdict } = asked;
    let word = |verdict| match verdict {
        VerdictWord::Up => "up".to_owned(),
        VerdictWord::Down => "down".to_owned(),
        VerdictWord::Unknown => "unknown".to_owned(),
    };
    let wanted = Wanted { zone, pool, backend, state: verdict.map(word), ..Wanted::default() };
    page(&api, PageParams { limit, after }, wanted, resources::checks).await
}
