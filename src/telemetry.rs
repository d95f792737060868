//! Logs: levels, formats, and where they go.
//!
//! Lines go to standard error through a bounded queue and a thread of its own, so that a reader that stalls, or is gone,
//! never stalls DNS: what does not fit is dropped, counted, and said once there is room again.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Lines that may wait for a reader; some 200 octets each.
const BACKLOG: usize = 4096;
/// Longest wait for the last lines at the end of the program.
const FLUSH: Duration = Duration::from_millis(500);
/// Libraries are heard from `warn` on, unless `RUST_LOG` says otherwise.
const LIBRARIES: &str = "hickory_proto=warn,hyper=warn,hyper_util=warn,reqwest=warn,\
                         rustls=warn,quinn=warn,quinn_proto=warn,h2=warn,h3=warn,notify=warn,axum=warn,tower=warn,mio=warn";

static ACTIVE: OnceLock<Active> = OnceLock::new();

struct Active {
    filter: reload::Handle<EnvFilter, Registry>,
    json: Arc<AtomicBool>,
    lines: Lines,
}

/// Starts logging for the whole program; `level` is `error`, `warn`, `info`, `debug`, `trace` or a list of `target=level`.
/// `RUST_LOG` wins over it. Where another subscriber is installed already (a program that embeds the server), that one
/// stays. `begin` is the first that the writing thread does. Errors: `level` is not one.
pub fn start(level: &str, json: bool, begin: fn()) -> Result<(), String> {
    let (layer, filter) = reload::Layer::new(filter(level)?);
    let json = Arc::new(AtomicBool::new(json));
    let lines = Lines::start(io::stderr(), begin);
    let format = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(lines.clone())
        .event_format(Switched::new(json.clone()));
    if tracing_subscriber::registry().with(layer).with(format).try_init().is_ok() {
        let _ = ACTIVE.set(Active { filter, json, lines });
    }
    Ok(())
}

/// Another level or format from now on, as after a reload. Does nothing before [`start`].
pub fn change(level: &str, json: bool) -> Result<(), String> {
    let filter = filter(level)?;
    if let Some(active) = ACTIVE.get() {
        active.json.store(json, Ordering::Relaxed);
        active.filter.reload(filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Waits until what was logged is written, half a second at most. For the end of the program.
pub fn flush() {
    if let Some(active) = ACTIVE.get() {
        active.lines.flush(FLUSH);
    }
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let parse = |text: &str| EnvFilter::builder().parse(text).map_err(|error| error.to_string());
    match std::env::var("RUST_LOG") {
        Ok(own) if !own.is_empty() => parse(&own).map_err(|error| format!("RUST_LOG=\"{own}\": {error}")),
        _ => parse(&format!("{LIBRARIES},{level}")).map_err(|_| {
            format!("log level \"{level}\": must be error, warn, info, debug, trace, or a list of target=level")
        }),
    }
}

/// The queue to the writing thread.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

enum Line {
    Text(Vec<u8>),
    Flushed(SyncSender<()>),
}

impl Lines {
    fn start(out: impl Write + Send + 'static, begin: fn()) -> Lines {
        let (queue, lines) = sync_channel(BACKLOG);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let writer = thread::Builder::new().name("log".into()).spawn(move || {
            begin();
            write_lines(&lines, &counted, out);
        });
        // Without the thread the queue is closed: lines are dropped and the server serves.
        drop(writer);
        Lines { queue, dropped }
    }

    fn push(&self, text: Vec<u8>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.try_send(Line::Text(text)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, patience: Duration) {
        let (done, flushed) = sync_channel(1);
        if self.queue.try_send(Line::Flushed(done)).is_ok() {
            let _ = flushed.recv_timeout(patience);
        }
    }
}

fn write_lines(lines: &Receiver<Line>, dropped: &AtomicU64, mut out: impl Write) {
    while let Ok(line) = lines.recv() {
        match line {
            Line::Text(text) => {
                // A reader that is gone (EPIPE) may come back on another descriptor; there is nobody to tell.
                let _ = out.write_all(&text);
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(out, "rollcall: {lost} log lines were dropped: their reader was too slow");
                }
            }
            Line::Flushed(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

/// tracing-subscriber writes each event in one piece.
impl Write for &Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push(text.to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text or JSON, as the switch says at each event.
struct Switched {
    json: Arc<AtomicBool>,
    as_text: Format<Full>,
    as_json: Format<Json>,
}

impl Switched {
    fn new(json: Arc<AtomicBool>) -> Switched {
        let as_text = Format::default().with_target(false);
        let as_json = Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
        Switched { json, as_text, as_json }
    }
}

impl<S, N> FormatEvent<S, N> for Switched
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.json.load(Ordering::Relaxed) {
            self.as_json.format_event(context, writer, event)
        } else {
            self.as_text.format_event(context, writer, event)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// A reader that takes nothing until the gate is opened.
    struct Gated {
        gate: Receiver<()>,
        open: bool,
        entered: Sender<()>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            if !self.open {
                let _ = self.gate.recv();
                self.open = true;
            }
            self.seen.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_loses_lines_and_is_told_how_many() {
        let (opener, gate) = channel();
        let (entered, waits) = channel();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let lines = Lines::start(Gated { gate, open: false, entered, seen: seen.clone() }, || ());
        lines.push(b"first\n".to_vec());
        waits.recv_timeout(Duration::from_secs(10)).unwrap();
        // The thread holds one line; the queue takes BACKLOG more; seven have no place. None of this waits.
        for _ in 0..BACKLOG + 7 {
            lines.push(b"more\n".to_vec());
        }
        opener.send(()).unwrap();
        loop {
            // The queue may be full still: then the flush has no place either and is asked again.
            let (done, flushed) = sync_channel(1);
            if lines.queue.try_send(Line::Flushed(done)).is_ok() {
                flushed.recv_timeout(Duration::from_secs(10)).unwrap();
                break;
            }
            thread::yield_now();
        }
        let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("more\n").count(), BACKLOG);
        assert_eq!(text.matches("rollcall: 7 log lines were dropped").count(), 1, "said once");
    }

    #[test]
    fn a_reader_that_is_gone_hurts_nobody() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let lines = Lines::start(Gone, || ());
        for _ in 0..10 {
            lines.push(b"line\n".to_vec());
        }
        lines.flush(Duration::from_secs(10));
        assert_eq!(lines.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_what_is_allowed() {
        assert!(filter("info").is_ok());
        assert!(filter("info,rollcall::checker=debug").is_ok());
        let error = filter("rollcall=loud").unwrap_err();
        assert!(error.contains("must be error, warn, info"), "{error}");
    }

    #[test]
    fn one_switch_turns_lines_into_json() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (_, gate) = channel();
        let (entered, _) = channel();
        let lines = Lines::start(Gated { gate, open: true, entered, seen: seen.clone() }, || ());
        let json = Arc::new(AtomicBool::new(false));
        let format = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(lines.clone())
            .event_format(Switched::new(json.clone()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(format), || {
            tracing::info!(zone = "lb.example.com", "first");
            json.store(true, Ordering::Relaxed);
            tracing::info!(zone = "lb.example.com", "second");
        });
        lines.flush(Duration::from_secs(10));
        let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert!(first.contains("INFO first zone=\"lb.example.com\""), "{first}");
        let second: serde_json::Value = serde_json::from_str(second).unwrap();
        assert_eq!(second["message"], "second");
        assert_eq!(second["zone"], "lb.example.com");
    }
}
