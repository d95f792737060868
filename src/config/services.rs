//! What balanced names need of the backends that they may lead to: SRV a target and a port, and a CNAME a place where one may
//! stand.

use std::collections::{BTreeSet, HashMap};

use super::compile::Assembly;
use super::plan::{BackendPlan, NamePlan, OnAllDown, Target};
use super::rdata::{rtype, type_name};
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;
use crate::engine::zone::ZoneData;

/// Checks every balanced name of a zone; `places` says where each owner stands.
pub(super) fn check(
    data: &ZoneData,
    names: &[NamePlan],
    places: &HashMap<Name, Place>,
    assembly: &Assembly,
    report: &mut Report,
) {
    for name in names {
        let Some(&place) = places.get(&name.owner) else { continue };
        let pools = pools_below(assembly, name.to);
        let backends = || pools.iter().flat_map(|&pool| assembly.pools[pool].backends.iter());
        let owner = name.owner.to_string();
        match name.rtype {
            rtype::SRV => {
                let incomplete: Vec<String> = backends().filter_map(lacks).collect();
                if !incomplete.is_empty() {
                    let message = format!("{owner} SRV cannot name every backend: {}", incomplete.join(", "));
                    let help = "SRV says where a service is by name and port (RFC 2782): give each backend target = \"NAME\" \
                                and port = NUMBER";
                    report.add(Problem::error(place, message).key(owner).help(help.to_owned()));
                }
            }
            rtype::A | rtype::AAAA if backends().any(|backend| backend.cname.is_some()) => {
                check_alias(data, name, place, report);
            }
            _ => {}
        }
    }
}

/// What SRV lacks of a backend.
fn lacks(backend: &BackendPlan) -> Option<String> {
    let what = match (backend.srv_target(), backend.port) {
        (Some(_), Some(_)) => return None,
        (None, Some(_)) => "a target",
        (Some(_), None) => "a port",
        (None, None) => "a target and a port",
    };
    Some(format!("{:?} lacks {what}", backend.name))
}

/// A CNAME stands alone (RFC 1034 3.6.2), and never at the apex, where SOA and NS stand.
fn check_alias(data: &ZoneData, name: &NamePlan, place: Place, report: &mut Report) {
    let owner = name.owner.to_string();
    if name.owner == *data.apex() {
        let message = format!("{owner} is the zone's apex, where no CNAME can stand; its pool has a backend with one");
        report.add(Problem::error(place, message).key(owner));
        return;
    }
    let Some(node) = data.find(name.owner.as_wire()) else { return };
    let others = data.sets(node).iter().filter(|set| !matches!(set.rtype, rtype::A | rtype::AAAA));
    let others: Vec<String> = others.map(|set| type_name(set.rtype)).collect();
    if !others.is_empty() {
        let message = format!(
            "{owner} may answer a CNAME, beside which nothing can stand, and has {} as well",
            others.join(", ")
        );
        report.add(Problem::error(place, message).key(owner));
    }
}

/// Every pool that may answer.
fn pools_below(assembly: &Assembly, from: Target) -> Vec<usize> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(target) = open.pop() {
        if !seen.insert(target) {
            continue;
        }
        match target {
            Target::Route(route) => open.extend(assembly.routes[route].choices()),
            Target::Pool(pool) => {
                if let OnAllDown::To(other) = assembly.pools[pool].on_all_down {
                    open.push(other);
                }
            }
        }
    }
    let pool = |target| if let Target::Pool(pool) = target { Some(pool) } else { None };
    seen.into_iter().filter_map(pool).collect()
}
