//! A status as rows: zones, routes, pools and their backends, as far as the filter lets them.

use crate::control::view::{BackendStatus, PoolStatus, RouteStatus, Status, ZoneStatus};

/// One row of the table.
#[derive(Debug)]
pub(super) enum Row<'s> {
    Zone(&'s ZoneStatus),
    Route(&'s RouteStatus),
    Pool(&'s PoolStatus),
    Backend { pool: &'s PoolStatus, backend: &'s BackendStatus },
}

/// All rows that fit: a backend by its id, addresses, state or reason; a pool, a route and a zone by what is shown below
/// them, or by their own name.
pub(super) fn rows<'s>(status: &'s Status, filter: &str) -> Vec<Row<'s>> {
    let filter = filter.trim().to_lowercase();
    let fits = |text: &str| text.to_lowercase().contains(&filter);
    let mut rows = Vec::new();
    for zone in &status.zones {
        let before = rows.len();
        rows.push(Row::Zone(zone));
        let whole = fits(&zone.zone);
        for route in &zone.routes {
            let shown = whole || fits(&route.route) || fits(&route.state);
            rows.extend(shown.then_some(Row::Route(route)));
        }
        for pool in &zone.pools {
            let whole = whole || fits(&pool.pool) || fits(&pool.state);
            let shown = |backend: &&BackendStatus| {
                whole
                    || fits(&backend.id)
                    || fits(&backend.state)
                    || backend.addresses.iter().any(|one| fits(&one.address) || fits(&one.reason))
            };
            let backends: Vec<&BackendStatus> = pool.backends.iter().filter(shown).collect();
            if whole || !backends.is_empty() {
                rows.push(Row::Pool(pool));
                rows.extend(backends.into_iter().map(|backend| Row::Backend { pool, backend }));
            }
        }
        if rows.len() == before + 1 && !whole {
            rows.pop();
        }
    }
    rows
}

/// The backend's part of the first places that its pool answers now, in the first family in which it is answered; `None`
/// when it is not.
pub(super) fn share(pool: &PoolStatus, backend: &BackendStatus) -> Option<f64> {
    let family = pool.families.iter().find(|family| family.answering.contains(&backend.backend))?;
    let by_weight = matches!(pool.policy.as_str(), "weighted" | "least-load" | "hash");
    let weight = |one: &BackendStatus| {
        let is_of = |address: &str| (family.rtype == "AAAA") == address.contains(':');
        let now = one.addresses.iter().find(|address| is_of(&address.address)).and_then(|address| address.weight);
        f64::from(now.unwrap_or(one.weight))
    };
    let answering = || pool.backends.iter().filter(|one| family.answering.contains(&one.backend));
    let total: f64 = answering().map(weight).sum();
    match by_weight && total > 0.0 {
        true => Some(weight(backend) / total),
        false => Some(1.0 / answering().count() as f64),
    }
}
