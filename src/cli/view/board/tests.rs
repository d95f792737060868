//! The board under keys, and as it is drawn.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyEventKind;
use ratatui::style::Color;

use super::super::sample;
use super::*;

fn press(board: &mut Board, status: &Status, codes: &[KeyCode]) -> Option<Wish> {
    let mut wish = None;
    for &code in codes {
        let mut key = KeyEvent::new(code, KeyModifiers::NONE);
        key.kind = KeyEventKind::Press;
        wish = board.key(&key, status);
    }
    wish
}

fn typed(board: &mut Board, status: &Status, text: &str) -> Option<Wish> {
    let codes: Vec<KeyCode> = text.chars().map(KeyCode::Char).collect();
    press(board, status, &codes)
}

fn terminal(width: u16, height: u16, status: &Status, board: &Board) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, status, board)).unwrap();
    terminal
}

fn drawn(width: u16, height: u16, status: &Status, board: &Board) -> String {
    let terminal = terminal(width, height, status, board);
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(row).collect()
}

fn board(status: &Status) -> Board {
    let mut board = Board::default();
    board.hold(status);
    board
}

#[test]
fn the_screen_shows_verdict_reason_since_and_share() {
    let status = sample::status();
    insta::assert_snapshot!(drawn(120, 30, &status, &board(&status)));
}

#[test]
fn a_screen_of_eighty_columns_has_the_reasons() {
    let status = sample::status();
    let mut board = board(&status);
    press(&mut board, &status, &[KeyCode::Down, KeyCode::Down]);
    insta::assert_snapshot!(drawn(80, 24, &status, &board));
}

#[test]
fn a_narrow_screen_keeps_names_states_and_shares() {
    let status = sample::status();
    insta::assert_snapshot!(drawn(38, 16, &status, &board(&status)));
}

#[test]
fn the_help_lies_over_the_screen() {
    let status = sample::status();
    let mut board = board(&status);
    press(&mut board, &status, &[KeyCode::Char('?')]);
    insta::assert_snapshot!(drawn(100, 24, &status, &board));
    press(&mut board, &status, &[KeyCode::Char('q')]);
    assert!(
        !drawn(100, 24, &status, &board).contains("any key goes back"),
        "any key, q too, ends the help and no more"
    );
}

#[test]
fn every_size_of_screen_can_be_drawn() {
    let status = sample::status();
    let mut board = board(&status);
    for mode in [KeyCode::Esc, KeyCode::Char('?'), KeyCode::Char('/'), KeyCode::Enter, KeyCode::Char('d')] {
        press(&mut board, &status, &[mode]);
        for (width, height) in [(1, 1), (2, 5), (10, 3), (40, 8), (79, 13), (300, 100)] {
            drawn(width, height, &status, &board);
        }
    }
}

#[test]
fn a_change_is_asked_for_with_its_reason_and_can_be_let_be() {
    let status = sample::status();
    let mut board = board(&status);
    press(&mut board, &status, &[KeyCode::Down, KeyCode::Char('d')]);
    typed(&mut board, &status, "kernel updatee");
    assert!(drawn(100, 24, &status, &board).contains("drain lb.example.com/web/b  reason: kernel updatee_"));
    let wish = press(&mut board, &status, &[KeyCode::Backspace, KeyCode::Enter]);
    let expected = Wish::Set {
        state: AdminState::Drain,
        backend: "lb.example.com/web/b".to_owned(),
        reason: Some("kernel update".to_owned()),
    };
    assert_eq!(wish, Some(expected));
    for (key, state) in
        [('x', AdminState::Down), ('f', AdminState::Up), ('a', AdminState::Auto), ('u', AdminState::Auto)]
    {
        let wish = press(&mut board, &status, &[KeyCode::Char(key), KeyCode::Enter]);
        assert_eq!(wish, Some(Wish::Set { state, backend: "lb.example.com/web/b".to_owned(), reason: None }));
    }
    assert_eq!(press(&mut board, &status, &[KeyCode::Char('d'), KeyCode::Char('q'), KeyCode::Esc]), None);
    assert!(drawn(100, 24, &status, &board).contains("nothing was changed"));
}

