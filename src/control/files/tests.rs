//! Real files in a temporary directory: what is an edit, what is none.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Every wait in these tests ends here, and fails.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longer than quiet time and poll together: what has not been said by then is not said.
const SILENCE: Duration = Duration::from_millis(900);

struct World {
    directory: tempfile::TempDir,
    sender: watch::Sender<Watched>,
    edits: Edits,
}

impl World {
    /// A directory of zones with `a.toml`, watched.
    async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("zones")).unwrap();
        fs::write(directory.path().join("zones/a.toml"), "one").unwrap();
        World::watching(directory, &["zones"]).await
    }

    async fn watching(directory: tempfile::TempDir, names: &[&str]) -> World {
        // So that the files are older than the "load".
        tokio::time::sleep(Duration::from_millis(30)).await;
        let paths = names.iter().map(|name| directory.path().join(name)).collect();
        let (sender, receiver) = watch::channel(Watched { paths, loaded: SystemTime::now() });
        World { directory, sender, edits: watch(receiver) }
    }

    /// As [`World::new`], and the watch stands: what is not an edit can be told only from then on.
    async fn calm() -> World {
        let mut world = World::new().await;
        fs::write(world.path("zones/first.toml"), "one").unwrap();
        world.edited().await;
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn edited(&mut self) -> Edited {
        tokio::time::timeout(DEADLINE, self.edits.next()).await.expect("no edit was found").expect("the watch ended")
    }

    async fn silent(&mut self) {
        let found = tokio::time::timeout(SILENCE, self.edits.next()).await;
        assert!(found.is_err(), "an edit was found where there is none");
    }
}

#[tokio::test]
async fn an_edit_in_place_is_found_within_a_second() {
    let mut world = World::calm().await;
    fs::write(world.path("zones/a.toml"), "two").unwrap();
    let written = Instant::now();
    let edited = world.edited().await;
    assert!(written.elapsed() < Duration::from_millis(800), "{:?}", written.elapsed());
    assert!(edited.still_holds());
    world.silent().await;
}

#[tokio::test]
async fn files_that_do_not_matter_take_no_edit_back() {
    let mut world = World::calm().await;
    fs::write(world.path("zones/a.toml"), "two").unwrap();
    let edited = world.edited().await;
    // While it is loaded: an editor's swap file comes and goes.
    fs::write(world.path("zones/.a.toml.swp"), "").unwrap();
    assert!(edited.still_holds());
    fs::remove_file(world.path("zones/.a.toml.swp")).unwrap();
    assert!(edited.still_holds());
    fs::write(world.path("zones/b.toml"), "another zone").unwrap();
    assert!(!edited.still_holds());
}

#[tokio::test]
async fn a_rename_over_is_found_again_and_again() {
    let mut world = World::new().await;
    for round in 0..3 {
        fs::write(world.path("zones/.a.toml.tmp"), format!("round {round}")).unwrap();
        fs::rename(world.path("zones/.a.toml.tmp"), world.path("zones/a.toml")).unwrap();
        world.edited().await;
    }
}

#[tokio::test]
async fn a_new_file_and_a_removed_file_are_found() {
    let mut world = World::new().await;
    fs::write(world.path("zones/b.zone"), "two").unwrap();
    world.edited().await;
    fs::remove_file(world.path("zones/b.zone")).unwrap();
    world.edited().await;
}

#[tokio::test]
async fn a_link_made_with_its_other_name_removed_is_whole_at_once() {
    let mut world = World::new().await;
    fs::write(world.path("zones/.tmp"), "two").unwrap();
    fs::hard_link(world.path("zones/.tmp"), world.path("zones/b.toml")).unwrap();
    fs::remove_file(world.path("zones/.tmp")).unwrap();
    world.edited().await;
}

#[tokio::test]
async fn a_slow_writer_counts_only_once_it_has_closed() {
    let mut world = World::calm().await;
    let mut file = File::create(world.path("zones/a.toml")).unwrap();
    for _ in 0..4 {
        file.write_all(b"half").unwrap();
        world.silent().await;
    }
    drop(file);
    let edited = world.edited().await;
    assert!(edited.still_holds());
}

#[tokio::test]
async fn a_new_file_counts_only_once_its_writer_has_closed() {
    let mut world = World::calm().await;
    let mut file = File::create(world.path("zones/b.toml")).unwrap();
    world.silent().await;
    fs::write(world.path("zones/a.toml"), "two").unwrap();
    world.silent().await;
    file.write_all(b"whole").unwrap();
    drop(file);
    world.edited().await;
}

#[tokio::test]
async fn what_editors_leave_beside_is_no_edit() {
    let mut world = World::calm().await;
    for name in [".a.toml.swp", "a.toml~", "4913", "#a.toml#", ".hidden.toml", "README.md", "a.toml.bak"] {
        fs::write(world.path("zones").join(name), "two").unwrap();
        fs::remove_file(world.path("zones").join(name)).unwrap();
        fs::write(world.path("zones").join(name), "three").unwrap();
    }
    world.silent().await;
}

#[tokio::test]
async fn the_same_content_written_again_is_no_edit() {
    let mut world = World::calm().await;
    fs::write(world.path("zones/a.toml"), "one").unwrap();
    world.silent().await;
    fs::write(world.path("zones/.new"), "one").unwrap();
    fs::rename(world.path("zones/.new"), world.path("zones/a.toml")).unwrap();
    world.silent().await;
}

#[tokio::test]
async fn a_save_through_a_backup_rename_is_one_edit() {
    let mut world = World::calm().await;
    fs::rename(world.path("zones/a.toml"), world.path("zones/a.toml~")).unwrap();
    fs::write(world.path("zones/a.toml"), "two").unwrap();
    fs::remove_file(world.path("zones/a.toml~")).unwrap();
    world.edited().await;
    world.silent().await;
}

