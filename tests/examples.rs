//! What a user copies must load: every example, the zones of the repository, and every complete file shown in the documents.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

#[test]
fn every_example_validates() {
    let mut seen = Vec::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let directory = entry.unwrap().path();
        let server_file = directory.join("rollcall.toml");
        if !directory.is_dir() {
            continue;
        }
        assert!(server_file.is_file(), "{} holds no rollcall.toml", directory.display());
        assert!(directory.join("README.md").is_file(), "{} says nothing about itself", directory.display());
        validate(&server_file);
        seen.push(directory);
    }
    assert!(seen.len() >= 5, "found only {seen:?}");
}

#[test]
fn every_example_is_listed() {
    let list = fs::read_to_string(root().join("examples/README.md")).unwrap();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "README.md" || list.contains(&name), "examples/README.md does not speak of {name}");
    }
}

#[test]
fn the_repositorys_zones_validate() {
    let place = tempfile::tempdir().unwrap();
    let server_file = place.path().join("rollcall.toml");
    fs::write(&server_file, format!("zones = {:?}\n", root().join("zones").display().to_string())).unwrap();
    validate(&server_file);
}

/// Fences opened with ```` ```toml server ```` or ```` ```toml zone ```` are complete files.
#[test]
fn every_complete_file_in_the_documents_validates() {
    let mut documents = vec![root().join("README.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut count = 0;
    for document in documents.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        for (kind, body) in complete_files(&text) {
            let place = tempfile::tempdir().unwrap();
            let zones = place.path().join("zones");
            fs::create_dir(&zones).unwrap();
            let server_file = place.path().join("rollcall.toml");
            let (server, zone) = match kind.as_str() {
                "server" => {
                    (body, "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n".to_owned())
                }
                _ => ("zones = \"zones\"\n".to_owned(), body),
            };
            fs::write(&server_file, server).unwrap();
            fs::write(zones.join("zone.toml"), zone).unwrap();
            eprintln!("a {kind} file in {}", document.display());
            validate(&server_file);
            count += 1;
        }
    }
    assert!(count >= 3, "the documents hold only {count} complete files");
}

/// Runs `rollcall validate`; fails with its output. A zone without a word in the output was not loaded.
fn validate(server_file: &Path) {
    let output =
        Command::cargo_bin("rollcall").unwrap().arg("validate").arg("--config").arg(server_file).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} does not load:\n{said}", server_file.display());
    assert!(!said.trim().is_empty(), "validate said nothing about {}", server_file.display());
}

fn complete_files(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```toml ").map(str::trim) else { continue };
        assert!(kind == "server" || kind == "zone", "unknown kind of file: {line}");
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        found.push((kind.to_owned(), body.join("\n") + "\n"));
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
