//! What is kept comes back, and nothing found in the directory stops a start.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn saved() -> Saved {
    let at = |seconds: u64| UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 250);
    Saved {
        overrides: vec![SavedOverride {
            zone: "lb.example.com".into(),
            pool: "web".into(),
            backend: "a".into(),
            state: AdminState::Drain,
            since: at(1_790_000_000),
            until: Some(at(1_790_000_600)),
            reason: Some("disk \"swap\"\n".into()),
            by: None,
        }],
        verdicts: vec![SavedVerdict {
            probe: "192.0.2.1:80-00ff".into(),
            up: false,
            since: at(1),
            last: at(2),
            reason: "connection refused".into(),
            said: Some("drain 50%".into()),
        }],
        serials: vec![SavedSerial { zone: "lb.example.com".into(), serial: u32::MAX }],
        answered: vec![SavedAnswer {
            zone: "lb.example.com".into(),
            pool: "web".into(),
            rtype: 28,
            backends: vec!["b".into(), "a".into()],
        }],
        starting: vec![SavedStart {
            zone: "lb.example.com".into(),
            pool: "web".into(),
            rtype: 1,
            machine: "192.0.2.1".into(),
            since: at(3),
        }],
        left: vec![SavedClock { held: "192.0.2.9".into(), until: at(1_790_000_031) }],
        longest_ttl: Some(300),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep/state");
    let (memory, found) = Memory::open(&directory).unwrap();
    assert_eq!(found, Saved::default());
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    memory.save(&saved()).unwrap();
    drop(memory);
    let (_memory, found) = Memory::open(&directory).unwrap();
    assert_eq!(found, saved());
    assert_eq!(names(&directory), ["lock", "state.json"]);
}

#[test]
fn times_are_written_for_people() {
    let parent = tempfile::tempdir().unwrap();
    let (memory, _) = Memory::open(parent.path()).unwrap();
    memory.save(&saved()).unwrap();
    let text = fs::read_to_string(parent.path().join(FILE)).unwrap();
    assert!(text.contains("\"since\": \"2026-09-21T14:13:20.250000000Z\""), "{text}");
    assert!(text.contains("\"format\": 1"), "{text}");
}

#[test]
fn two_servers_never_share_a_state_dir() {
    let parent = tempfile::tempdir().unwrap();
    let (memory, _) = Memory::open(parent.path()).unwrap();
    let error = Memory::open(parent.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)));
    assert!(error.to_string().contains("give each its own state_dir"), "{error}");
    drop(memory);
    Memory::open(parent.path()).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_set_aside_and_the_start_goes_on() {
    let newer = "{\"format\": 2, \"overrides\": 7}";
    let half = "{\"format\": 1, \"overrides\": [{\"zone\": \"lb.exa";
    let wrong = "{\"format\": 1, \"overrides\": [{\"zone\": 1}]}";
    for (number, text) in ["", "\0\0\0\0", half, wrong, newer, "[]"].into_iter().enumerate() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(FILE), text).unwrap();
        let (memory, found) = Memory::open(parent.path()).unwrap();
        assert_eq!(found, Saved::default(), "case {number}");
        let aside = parent.path().join("state.json.unreadable-1");
        assert_eq!(fs::read_to_string(&aside).unwrap(), text, "case {number}");
        memory.save(&saved()).unwrap();
        drop(memory);
        // A second one does not overwrite the first.
        fs::write(parent.path().join(FILE), "x").unwrap();
        drop(Memory::open(parent.path()).unwrap());
        assert_eq!(fs::read_to_string(&aside).unwrap(), text, "case {number}");
        assert_eq!(fs::read_to_string(parent.path().join("state.json.unreadable-2")).unwrap(), "x");
    }
}

/// As [`Memory::open`] reads it, without a disk for each octet.
fn read_back(text: &[u8]) -> Saved {
    serde_json::from_slice(text)
        .unwrap_or_else(|_| salvage::salvage(text, FORMAT).map(|found| found.saved).unwrap_or_default())
}

fn written() -> Vec<u8> {
    let parent = tempfile::tempdir().unwrap();
    let (memory, _) = Memory::open(parent.path()).unwrap();
    memory.save(&saved()).unwrap();
    fs::read(parent.path().join(FILE)).unwrap()
}

fn position(whole: &[u8], text: &str) -> usize {
    whole.windows(text.len()).position(|one| one == text.as_bytes()).unwrap()
}