/// As Kubernetes mounts a ConfigMap: files link through `..data`, and an update swaps that link.
#[tokio::test]
async fn a_swapped_data_link_is_found_twice() {
    let directory = tempfile::tempdir().unwrap();
    let zones = directory.path().join("zones");
    for (version, text) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        fs::create_dir_all(zones.join(version)).unwrap();
        fs::write(zones.join(version).join("a.toml"), text).unwrap();
    }
    symlink("..1", zones.join("..data")).unwrap();
    symlink("..data/a.toml", zones.join("a.toml")).unwrap();
    let mut world = World::watching(directory, &["zones"]).await;
    for version in ["..2", "..3"] {
        symlink(version, zones.join("..data_tmp")).unwrap();
        fs::rename(zones.join("..data_tmp"), zones.join("..data")).unwrap();
        world.edited().await;
    }
    // And an edit of what the links now lead to.
    fs::write(zones.join("..3/a.toml"), "four").unwrap();
    world.edited().await;
    fs::write(zones.join("..1/a.toml"), "nobody sees this").unwrap();
    world.silent().await;
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_watched_there() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("elsewhere")).unwrap();
    fs::create_dir(directory.path().join("zones")).unwrap();
    fs::write(directory.path().join("elsewhere/real"), "one").unwrap();
    symlink("../elsewhere/real", directory.path().join("zones/a.toml")).unwrap();
    let mut world = World::watching(directory, &["zones/a.toml"]).await;
    fs::write(world.path("elsewhere/real"), "two").unwrap();
    world.edited().await;
    fs::write(world.path("elsewhere/other"), "two").unwrap();
    world.silent().await;
}

#[tokio::test]
async fn a_directory_replaced_by_another_is_watched_again() {
    let mut world = World::new().await;
    fs::create_dir(world.path("zones.new")).unwrap();
    fs::write(world.path("zones.new/a.toml"), "two").unwrap();
    fs::rename(world.path("zones"), world.path("zones.old")).unwrap();
    fs::rename(world.path("zones.new"), world.path("zones")).unwrap();
    world.edited().await;
    fs::write(world.path("zones/a.toml"), "three").unwrap();
    world.edited().await;
    fs::remove_dir_all(world.path("zones")).unwrap();
    world.edited().await;
    fs::create_dir(world.path("zones")).unwrap();
    fs::write(world.path("zones/a.toml"), "four").unwrap();
    world.edited().await;
}

#[tokio::test]
async fn a_changed_mode_is_found_where_it_changes_what_can_be_read() {
    let mut world = World::calm().await;
    let path = world.path("zones/a.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        // Root reads everything: nothing changed.
        return world.silent().await;
    }
    world.edited().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    world.edited().await;
}

#[tokio::test]
async fn an_edit_between_load_and_watch_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let loaded = SystemTime::now();
    fs::write(directory.path().join("a.toml"), "later").unwrap();
    let paths = vec![directory.path().to_path_buf()];
    let (_sender, receiver) = watch::channel(Watched { paths, loaded });
    let mut edits = watch(receiver);
    let found = tokio::time::timeout(DEADLINE, edits.next()).await;
    assert!(found.is_ok_and(|found| found.is_some()));
}

#[tokio::test]
async fn what_vanished_between_load_and_watch_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let paths = vec![directory.path().join("gone")];
    let (sender, receiver) = watch::channel(Watched { paths: paths.clone(), loaded: SystemTime::now() });
    let mut world = World { directory, sender, edits: watch(receiver) };
    world.edited().await;
    // Loaded again, and it may be missing: that is no news.
    world.sender.send_replace(Watched { paths, loaded: SystemTime::now() });
    world.silent().await;
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_loaded_is_announced_again() {
    let mut world = World::new().await;
    fs::write(world.path("zones/a.toml"), "two").unwrap();
    let edited = world.edited().await;
    let mut file = OpenOptions::new().append(true).open(world.path("zones/a.toml")).unwrap();
    file.write_all(b" and a half").unwrap();
    assert!(!edited.still_holds());
    drop(file);
    assert!(world.edited().await.still_holds());
}

#[tokio::test]
async fn another_set_replaces_the_old_one() {
    let mut world = World::calm().await;
    fs::create_dir(world.path("other")).unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let paths = vec![world.path("other")];
    world.sender.send_replace(Watched { paths, loaded: SystemTime::now() });
    world.silent().await;
    fs::write(world.path("zones/a.toml"), "nobody sees this").unwrap();
    world.silent().await;
    fs::write(world.path("other/b.toml"), "two").unwrap();
    world.edited().await;
}

#[tokio::test]
async fn without_events_a_poll_finds_edits_that_lie_still() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.toml");
    fs::write(&path, "one").unwrap();
    let (edits, receiver) = watch::channel(None);
    let mut found = Edits(receiver);
    let mut files = Files {
        paths: Arc::default(),
        known: Arc::default(),
        settle: Settle::default(),
        polled: None,
        next_poll: Instant::now(),
        missed: Arc::default(),
        notifier: None,
        blind: Some("no events here".into()),
    };
    let loaded = SystemTime::now() + Duration::from_secs(1);
    files.replace(Watched { paths: vec![path.clone()], loaded }).await;
    files.poll(&edits).await;
    assert!(!found.0.has_changed().unwrap());
    for text in ["two", "two and", "two and three"] {
        fs::write(&path, text).unwrap();
        files.poll(&edits).await;
        assert!(!found.0.has_changed().unwrap(), "a file still growing was taken");
    }
    files.poll(&edits).await;
    assert!(found.next().await.is_some_and(|edited| edited.still_holds()));
}
