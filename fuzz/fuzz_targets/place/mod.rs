//! A directory of this process alone, in memory where there is such a place, that holds one zone file at a time.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let parent =
        ["/dev/shm", "/tmp"].into_iter().find(|path| fs::metadata(path).is_ok_and(|data| data.is_dir())).unwrap();
    let place = tempfile::tempdir_in(parent).unwrap().keep();
    fs::create_dir(place.join("zones")).unwrap();
    fs::write(place.join("rollcall.toml"), "zones = \"zones\"\n").unwrap();
    place
});

/// Loads `text` as the only zone.
pub fn load(file: &str, text: &[u8]) {
    // The fuzzer's hook ends the process at every panic, also at those that become errors.
    rollcall::config::quiet_guarded_panics();
    // `$INCLUDE`, `zonefile`, `ca` and the like would read whatever lies on this machine.
    if [&b"INCLUDE"[..], b"include", b"zonefile", b"tls"]
        .iter()
        .any(|word| text.windows(word.len()).any(|at| at == *word))
    {
        return;
    }
    fs::write(PLACE.join("zones").join(file), text).unwrap();
    match rollcall::config::load(Some(&PLACE.join("rollcall.toml"))) {
        Ok(plan) => assert!(!plan.zones.is_empty(), "loaded without a zone"),
        Err(error) => assert!(!error.diagnostics.is_empty(), "refused without a reason"),
    }
}
