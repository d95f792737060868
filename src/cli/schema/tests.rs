//! Holds reader, schema and reference together: a key that one of them lacks fails here.

use std::collections::BTreeSet;

use super::*;

/// Every section that a file can reach.
fn sections() -> Vec<&'static Section> {
    fn walk(kind: &'static Kind, found: &mut Vec<&'static Section>) {
        let mut enter = |section: &'static Section| {
            if found.iter().all(|known| known.name != section.name) {
                found.push(section);
                section.keys.iter().for_each(|key| walk(&key.value, found));
            }
        };
        match kind {
            Kind::Table(section) => enter(section),
            Kind::ByType(section, types) => {
                enter(section);
                types.iter().flat_map(|(_, sections)| *sections).for_each(|section| enter(section));
            }
            Kind::OneOrMany(one)
            | Kind::List(one, _)
            | Kind::Named(one)
            | Kind::Owners(one)
            | Kind::Regions(one)
            | Kind::Types(one) => {
                walk(one, found);
            }
            Kind::Either(kinds) => kinds.iter().for_each(|kind| walk(kind, found)),
            _ => {}
        }
    }
    let mut found = vec![&keys::SERVER, &keys::ZONE];
    for root in [&keys::SERVER, &keys::ZONE] {
        root.keys.iter().for_each(|key| walk(&key.value, &mut found));
    }
    found
}

#[test]
fn every_key_is_explained_in_the_reference_or_says_itself_what_it_is_for() {
    let reference = Reference::read();
    let silent: Vec<String> = sections()
        .into_iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
        .filter(|(section, key)| reference.row(section, key.name).is_none() && key.text.is_empty())
        .map(|(section, key)| format!("{}.{}", section.name, key.name))
        .collect();
    assert!(silent.is_empty(), "no row of docs/configuration.md is about: {silent:?}");
}

#[test]
fn every_key_of_the_reference_is_known_to_reader_and_schema() {
    let sections = sections();
    let reference = Reference::read();
    assert!(reference.rows.len() > 60, "the reference was not read");
    let stray: Vec<&str> = reference
        .rows
        .iter()
        .filter(|row| !sections.iter().any(|section| row.is_of(section) && section.has(&row.key)))
        .map(|row| row.key.as_str())
        .collect();
    assert!(stray.is_empty(), "config/keys.rs lacks what docs/configuration.md explains: {stray:?}");
}

#[test]
fn names_of_sections_are_unique() {
    let sections = sections();
    let names: BTreeSet<&str> = sections.iter().map(|section| section.name).collect();
    assert_eq!(names.len(), sections.len());
}

#[test]
fn every_type_of_check_has_its_keys() {
    let Some(Key { value: Kind::Word(words), .. }) = keys::CHECK.keys.iter().find(|key| key.name == "type") else {
        panic!("checks have no type");
    };
    let types: Vec<&str> = keys::CHECK_TYPES.iter().map(|(name, _)| *name).collect();
    assert_eq!(*words, types);
}

#[test]
fn what_the_reference_says_reaches_the_editor() {
    let server = schema(File::Server);
    let payload = &server["$defs"]["dns"]["properties"]["max_udp_payload"];
    assert_eq!((&payload["default"], &payload["minimum"]), (&json!(1232), &json!(512)));
    assert!(payload["description"].as_str().unwrap().contains("Largest UDP reply"), "{payload}");
    let zone = schema(File::Zone);
    assert_eq!(zone["$defs"]["soa"]["properties"]["retry"]["default"], json!(900));
    let on_all_down = &zone["$defs"]["pool"]["properties"]["on_all_down"];
    assert_eq!(on_all_down["default"], json!("open"));
    assert!(on_all_down["description"].as_str().unwrap().starts_with("What is answered"), "{on_all_down}");
    let expect = &zone["$defs"]["check"]["properties"]["expect"];
    assert!(expect["description"].as_str().unwrap().contains("come back"), "{expect}");
}
