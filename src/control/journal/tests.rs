//! What was recorded is found again, whatever happened to the files; and a disk that refuses costs nothing but patience.

use std::fs;
use std::time::Instant;

use super::segments::{self, Damage, SEGMENTS, Segment, Segments};
use super::*;

fn event(number: u64) -> Event {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + number);
    Event::new(at, What::OverrideEnded { id: format!("z/p/{number}") })
}

fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers.map(event).collect()
}

fn all(state_dir: &Path) -> JournalPage {
    read(state_dir, &JournalQuery::default()).unwrap()
}

fn seqs(page: &JournalPage) -> Vec<u64> {
    page.records.iter().map(|record| record.seq).collect()
}

fn first_file(state_dir: &Path) -> PathBuf {
    segments::path(&segments::directory(state_dir), 1)
}

#[test]
fn what_was_recorded_is_there_in_order_and_goes_on_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    for begin in [0, 5, 10] {
        let (mut segments, damage) = Segments::open(place.path()).unwrap();
        assert_eq!(damage, Damage::default());
        segments.append(&events(begin..begin + 5)).unwrap();
    }
    let page = all(place.path());
    assert_eq!(seqs(&page), (1..=15).collect::<Vec<_>>());
    assert_eq!(page.records.iter().map(|record| record.event.clone()).collect::<Vec<_>>(), events(0..15));
    let text = fs::read_to_string(first_file(place.path())).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "for jq:\n{text}");
}

#[test]
fn a_journal_cut_at_every_octet_keeps_every_whole_record_and_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (mut segments, _) = Segments::open(place.path()).unwrap();
    segments.append(&events(0..4)).unwrap();
    let whole = fs::read(first_file(place.path())).unwrap();
    for cut in 0..=whole.len() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(segments::directory(place.path())).unwrap();
        fs::write(first_file(place.path()), &whole[..cut]).unwrap();
        let lines = whole[..cut].iter().filter(|&&octet| octet == b'\n').count();
        let records = lines.saturating_sub(1) as u64;
        let (mut segments, damage) = Segments::open(place.path()).unwrap();
        let end = whole[..cut].iter().rposition(|&octet| octet == b'\n').map_or(0, |last| last + 1);
        assert_eq!(damage, Damage { torn: (cut - end) as u64, broken: 0 }, "{cut}");
        segments.append(&events(9..10)).unwrap();
        let page = all(place.path());
        assert_eq!(seqs(&page), (1..=records + 1).collect::<Vec<_>>(), "{cut}");
        assert_eq!((page.records.last().unwrap().event.clone(), page.damaged), (event(9), 0), "{cut}");
    }
}

#[test]
fn garbage_costs_the_lines_that_it_hits_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let (mut segments, _) = Segments::open(place.path()).unwrap();
    segments.append(&events(0..4)).unwrap();
    drop(segments);
    let whole = fs::read(first_file(place.path())).unwrap();
    let header = whole.iter().position(|&octet| octet == b'\n').unwrap() + 1;
    for at in header..whole.len() {
        for garbage in [b'\0', 0xff, b'\n', b'0'] {
            let mut text = whole.clone();
            if text[at] == garbage {
                continue;
            }
            text[at] = garbage;
            let segment = Segment::parse(&text);
            // A line end that is gone joins two lines: both fail.
            let lost = if whole[at] == b'\n' { 2 } else { 1 };
            let expected = if at == whole.len() - 1 { 3 } else { 4 - lost };
            assert_eq!(segment.records.len(), expected, "{at} {garbage}");
        }
    }
}

#[test]
fn the_oldest_files_go_and_a_newer_format_is_let_alone() {
    let place = tempfile::tempdir().unwrap();
    let directory = segments::directory(place.path());
    fs::create_dir(&directory).unwrap();
    // Written by a version to come: its format is higher.
    let body = r#"{"journal":2,"version":"9.0.0"}"#;
    let newer =
        format!("{},\"crc\":\"{:08x}\"}}\nsomething else\n", &body[..body.len() - 1], crc32fast::hash(body.as_bytes()));
    fs::write(segments::path(&directory, 1), &newer).unwrap();
    let (mut segments, damage) = Segments::open_limited(place.path(), 400).unwrap();
    assert_eq!(damage, Damage::default());
    for number in 0..60 {
        segments.append(&events(number..number + 1)).unwrap();
    }
    let numbers = segments::numbers(&directory).unwrap();
    assert!(numbers.contains(&1) && numbers.len() == SEGMENTS + 1, "{numbers:?}");
    assert_eq!(fs::read_to_string(segments::path(&directory, 1)).unwrap(), newer);
    let page = all(place.path());
    let seqs = seqs(&page);
    assert!(seqs.len() > 10 && seqs.last() == Some(&60) && seqs.windows(2).all(|two| two[0] + 1 == two[1]), "{seqs:?}");
}

