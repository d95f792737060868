//! Signs of progress on standard error for what takes longer than a second. Nothing is shown where standard error is no
//! terminal, and nothing before that second is over: quick commands stay quiet.

use std::future::Future;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// Quicker than this, and nobody wonders.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks of the sign.
const STEADY: Duration = Duration::from_millis(120);

/// Something under way. Nothing is left of it on the terminal once it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Tells the thread that shows it after [`PATIENCE`] that it need not.
    over: Option<std::sync::mpsc::Sender<()>>,
}

/// Something of unknown length: a sign that turns, what is done, and for how long already.
pub(super) fn waiting(what: &str) -> Progress {
    if !output::stderr_on_terminal() {
        return Progress { bar: ProgressBar::hidden(), over: None };
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.set_style(style("{spinner} {msg} ({elapsed})"));
    bar.set_message(what.to_owned());
    Progress::shown_later(bar)
}

impl Progress {
    fn shown_later(bar: ProgressBar) -> Progress {
        let (over, ended) = std::sync::mpsc::channel();
        let shown = bar.clone();
        std::thread::spawn(move || {
            // Ends when the work does: the sender is dropped with it.
            if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(STEADY);
            }
        });
        Progress { bar, over: Some(over) }
    }

    /// What is done now.
    pub(super) fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Shows until the work is over.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let done = work.await;
        drop(self);
        done
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.over = None;
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