#[test]
fn the_filter_narrows_and_the_selection_stays_with_what_is_shown() {
    let status = sample::status();
    let mut board = board(&status);
    typed(&mut board, &status, "/REFUSED");
    let screen = drawn(120, 30, &status, &board);
    assert!(screen.contains("> b ") && !screen.contains("192.0.2.10 "), "{screen}");
    press(&mut board, &status, &[KeyCode::Enter]);
    assert!(drawn(120, 30, &status, &board).contains("with \"REFUSED\""));
    press(&mut board, &status, &[KeyCode::Esc]);
    let screen = drawn(120, 30, &status, &board);
    assert!(screen.contains("> b ") && screen.contains("192.0.2.10 "), "{screen}");
    typed(&mut board, &status, "/no such thing");
    assert!(drawn(120, 30, &status, &board).contains("nothing holds that"));
    press(&mut board, &status, &[KeyCode::Enter, KeyCode::Char('d')]);
    assert!(drawn(120, 30, &status, &board).contains("no backend is selected"));
}

#[test]
fn the_selection_moves_by_backends_and_stays_in_sight() {
    let mut status = sample::status();
    let pool = &mut status.zones[0].pools[0];
    for number in 0..50 {
        pool.backends.push(sample::backend(&format!("n{number:02}"), "192.0.2.20", "up", "status 200"));
    }
    let mut board = board(&status);
    let selected = |board: &Board| {
        let screen = drawn(80, 24, &status, board);
        let line =
            screen.lines().find(|line| line.starts_with("  > ")).unwrap_or_else(|| panic!("{screen}")).to_owned();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(selected(&board), "a");
    press(&mut board, &status, &[KeyCode::Up]);
    assert_eq!(selected(&board), "a");
    press(&mut board, &status, &[KeyCode::End]);
    assert_eq!(selected(&board), "n49");
    press(&mut board, &status, &[KeyCode::PageUp, KeyCode::Down]);
    let middle = selected(&board);
    assert!(middle.starts_with('n') && middle != "n49", "{middle}");
    // Others come and go: it stays with its backend.
    let mut fewer = status.clone();
    fewer.zones[0].pools[0].backends.remove(0);
    let screen = drawn(80, 24, &fewer, &board);
    assert!(screen.contains(&format!("  > {middle}")), "{screen}");
    press(&mut board, &status, &[KeyCode::Home]);
    assert!(drawn(80, 24, &status, &board).contains("zone lb.example.com"), "the heading too");
}

#[test]
fn a_lost_server_and_a_refused_reload_stand_at_the_top() {
    let mut status = sample::status();
    status.reload.ok = false;
    status.reload.messages = vec!["zones/lb.toml:7: unknown key".to_owned()];
    let mut board = board(&status);
    board.lost = Some("connection refused".to_owned());
    let screen = drawn(100, 30, &status, &board);
    assert!(screen.contains("lost the server: connection refused") && screen.contains("reload refused"), "{screen}");
    assert!(screen.contains("unknown key"), "{screen}");
}

#[test]
fn without_colour_every_word_is_the_same_and_no_cell_has_one() {
    let status = sample::status();
    let plain = board(&status);
    let colored = Board { color: true, ..plain.clone() };
    assert_eq!(drawn(120, 30, &status, &plain), drawn(120, 30, &status, &colored));
    let colors = |board: &Board| {
        let terminal = terminal(120, 30, &status, board);
        terminal
            .backend()
            .buffer()
            .content()
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(colors(&plain), 0);
    assert!(colors(&colored) > 10);
}

#[test]
fn text_from_outside_cannot_steer_the_terminal() {
    let mut status = sample::status();
    let backend = &mut status.zones[0].pools[0].backends[1];
    backend.addresses[0].reason = "status \u{1b}[2J 200".to_owned();
    backend.state = "do\u{7}wn".to_owned();
    let screen = drawn(120, 30, &status, &board(&status));
    assert!(!screen.contains('\u{1b}') && !screen.contains('\u{7}'), "{screen}");
}
