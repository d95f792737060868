//! The control listener's task. It has a runtime of its own, of one thread that gives way: answers, verdicts and what connections
//! wait for come before the API, whoever asks it for how much.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::StartError;
use crate::control::Control;
use crate::control::api::{self, ControlListener};
use crate::transport;

/// Added to the nice value of its threads.
const NICE: i32 = 5;
/// Longest that a stop waits for it; it lets requests under way finish for less.
const PATIENCE: Duration = Duration::from_secs(2);
/// Threads that write long documents and read the journal.
const BLOCKING: usize = 4;

/// The task, and what ends it.
pub(super) struct ControlTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    runtime: OwnRuntime,
}

/// Ends with what it still runs; a runtime may not simply be dropped by what runs on another one.
pub(super) struct OwnRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    fn start() -> io::Result<OwnRuntime> {
        let begin = || {
            drop(transport::lay_down_capabilities());
            // On Linux the nice value is the thread's own.
            let _ = rustix::process::nice(NICE);
        };
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(BLOCKING).thread_name("api");
        let runtime = builder.enable_all().on_thread_start(begin).build()?;
        Ok(OwnRuntime { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ControlTask {
    pub(super) fn start(listener: ControlListener, control: Control) -> Result<ControlTask, StartError> {
        let runtime = OwnRuntime::start()
            .map_err(|error| StartError { message: format!("no thread for the control listener: {error}") })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = runtime.handle.spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            if let Err(error) = api::serve(listener, control, stopped).await {
                tracing::error!("the control listener stopped: {error}");
            }
        });
        Ok(ControlTask { stop, task, runtime })
    }

    /// Lets requests under way finish. What the runtime does beside them (a drill that brings back) may end while it is kept.
    pub(super) async fn stop(task: Option<ControlTask>) -> Option<OwnRuntime> {
        let ControlTask { stop, mut task, runtime } = task?;
        let _ = stop.send(());
        // Its own limit is kept by its own thread, which a name service that hangs may hold.
        if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            tracing::warn!("requests to the API did not end in time");
            task.abort();
        }
        Some(runtime)
    }
}
