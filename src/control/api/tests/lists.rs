//! Lists in pages: complete, without doubles, bounded, and of one load of the files.

use serde_json::Value;

use super::*;

/// More names than one slice of a list looks at, in two zones.
const NAMES: usize = 5003;

async fn large() -> Running {
    let mut zone = ZONE.to_owned();
    (0..NAMES).for_each(|number| zone.push_str(&format!("n{number} = \"web\"\n")));
    let loopback = ControlAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let other = ZONE.replace("lb.example.com", "other.example").replace("web", "site");
    Running::start_of(&loopback, "", "", &[("lb", &zone), ("other", &other)]).await
}

/// All pages of a list, each with at most `limit` items. As clients do, it begins anew when the files were loaded again between
/// two pages: files that were written in the moment of the start are looked at once more.
async fn walk(running: &Running, list: &str, limit: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut after = String::new();
    let mut anew = 0;
    loop {
        let (status, page) = running.json(&format!("GET {list}limit={limit}{after}"), "").await;
        if status == 410 && anew < 3 {
            anew += 1;
            items.clear();
            after.clear();
            continue;
        }
        assert_eq!(status, 200, "{page}");
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= limit && (found.len() == limit || page["next"].is_null()), "{page}");
        items.extend(found.iter().cloned());
        let Some(next) = page["next"].as_str() else { return items };
        after = format!("&after={next}");
    }
}

#[tokio::test]
async fn pages_hold_each_name_once() {
    let running = large().await;
    for limit in [1000, 999] {
        let names = walk(&running, "/v1/names?", limit).await;
        let mut texts: Vec<String> = names.iter().map(|item| format!("{} {}", item["name"], item["type"])).collect();
        texts.sort();
        texts.dedup();
        // Each has two types.
        assert_eq!((names.len(), texts.len()), (2 * (NAMES + 2), 2 * (NAMES + 2)));
    }
    let one = walk(&running, "/v1/names?name=n77.*&", 7).await;
    assert_eq!(one.len(), 2);
    assert_eq!((&one[0]["name"], &one[0]["zone"]), (&"n77.lb.example.com".into(), &"lb.example.com".into()));
    // A zone behind thousands of names that are not wanted.
    for list in ["/v1/names?zone=other.*&", "/v1/zones/other.example/names?", "/v1/zones/OTHER.example./names?"] {
        let found = walk(&running, list, 5).await;
        assert_eq!((found.len(), &found[0]["name"]), (2, &"www.other.example".into()), "{list}");
    }
    assert_eq!(walk(&running, "/v1/names?pool=site&", 5).await.len(), 2);
    running.stop().await;
}

/// What is looked up for a page alone is what `status` looks up for everything.
#[tokio::test]
async fn pages_say_of_backends_what_status_says() {
    let loopback = ControlAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let more = "[pools.b]\nbackends = [{ address = \"192.0.2.1\" }, { address = \"192.0.2.9\" }]\n[pools.a]\nbackends = [{ address = \"192.0.2.9\" }]\n\
                [routes.two]\ntype = \"weighted\"\nchoices = [\"a\", \"b\"]\n[routes.one]\ntype = \"failover\"\nchoices = [\"b\", \"a\"]\n\
                [names]\nx = \"two\"\ny = \"one\"\n";
    let zone = ZONE.replace("[names]\n", more);
    let other = ZONE.replace("lb.example.com", "a.example");
    let running = Running::start_of(&loopback, "", "", &[("lb", &zone), ("a", &other)]).await;
    for backend in ["*/web/a", "*/b/192.0.2.9", "*/a/*"] {
        running.client().set_state(&StateChange { state: AdminState::Drain, ..change(backend) }).await.unwrap();
    }
    let status = serde_json::to_value(running.client().status().await.unwrap()).unwrap();
    let of = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let zones = of(&status, "zones");
    let pools: Vec<Value> = zones.iter().flat_map(|zone| of(zone, "pools")).collect();
    let mut all: Vec<Value> = pools.iter().flat_map(|pool| of(pool, "backends")).collect();
    let mut listed = walk(&running, "/v1/backends?", 2).await;
    assert!(listed.iter().any(|one| one["drain"]["answered_by"].is_array() || one["drain"].is_object()), "{listed:#?}");
    all.sort_by_key(|one| one["id"].to_string());
    listed.sort_by_key(|one| one["id"].to_string());
    assert_eq!(listed, all);
    // One zone's, by name; one at a time and all at once.
    for limit in [1, 100] {
        let own = walk(&running, "/v1/zones/lb.example.com/pools?", limit).await;
        let names: Vec<&str> = own.iter().map(|pool| pool["pool"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "web"]);
    }
    let routes = walk(&running, "/v1/zones/lb.example.com/routes?", 100).await;
    assert_eq!(routes, of(&zones[1], "routes"));
    assert_eq!(running.json("GET /v1/zones/lb.example.com/routes/two", "").await.1, routes[1]);
    let listed = walk(&running, "/v1/zones?", 1).await;
    let counted: Vec<_> = listed.iter().map(|one| (&one["pools"], &one["backends"], &one["routes"])).collect();
    assert_eq!(counted, [(&1.into(), &2.into(), &0.into()), (&3.into(), &5.into(), &2.into())]);
    running.stop().await;
}

