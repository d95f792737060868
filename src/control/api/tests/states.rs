//! The state of one backend: set, shown, ended, taken back.

use std::time::SystemTime;

use super::*;

const STATE: &str = "/v1/zones/lb.example.com/pools/web/backends/a/state";

#[tokio::test]
async fn a_backend_is_drained_until_a_time_with_who_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::unix(directory.path()).await;
    let body = r#"{"state": "drain", "until": "2090-01-01T01:30:00+02:00", "reason": "kernel"}"#;
    let (status, changed) = server.json(&format!("PUT {STATE}"), body).await;
    assert_eq!((status, &changed["backends"][0]), (200, &"lb.example.com/web/a".into()), "{changed}");
    let (_, state) = server.json(&format!("GET {STATE}"), "").await;
    let own = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    assert_eq!(state["override"]["state"], "drain");
    assert_eq!(state["override"]["until"], "2089-12-31T23:30:00.000Z", "to the millisecond, whatever the request took");
    assert_eq!(state["override"]["reason"], "kernel");
    assert_eq!(state["override"]["by"], own, "the user at the other end of the socket");
    assert_eq!(state["configured"], "auto");
    // Nobody else was meant.
    assert!(server.override_of("b").await.is_none());

    for _ in 0..2 {
        assert_eq!(server.json(&format!("PUT {STATE}"), r#"{"state": "auto"}"#).await.0, 200, "it may be said twice");
        assert!(server.override_of("a").await.is_none());
    }
    server.stop().await;
}

#[tokio::test]
async fn of_until_and_for_the_earlier_holds() {
    let server = Running::tcp().await;
    let until = |forced: OverrideStatus| humantime::parse_rfc3339(&forced.until.unwrap()).unwrap();
    let body = r#"{"state": "down", "until": "2090-01-01T00:00:00Z", "for": "30m", "by": "deploy"}"#;
    assert_eq!(server.json(&format!("PUT {STATE}"), body).await.0, 200);
    let forced = server.override_of("a").await.unwrap();
    assert_eq!(forced.by.as_deref(), Some("deploy"));
    let left = until(forced).duration_since(SystemTime::now()).unwrap();
    assert!(left <= Duration::from_secs(1800) && left > Duration::from_secs(1700), "{left:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let server = Running::tcp().await;
    for (body, expected) in [
        (r#"{"state": "drain", "until": "2001-01-01T00:00:00Z"}"#, 409),
        (r#"{"state": "drain", "until": "9999-01-01T00:00:00Z"}"#, 409),
        (r#"{"state": "drain", "until": "2090-01-01T00:00:00"}"#, 400),
        (r#"{"state": "drain", "until": "tomorrow"}"#, 400),
        (r#"{"state": "drain", "for": "soon"}"#, 400),
        (r#"{"state": "drain", "for": "99999999d"}"#, 400),
        (r#"{"state": "drain", "untl": "2090-01-01T00:00:00Z"}"#, 422),
        (r#"{"state": "sideways"}"#, 422),
        (r#"{"reason": "none"}"#, 422),
        ("{", 400),
    ] {
        let (status, problem) = server.json(&format!("PUT {STATE}"), body).await;
        assert_eq!((status, problem["status"].as_u64()), (expected, Some(expected.into())), "{body}: {problem}");
    }
    let long = format!(r#"{{"state": "drain", "reason": "{}"}}"#, "x".repeat(1001));
    assert_eq!(server.json(&format!("PUT {STATE}"), &long).await.0, 400);
    let (status, _) = server.json(&format!("PUT {}", STATE.replace("/a/", "/*/")), r#"{"state": "drain"}"#).await;
    assert_eq!(status, 404, "a name is no pattern");
    assert!(server.override_of("a").await.is_none() && server.override_of("b").await.is_none());
    server.stop().await;
}
