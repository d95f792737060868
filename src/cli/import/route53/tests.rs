//! Each routing policy, by what it becomes.

use super::*;

/// Record sets as JSON, without the braces around.
fn convert_json(sets: &str, health: &str) -> (String, Vec<String>) {
    let soa = r#"{"Name": "example.com.", "Type": "SOA", "TTL": 900, "ResourceRecords":
        [{"Value": "ns-1.awsdns-1.org. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"}]},
        {"Name": "example.com.", "Type": "NS", "TTL": 60, "ResourceRecords": [{"Value": "ns-1.awsdns-1.org."}]}"#;
    let input = serde_json::from_str(&format!("{{\"ResourceRecordSets\": [{soa}, {sets}]}}")).unwrap();
    let health = serde_json::from_str(&format!("{{\"HealthChecks\": [{health}]}}")).unwrap();
    let mut notes = Vec::new();
    let blocks = HashMap::from([(
        "c0ffee00-1".to_owned(),
        vec![CidrBlock { cidr_block: "192.0.2.0/24".to_owned(), location_name: "office".to_owned() }],
    )]);
    let draft = convert(input, health, blocks, &mut notes).unwrap();
    (draft.write(&[]), notes)
}

fn set(name: &str, rtype: &str, more: &str, values: &[&str]) -> String {
    let values: Vec<String> =
        values.iter().map(|value| format!("{{\"Value\": {}}}", serde_json::json!(value))).collect();
    format!(r#"{{"Name": "{name}", "Type": "{rtype}", "TTL": 60, {more} "ResourceRecords": [{}]}}"#, values.join(","))
}

const CHECK: &str = r#"{"Id": "abcdef01-2345", "HealthCheckConfig": {"IPAddress": "192.0.2.1", "Port": 8080, "Type": "HTTP",
    "ResourcePath": "/up", "FullyQualifiedDomainName": "www.example.com", "RequestInterval": 10, "FailureThreshold": 2}}"#;

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "lacks\n{part}\nin\n{text}");
    }
}

