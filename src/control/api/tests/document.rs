//! The OpenAPI document and the routes are the same, and what is answered is what the document says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::document::operations;
use super::*;

/// Every path of the router, as its debug output has it.
fn paths_of(router: &Router<Api>) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|path| path.starts_with('/') && !path.contains("axum")).map(str::to_owned).collect()
}

/// The methods of each path of the document.
fn methods_of(document: &mut OpenApi) -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut all: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
    for (path, method, _) in operations(document) {
        all.entry(path.to_owned()).or_default().insert(method);
    }
    all
}

#[tokio::test]
async fn every_route_is_in_the_document_and_every_operation_is_a_route() {
    let running = Running::tcp().await;
    let (router, mut document) = parts(&running.api());
    let documented = methods_of(&mut document);
    let routed = paths_of(&router);
    assert!(routed.len() > 25, "{routed:?}");
    assert_eq!(routed, documented.keys().cloned().collect(), "left: routes, right: the document");
    for (path, methods) in documented {
        let line = format!("PATCH {}", path.replace(['{', '}'], "x"));
        let reply = running.raw(&request(&line, "", "")).await;
        assert!(reply.starts_with("HTTP/1.1 405 "), "{line}: {reply}");
        let allow = reply.lines().find_map(|line| line.strip_prefix("allow: ")).expect("RFC 9110 15.5.6 wants Allow");
        // HEAD comes with GET (RFC 9110 9.3.2).
        let allowed: BTreeSet<&str> = allow.split(',').filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, methods, "{path}: left: routes, right: the document");
    }
    running.stop().await;
}

#[tokio::test]
async fn every_error_is_a_problem_and_every_reference_leads_somewhere() {
    let running = Running::tcp().await;
    let (status, document) = running.json("GET /openapi.json", "").await;
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    assert_eq!(document["info"]["version"], crate::VERSION);
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is referred to, and not there");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}: its id stands twice");
            assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            for (code, response) in operation["responses"].as_object().unwrap() {
                let content = response["content"].as_object().unwrap();
                let typed = content.values().all(|media| media["schema"].is_object());
                assert!(typed && !content.is_empty(), "{method} {path} {code}: {response}");
                // A refused reload is an answer that says why.
                if code.as_str() >= "400" && !(path.ends_with("/reload") && code == "422") {
                    assert!(content.contains_key("application/problem+json"), "{method} {path} {code}");
                }
            }
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn what_is_answered_fits_the_document() {
    let zone = format!(
        "{ZONE}\n[routes.either]\ntype = \"failover\"\nchoices = [\"web\"]\n[checks.agent]\ntype = \"push\"\nttl = \"60s\"\n\
         [pools.pushed]\ninitial = \"up\"\nchecks = [\"agent\"]\nbackends = [{{ name = \"c\", address = \"192.0.2.3\" }}]\n"
    );
    let loopback = ControlAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let running = Running::start_of(&loopback, "state_dir = \"state\"\n", "", &[("lb", &zone)]).await;
    let (_, document) = running.json("GET /openapi.json", "").await;
    running.client().set_state(&change("lb.example.com/web/a")).await.unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("get").filter(|_| path.as_str() != "/v1/events") else { continue };
        let Some(schema) = operation["responses"]["200"]["content"]["application/json"].get("schema") else { continue };
        let (pool, backend) = if path.contains("check") { ("pushed", "c") } else { ("web", "a") };
        let mut line = format!("GET {path}")
            .replace("{zone}", "lb.example.com")
            .replace("{pool}", pool)
            .replace("{backend}", backend)
            .replace("{name}", "www.lb.example.com")
            .replace("{route}", "either");
        if path.ends_with("/explain") || path.ends_with("/shares") {
            line.push_str("?name=www.lb.example.com&shares=true");
        }
        let line = if path.ends_with("/shares") { line.replace("&shares=true", "") } else { line };
        let (code, body) = running.json(&line, "").await;
        assert_eq!(code, 200, "{line}: {body}");
        let items = body.get("items").and_then(Value::as_array);
        assert!(items.is_none_or(|items| !items.is_empty()), "{line} shows nothing: {body}");
        let whole = json!({ "components": document["components"], "allOf": [schema] });
        let errors: Vec<String> =
            jsonschema::validator_for(&whole).unwrap().iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}\n{body}");
        seen += 1;
    }
    assert!(seen > 18, "{seen} routes answer JSON");
    running.stop().await;
}