#[test]
fn times_and_a_limit_choose() {
    let place = tempfile::tempdir().unwrap();
    let (mut segments, _) = Segments::open_limited(place.path(), 600).unwrap();
    (0..30).for_each(|number| segments.append(&events(number..number + 1)).unwrap());
    let at = |number: u64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + number));
    let chosen = |since, until, limit| {
        let page = read(place.path(), &JournalQuery { since, until, limit }).unwrap();
        (seqs(&page), page.more)
    };
    assert_eq!(chosen(at(10), at(12), None), (vec![11, 12, 13], false));
    assert_eq!(chosen(None, None, Some(2)), (vec![29, 30], true));
    assert_eq!(chosen(None, at(0), Some(2)), (vec![1], false));
    assert_eq!(chosen(at(50), None, None), (vec![], false));
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(all(nowhere.path()), JournalPage::default(), "no journal is an empty one");
}

/// A file in the place of the directory: every attempt fails at its first step, as on a full disk; for root too.
#[test]
fn a_disk_that_refuses_holds_records_back_and_they_follow_when_it_takes_them() {
    let place = tempfile::tempdir().unwrap();
    let directory = segments::directory(place.path());
    fs::write(&directory, "").unwrap();
    let journal = Journal::start(place.path());
    journal.begin();
    (0..10).for_each(|number| journal.record(event(number)));
    journal.settle();
    let state = journal.state();
    assert!(state.error.is_some(), "{state:?}");
    assert_eq!((state.waiting, state.lost), (10, 0));
    let begun = Instant::now();
    (10..MOST_WAITING as u64 + 25).for_each(|number| journal.record(event(number)));
    assert!(begun.elapsed() < Duration::from_secs(1), "nobody waits for the disk");
    journal.settle();
    assert_eq!((journal.state().waiting, journal.state().lost), (MOST_WAITING, 25));
    fs::remove_file(&directory).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while journal.state() != (JournalState { error: None, waiting: 0, lost: 25 }) {
        assert!(Instant::now() < deadline, "{:?}", journal.state());
        thread::sleep(Duration::from_millis(20));
    }
    let page = journal.read(&JournalQuery::default()).unwrap();
    assert_eq!(page.records.last().unwrap().event.what, What::Lost { count: 25 });
    assert!(page.more && page.records.len() == MOST_RECORDS);
}

#[test]
fn who_has_handed_over_writes_nothing_and_finds_the_end_again() {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (Journal::start(place.path()), Journal::start(place.path()));
    new.record(event(1));
    old.begin();
    old.record(event(0));
    old.pause().unwrap();
    new.begin();
    new.settle();
    old.record(event(3));
    old.settle();
    assert_eq!(all(place.path()).records.iter().map(|one| one.event.clone()).collect::<Vec<_>>(), events(0..2));
    // The other one did not come up after all.
    new.record(event(2));
    new.pause().unwrap();
    old.begin();
    old.settle();
    let page = all(place.path());
    assert_eq!(seqs(&page), [1, 2, 3, 4]);
    assert_eq!(page.records.iter().map(|one| one.event.clone()).collect::<Vec<_>>(), events(0..4));
}

/// A disk that hangs holds the thread in one call: here nobody takes what is asked of it.
#[test]
fn a_pause_gives_up_when_the_disk_hangs() {
    let (jobs, _inbox) = channel();
    let journal = Journal { jobs, shared: Arc::default(), on_way: Arc::default(), state_dir: PathBuf::new() };
    let begun = std::time::Instant::now();
    assert!(!journal.settle_within(Duration::from_millis(100)));
    assert!(journal.pause().unwrap_err().contains("did not answer within 5 s"));
    assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < 2 * PATIENCE);
}
