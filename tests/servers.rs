//! The commands that ask servers, with several of them; and what reaches the terminal.

mod support;

use serde_json::Value;
use support::backend::Backend;
use support::server::{Place, Server, program, stderr, stdout};
use support::until;

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

fn zone(backends: &[String]) -> String {
    format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\nfall = 1\nrise = 1\n\
         [pools.web]\ncheck = \"web\"\nbackends = [{}]\n[names]\nwww = \"web\"\n",
        backends.join(", ")
    )
}

/// Two servers and the address of a third that is not there.
fn two(zone: &str) -> (Place, Place, Server, Server, String) {
    let (one, other) = (Place::with_zone(zone), Place::with_zone(zone));
    let (first, second) = (one.serve(), other.serve());
    let nobody = format!("unix:{}", one.path("nobody.sock").display());
    (one, other, first, second, nobody)
}

#[test]
fn one_command_reaches_several_servers_and_the_worst_code_is_its_own() {
    let [a, b] = Backend::several();
    let (_one, _other, first, second, nobody) = two(&zone(&[a.entry("a", ""), b.entry("b", "")]));
    let drain = |more: &[&str]| {
        let mut command = program();
        command.args([
            "state",
            "lb.example.com/web/b",
            "drain",
            "--control",
            &first.control,
            "--control",
            &second.control,
        ]);
        command.args(more).output().unwrap()
    };
    let output = drain(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for server in [&first, &second] {
        assert!(text.contains(&format!("== {}\n1 backend -> drain\n", server.control)), "{text}");
        assert_eq!(server.backend("lb.example.com/web/b")["state"], "draining");
    }
    let output = drain(&["--control", &nobody]);
    assert_eq!(output.status.code(), Some(4), "one of three is not there");
    assert!(stdout(&output).contains(&format!("== {nobody}\nrollcall: no server answers at")), "{}", stdout(&output));

    let output = drain(&["--json", "--control", &nobody]);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["servers"][0]["report"]["backends"][0], "lb.example.com/web/b");
    assert_eq!((&json["servers"][2]["exit"], json["servers"][2]["report"].is_null()), (&4.into(), true));

    let status = |more: &[&str]| {
        program()
            .args(["status", "--control", &first.control, "--control", &second.control])
            .args(more)
            .output()
            .unwrap()
    };
    assert_eq!(status(&[]).status.code(), Some(0), "a drain alone is well");
    assert_eq!(status(&["--watch"]).status.code(), Some(2), "a watch follows one");
    let one = program().args(["status", "--json", "--control", &first.control]).output().unwrap();
    let one: Value = serde_json::from_str(&stdout(&one)).unwrap();
    assert!(one["servers"].is_null() && one["zones"].is_array(), "one server's JSON is as it always was");
}

#[test]
fn history_says_what_changed_and_chooses() {
    let [mut a, b] = Backend::several();
    let place = Place::with_zone(&zone(&[a.entry("a", ""), b.entry("b", "")]));
    let server = place.serve();
    let history = |more: &[&str]| {
        let output = program().args(["history", "--control", &server.control]).args(more).output().unwrap();
        (stdout(&output), output.status.code())
    };
    a.kill();
    until("a is down", || history(&["*/web/a"]).0.contains("connection refused"));
    let (text, code) = history(&["*/web/a", "--since", "1h"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("lb.example.com/web/a") && !text.contains("web/b"), "{text}");
    assert_eq!(history(&["*/other/*"]).1, Some(1), "nothing of that name");
    let json: Value = serde_json::from_str(&history(&["--json", "*/*/a"]).0).unwrap();
    assert_eq!(json["transitions"][0]["to"], "down");
}

#[test]
fn colours_and_signs_of_progress_are_for_those_who_want_them() {
    let [a] = Backend::several();
    let place = Place::with_zone(&zone(&[a.entry("a", "")]));
    let server = place.serve();
    let status = |variables: &[(&str, &str)]| {
        let mut command = program();
        command.args(["status", "--control", &server.control]).env_remove("CLICOLOR_FORCE");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (stdout(&output).contains('\u{1b}'), stderr(&output))
    };
    assert_eq!(status(&[]), (false, String::new()), "a pipe");
    assert_eq!(status(&[("CLICOLOR_FORCE", "1")]), (true, String::new()));
    assert_eq!(status(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), (false, String::new()));
    let reload = program().args(["reload", "--control", &server.control]).output().unwrap();
    assert_eq!((reload.status.code(), stderr(&reload)), (Some(0), String::new()), "no sign where there is no terminal");
}
