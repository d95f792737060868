//! The journal and the stream of changes: each change once, in order, and nothing missed by who comes again.

use serde_json::Value;

use super::*;

/// A stream of events, read one by one.
struct Watching(TcpStream, String);

#[derive(Debug)]
struct Seen {
    name: String,
    id: Option<String>,
    data: Value,
}

impl Watching {
    async fn of(server: &Running, query: &str, headers: &str) -> Watching {
        let ControlAddress::Tcp(address) = server.address else { panic!("a TCP address") };
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = format!("GET /v1/events?{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        Watching(stream, String::new())
    }

    /// The next event.
    async fn next(&mut self) -> Seen {
        loop {
            if let Some(begin) = self.1.find("event: ")
                && let Some(length) = self.1[begin..].find("\n\n")
            {
                let text = self.1[begin..begin + length].to_owned();
                self.1.drain(..begin + length + 2);
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                return Seen { name: field("event: ").unwrap(), id: field("id: "), data };
            }
            let mut octets = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut octets)).await.expect("an event").unwrap();
            assert!(read > 0, "the stream ended: {}", self.1);
            self.1.push_str(std::str::from_utf8(&octets[..read]).unwrap());
        }
    }
}

async fn override_by(server: &Running, backend: &str, state: &str) {
    let line = format!("PUT /v1/zones/lb.example.com/pools/web/backends/{backend}/state");
    assert_eq!(server.json(&line, &format!(r#"{{"state": "{state}", "by": "me"}}"#)).await.0, 200);
}

#[tokio::test]
async fn each_kind_of_change_is_told_as_it_happens() {
    let server = Running::tcp().await;
    let mut all = Watching::of(&server, "kinds=all", "").await;
    let begin = all.next().await;
    assert_eq!((begin.name.as_str(), &begin.data["missed"], begin.id.is_some()), ("begin", &false.into(), true));
    override_by(&server, "a", "down").await;
    let transition = all.next().await;
    assert_eq!((transition.name.as_str(), &transition.data["kind"]), ("transition", &"transition".into()));
    assert_eq!(transition.data["data"]["to"], "forced down");
    assert_eq!(transition.id.as_deref(), transition.data["event"].as_str());
    let told = all.next().await;
    assert_eq!((told.name.as_str(), &told.data["data"]["by"]), ("override", &"me".into()));
    assert_eq!(told.data["data"]["backend"], "lb.example.com/web/a");

    // The last of a pool: it answers nothing any more.
    override_by(&server, "b", "down").await;
    let (_, _, pool) = (all.next().await, all.next().await, all.next().await);
    assert_eq!((pool.name.as_str(), &pool.data["data"]["to"]), ("pool", &"closed".into()), "{pool:?}");
    assert_eq!(pool.data["data"]["pool"], "lb.example.com/web");

    server.write_zone(&ZONE.replace("backends", "backend"));
    server.client().reload(false).await.unwrap();
    let reload = all.next().await;
    assert_eq!((reload.name.as_str(), &reload.data["data"]["ok"]), ("reload", &false.into()));
    server.stop().await;
}

#[tokio::test]
async fn who_comes_again_misses_nothing_and_sees_nothing_twice() {
    let server = Running::tcp().await;
    let mut first = Watching::of(&server, "kinds=override", "").await;
    assert_eq!(first.next().await.name, "begin");
    override_by(&server, "a", "drain").await;
    let seen = first.next().await.id.unwrap();
    drop(first);
    override_by(&server, "a", "auto").await;
    override_by(&server, "b", "drain").await;
    for mut again in [
        Watching::of(&server, "kinds=override", &format!("last-event-id: {seen}\r\n")).await,
        Watching::of(&server, &format!("kinds=override&since={seen}"), "").await,
    ] {
        let begin = again.next().await;
        assert_eq!((begin.name.as_str(), &begin.data["missed"]), ("begin", &false.into()));
        let states = [again.next().await, again.next().await].map(|one| one.data["data"]["state"].clone());
        assert_eq!(states, ["auto", "drain"]);
    }
    // An event of a process that is no more.
    let mut other = Watching::of(&server, "kinds=override", "last-event-id: 1-1\r\n").await;
    let begin = other.next().await;
    assert_eq!((begin.name.as_str(), &begin.data["missed"]), ("begin", &true.into()));
    assert_eq!(other.next().await.data["data"]["state"], "drain", "from the oldest that is known");
    server.stop().await;
}

#[tokio::test]
async fn the_journal_is_read_on_from_where_one_was() {
    let server = Running::tcp().await;
    let (_, start) = server.json("GET /v1/changes", "").await;
    assert_eq!(start["items"][0]["kind"], "reload", "the start is the first: {start}");
    let since = start["next"].as_str().unwrap();
    override_by(&server, "a", "down").await;
    override_by(&server, "a", "auto").await;
    let mut kinds = Vec::new();
    let mut since = since.to_owned();
    loop {
        let (status, page) = server.json(&format!("GET /v1/changes?limit=1&since={since}"), "").await;
        assert_eq!((status, &page["missed"]), (200, &false.into()));
        kinds.extend(page["items"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap().to_owned()));
        page["next"].as_str().unwrap().clone_into(&mut since);
        if page["more"] == false {
            break;
        }
    }
    let mut expected = ["transition", "override"].repeat(2);
    expected.sort();
    kinds.sort();
    assert_eq!(kinds, expected);
    let (_, page) = server.json("GET /v1/changes?kinds=override&limit=1", "").await;
    assert_eq!((&page["items"][0]["data"]["state"], &page["more"]), (&"down".into(), &true.into()));
    for query in ["since=x", "since=", "kinds=all,pool", "kinds=", "limit=0"] {
        assert_eq!(server.json(&format!("GET /v1/changes?{query}"), "").await.0, 400, "{query}");
    }
    let (_, transitions) = server.json("GET /v1/transitions?backend=*/*/a&limit=1", "").await;
    assert_eq!((transitions["items"].as_array().unwrap().len(), &transitions["items"][0]["to"]), (1, &"auto".into()));
    server.stop().await;
}