#[tokio::test]
async fn a_page_of_files_that_were_loaded_again_is_gone() {
    let running = large().await;
    let mut line = String::new();
    let mut status = 410;
    for _ in 0..3 {
        let (_, page) = running.json("GET /v1/names?limit=10", "").await;
        line = format!("GET /v1/names?after={}", page["next"].as_str().unwrap());
        status = running.json(&line, "").await.0;
        if status != 410 {
            break;
        }
    }
    assert_eq!(status, 200);
    assert!(running.control.reload(ReloadCause::Command).await.unwrap().ok);
    let (status, problem) = running.json(&line, "").await;
    assert_eq!((status, problem["status"].as_u64()), (410, Some(410)), "{problem}");
    running.stop().await;
}

#[tokio::test]
async fn limits_and_places_that_make_no_sense_are_refused() {
    let running = Running::tcp().await;
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "after=", "after=x", "after=0-0-0", "limt=3"] {
        let (status, problem) = running.json(&format!("GET /v1/names?{query}"), "").await;
        assert_eq!((status, problem["status"].as_u64()), (400, Some(400)), "{query}: {problem}");
    }
    running.stop().await;
}

#[tokio::test]
async fn each_thing_is_found_by_its_name_and_what_is_not_there_is_404() {
    let running = large().await;
    let zone = running.json("GET /v1/zones/lb.example.com", "").await.1;
    assert_eq!((&zone["names"], &zone["pools"], &zone["backends"]), (&(2 * (NAMES + 1)).into(), &1.into(), &2.into()));
    assert_eq!(walk(&running, "/v1/zones?", 1).await.len(), 2);
    let name = running.json("GET /v1/zones/lb.example.com/names/WWW.lb.example.com", "").await.1;
    assert_eq!((&name[0]["pool"], &name[0]["type"]), (&"web".into(), &"A".into()));
    let pool = running.json("GET /v1/zones/lb.example.com/pools/web", "").await.1;
    assert_eq!(pool, serde_json::to_value(&running.client().status().await.unwrap().zones[0].pools[0]).unwrap());
    let backend = running.json("GET /v1/zones/lb.example.com/pools/web/backends/b", "").await.1;
    assert_eq!(backend["id"], "lb.example.com/web/b");
    assert_eq!(walk(&running, "/v1/zones/lb.example.com/pools/web/backends?", 1).await.len(), 2);
    assert_eq!(walk(&running, "/v1/pools?state=healthy&", 1).await.len(), 2);
    assert_eq!(walk(&running, "/v1/pools?state=panic&", 1).await.len(), 0);
    assert_eq!(walk(&running, "/v1/backends?backend=a&", 1).await.len(), 2);
    running.client().set_state(&change("other.example/site/a")).await.unwrap();
    let forced = walk(&running, "/v1/backends?state=forced*&", 1).await;
    assert_eq!((forced.len(), &forced[0]["id"]), (1, &"other.example/site/a".into()));
    let pool = "/v1/zones/lb.example.com/pools";
    for path in [
        "/v1/zones/none.example",
        "/v1/zones/a..b",
        "/v1/zones/none.example/names",
        "/v1/zones/lb.example.com/names/none.lb.example.com",
        "/v1/zones/lb.example.com/names/a..b",
        "/v1/zones/lb.example.com/routes/none",
        &format!("{pool}/none"),
        &format!("{pool}/none/backends"),
        &format!("{pool}/web/backends/none"),
        &format!("{pool}/web/backends/*"),
        &format!("{pool}/web/backends/none/checks"),
        &format!("{pool}/web/backends/none/state"),
    ] {
        let (status, problem) = running.json(&format!("GET {path}"), "").await;
        assert_eq!((status, problem["status"].as_u64()), (404, Some(404)), "{path}: {problem}");
    }
    running.stop().await;
}