#[test]
fn a_file_cut_at_every_octet_gives_every_entry_before_the_cut() {
    let whole = written();
    let counts = |one: &Saved| {
        let Saved { overrides, verdicts, serials, answered, starting, left, .. } = one;
        [overrides.len(), verdicts.len(), serials.len(), answered.len(), starting.len(), left.len()]
    };
    let mut before = [0; 6];
    for cut in 0..whole.len() {
        let found = read_back(&whole[..cut]);
        let now = counts(&found);
        assert!(before.iter().zip(&now).all(|(before, now)| before <= now), "{cut}: {before:?} {now:?}");
        before = now;
        if cut > position(&whole, "\"verdicts\"") {
            assert_eq!(found.overrides, saved().overrides, "{cut}");
        }
        if cut > position(&whole, "\"answered\"") {
            assert_eq!((&found.verdicts, &found.serials), (&saved().verdicts, &saved().serials), "{cut}");
        }
        if cut % 101 == 0 {
            let place = tempfile::tempdir().unwrap();
            fs::write(place.path().join(FILE), &whole[..cut]).unwrap();
            let (memory, opened) = Memory::open(place.path()).unwrap();
            assert_eq!(opened, found, "{cut}");
            assert_eq!(fs::read(place.path().join("state.json.unreadable-1")).unwrap(), &whole[..cut], "{cut}");
            // What was kept is what the next start finds, without a save between.
            drop(memory);
            assert_eq!(Memory::open(place.path()).unwrap().1, found, "{cut}");
        }
    }
    assert_eq!(before, [1; 6]);
}

#[test]
fn garbage_at_any_octet_never_costs_what_stands_before_it() {
    let whole = written();
    let begin = position(&whole, "\"verdicts\"") + 10;
    for at in 0..whole.len() {
        for garbage in [b'\0', 0xff, b'"', b'{', b']', b'7', b'\n'] {
            let mut text = whole.clone();
            text[at] = garbage;
            let found = read_back(&text);
            if at >= begin {
                let text = String::from_utf8_lossy(&text);
                assert_eq!(found.overrides, saved().overrides, "{at} {garbage}:\n{text}");
            }
        }
    }
}

#[test]
fn entries_of_another_version_are_dropped_alone() {
    let parent = tempfile::tempdir().unwrap();
    let text = r#"{"format":1,"overrides":[
        {"zone":"z","pool":"p","backend":"a","state":"hibernate","since":"2026-11-21T00:00:00Z"},
        {"zone":"z","pool":"p","backend":"b","state":"drain","since":"2026-11-21T00:00:00Z"}],
        "serials":7,"verdicts":[]}"#;
    fs::write(parent.path().join(FILE), text).unwrap();
    let (_memory, found) = Memory::open(parent.path()).unwrap();
    assert_eq!(found.overrides.iter().map(|one| one.backend.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(fs::read_to_string(parent.path().join("state.json.unreadable-1")).unwrap(), text);
}

#[test]
fn a_file_of_the_same_format_with_fewer_or_more_fields_is_read() {
    let parent = tempfile::tempdir().unwrap();
    let text = "{\"format\":1,\"drains\":[1],\"serials\":[{\"zone\":\"z\",\"serial\":3,\"journal\":9}]}";
    fs::write(parent.path().join(FILE), text).unwrap();
    let (_memory, found) = Memory::open(parent.path()).unwrap();
    assert_eq!(found.serials, [SavedSerial { zone: "z".into(), serial: 3 }]);
}

#[test]
fn what_a_kill_left_half_written_is_not_read() {
    let parent = tempfile::tempdir().unwrap();
    let (memory, _) = Memory::open(parent.path()).unwrap();
    memory.save(&saved()).unwrap();
    drop(memory);
    fs::write(parent.path().join(TEMPORARY), "{\"format\": 1, \"over").unwrap();
    let (memory, found) = Memory::open(parent.path()).unwrap();
    assert_eq!(found, saved());
    memory.save(&Saved::default()).unwrap();
    assert_eq!(names(parent.path()), ["lock", "state.json"]);
}

#[test]
fn a_save_that_fails_leaves_the_old_file_intact() {
    let parent = tempfile::tempdir().unwrap();
    let (memory, _) = Memory::open(parent.path()).unwrap();
    memory.save(&saved()).unwrap();
    // A directory in the place of the temporary file: the write fails at its first step, as on a full disk; for root too.
    fs::create_dir(parent.path().join(TEMPORARY)).unwrap();
    memory.save(&Saved::default()).unwrap_err();
    drop(memory);
    let (_memory, found) = Memory::open(parent.path()).unwrap();
    assert_eq!(found, saved());
}

#[test]
fn a_state_dir_that_is_a_file_is_an_error_that_names_it() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("state");
    fs::write(&path, "").unwrap();
    let error = Memory::open(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("state_dir {}: ", path.display())), "{error}");
    assert!(error.contains("must be a directory"), "{error}");
}