#[test]
fn simple_records_stay_records_and_escapes_are_read() {
    let sets = [
        set("\\\\052.dev.example.com.", "CNAME", "", &["www.example.com"]),
        set("example.com.", "TXT", "", &["\"a\\052b\" \"c\""]),
        set("example.com.", "MX", "", &["10 mail.example.com", "20 mx.example.net."]),
    ];
    let (text, notes) = convert_json(&sets.join(","), "");
    holds(&text, &["\"*.dev\" = { CNAME = \"www\" }", "MX = [\"10 mail\", \"20 mx.example.net.\"]"]);
    holds(&text, &["mname        = \"ns-1.awsdns-1.org.\"", "negative_ttl = 86400", "ttl  = 60"]);
    holds(&text, &["TXT = '\"a*b\" \"c\"'"]);
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn weighted_records_become_a_weighted_pool_with_checks() {
    let sets = [
        set(
            "www.example.com.",
            "A",
            r#""SetIdentifier": "one", "Weight": 3, "HealthCheckId": "abcdef01-2345","#,
            &["192.0.2.1"],
        ),
        set("www.example.com.", "A", r#""SetIdentifier": "two", "Weight": 0,"#, &["192.0.2.2"]),
    ];
    let (text, notes) = convert_json(&sets.join(","), CHECK);
    holds(&text, &["[pools.www]\npolicy   = \"weighted\"\n"]);
    holds(&text, &["  { name = \"one\", address = \"192.0.2.1\", weight = 3, check = \"hc-abcdef01\" },\n"]);
    holds(&text, &["  { name = \"two\", address = \"192.0.2.2\", weight = 0 },\n", "www = \"www\"\n"]);
    holds(&text, &["[checks.hc-abcdef01]", "path     = \"/up\"", "interval = \"10s\"", "fall     = 2", "rise     = 2"]);
    assert!(!text.contains("target"), "it probes what it answers\n{text}");
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn both_families_become_one_pool_where_they_say_the_same() {
    let sets = [
        set("www.example.com.", "A", r#""SetIdentifier": "a", "Failover": "PRIMARY","#, &["192.0.2.1"]),
        set("www.example.com.", "A", r#""SetIdentifier": "b", "Failover": "SECONDARY","#, &["192.0.2.2"]),
        set("www.example.com.", "AAAA", r#""SetIdentifier": "b", "Failover": "SECONDARY","#, &["2001:db8::2"]),
        set("www.example.com.", "AAAA", r#""SetIdentifier": "a", "Failover": "PRIMARY","#, &["2001:db8::1"]),
    ];
    let (text, _) = convert_json(&sets.join(","), "");
    holds(&text, &["{ name = \"a\", address = [\"192.0.2.1\", \"2001:db8::1\"] },", "www = \"www\"\n"]);
    holds(&text, &["{ name = \"b\", address = [\"192.0.2.2\", \"2001:db8::2\"], tier = 1 },"]);
}

#[test]
fn an_owner_balanced_in_one_family_holds_no_static_address_of_the_other() {
    let sets = [
        set("www.example.com.", "A", r#""SetIdentifier": "a", "Weight": 1,"#, &["192.0.2.1"]),
        set("www.example.com.", "AAAA", "", &["2001:db8::1", "2001:db8::2"]),
    ];
    let (text, _) = convert_json(&sets.join(","), "");
    holds(&text, &["www = [{ to = \"www\", type = \"A\" }, { to = \"www-aaaa\", type = \"AAAA\" }]\n"]);
    holds(&text, &["[pools.www-aaaa]", "\"2001:db8::2\""]);
    assert!(!text.contains("{ AAAA = "), "{text}");
}

#[test]
fn multivalue_answers_all() {
    let sets: Vec<String> = (1..=3)
        .map(|n| {
            let more = format!(r#""SetIdentifier": "{n}", "MultiValueAnswer": true,"#);
            set("www.example.com.", "A", &more, &[&format!("192.0.2.{n}")])
        })
        .collect();
    let (text, _) = convert_json(&sets.join(","), "");
    assert!(!text.contains("policy"), "round-robin, eight at most, is the default\n{text}");
    assert_eq!(text.matches("{ name = ").count(), 3);
}

#[test]
fn places_and_networks_become_maps() {
    let sets = [
        set(
            "www.example.com.",
            "A",
            r#""SetIdentifier": "eu", "GeoLocation": {"ContinentCode": "EU"},"#,
            &["192.0.2.1", "192.0.2.2"],
        ),
        set(
            "www.example.com.",
            "A",
            r#""SetIdentifier": "ca", "GeoLocation": {"CountryCode": "US", "SubdivisionCode": "CA"},"#,
            &["192.0.2.3"],
        ),
        set(
            "www.example.com.",
            "A",
            r#""SetIdentifier": "rest", "GeoLocation": {"CountryCode": "*"},"#,
            &["192.0.2.4"],
        ),
        set(
            "in.example.com.",
            "A",
            r#""SetIdentifier": "o", "CidrRoutingConfig": {"CollectionId": "c0ffee00-1", "LocationName": "office"},"#,
            &["192.0.2.5"],
        ),
        set(
            "in.example.com.",
            "A",
            r#""SetIdentifier": "r", "CidrRoutingConfig": {"CollectionId": "c0ffee00-1", "LocationName": "*"},"#,
            &["192.0.2.6"],
        ),
    ];
    let (text, _) = convert_json(&sets.join(","), "");
    holds(&text, &["type    = \"map\"", "map     = \"geo\""]);
    holds(&text, &["{ EU = \"www-eu\", \"NA/US/CA\" = \"www-ca\", default = \"www-rest\" }"]);
    holds(&text, &["[maps.cidr-c0ffee00]\nnetworks = { office = [\"192.0.2.0/24\"] }"]);
    holds(&text, &["{ office = \"in-o\", default = \"in-r\" }"]);
}

#[test]
fn regions_become_distances_and_trees_routes() {
    let sets = [
        set("eu.example.com.", "A", r#""SetIdentifier": "1", "Weight": 1,"#, &["192.0.2.1"]),
        set("eu.example.com.", "A", r#""SetIdentifier": "2", "Weight": 1,"#, &["192.0.2.2"]),
        r#"{"Name": "www.example.com.", "Type": "A", "SetIdentifier": "eu", "Region": "eu-west-1",
            "AliasTarget": {"HostedZoneId": "Z", "DNSName": "eu.example.com.", "EvaluateTargetHealth": true}}"#
            .to_owned(),
        set("www.example.com.", "A", r#""SetIdentifier": "us", "Region": "us-east-1","#, &["192.0.2.9"]),
        r#"{"Name": "example.com.", "Type": "A",
            "AliasTarget": {"HostedZoneId": "Z", "DNSName": "www.example.com.", "EvaluateTargetHealth": true}}"#
            .to_owned(),
    ];
    let (text, notes) = convert_json(&sets.join(","), "");
    holds(
        &text,
        &["type    = \"nearest\"", "{ to = \"eu\", at = [53.35, -6.26] }", "{ to = \"www-us\", at = [38.95, -77.45] }"],
    );
    holds(&text, &["[names]\n\"@\" = \"www\"\n", "eu = \"eu\"\n"]);
    assert!(notes.iter().any(|note| note.contains("by the distance")), "{notes:?}");
}

#[test]
fn what_cannot_be_said_is_noted() {
    let sets = [
        r#"{"Name": "example.com.", "Type": "A",
            "AliasTarget": {"HostedZoneId": "Z", "DNSName": "lb.elb.amazonaws.com.", "EvaluateTargetHealth": true}}"#
            .to_owned(),
        r#"{"Name": "cdn.example.com.", "Type": "A",
            "AliasTarget": {"HostedZoneId": "Z", "DNSName": "d1.cloudfront.net.", "EvaluateTargetHealth": false}}"#
            .to_owned(),
        set("c.example.com.", "CNAME", r#""SetIdentifier": "x", "Weight": 1,"#, &["x.example.net."]),
        set("c.example.com.", "CNAME", r#""SetIdentifier": "y", "Weight": 9,"#, &["y.example.net."]),
        set("w.example.com.", "A", r#""SetIdentifier": "x", "Weight": 1, "HealthCheckId": "none","#, &["192.0.2.1"]),
        set("v.example.com.", "A", r#""SetIdentifier": "x", "Weight": 1, "HealthCheckId": "cw-1","#, &["192.0.2.1"]),
        set(
            "t.example.com.",
            "A",
            r#""SetIdentifier": "x", "Weight": 1, "HealthCheckId": "abcdef01-2345","#,
            &["192.0.2.7"],
        ),
    ];
    let alarm = r#"{"Id": "cw-1", "HealthCheckConfig": {"Type": "CLOUDWATCH_METRIC"}}"#;
    let (text, notes) = convert_json(&sets.join(","), &format!("{CHECK},{alarm}"));
    holds(&text, &["cdn = { CNAME = \"d1.cloudfront.net.\" }", "c = { CNAME = \"y.example.net.\" }"]);
    holds(&text, &["target"]);
    for said in [
        "example.com. A: an alias of lb.elb.amazonaws.com.",
        "cdn.example.com. A: was an alias",
        "c.example.com. CNAME: rollcall chooses among A and AAAA only; of 2 record sets \"y\"",
        "health check none is not in the file",
        "health check cw-1 is of type CLOUDWATCH_METRIC",
        "health check abcdef01-2345 probes 192.0.2.1, which is not the address that is answered",
    ] {
        assert!(notes.iter().any(|note| note.starts_with(said)), "{said}\n{notes:#?}");
    }
}

#[test]
fn calculated_checks_name_their_children() {
    let calculated = r#"{"Id": "calc0000-1", "HealthCheckConfig": {"Type": "CALCULATED", "HealthThreshold": 1,
        "Inverted": true, "ChildHealthChecks": ["abcdef01-2345", "calc0000-1"]}}"#;
    let sets = set(
        "w.example.com.",
        "A",
        r#""SetIdentifier": "x", "Weight": 1, "HealthCheckId": "calc0000-1","#,
        &["192.0.2.1"],
    );
    let (text, _) = convert_json(&sets, &format!("{CHECK},{calculated}"));
    holds(&text, &["type   = \"of\"", "checks = [\"hc-abcdef01\"]", "invert = true"]);
}
