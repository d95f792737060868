//! The process, by the names that Prometheus' own client libraries use.

use std::fmt;
use std::time::SystemTime;

use procfs::process::{LimitValue, Process};

use super::{Out, labels, unix};

/// What cannot be read is left out.
pub(super) fn write(out: &mut Out<'_>, started: SystemTime) -> fmt::Result {
    let one = |value: f64| [(labels([]), value)];
    out.gauge("process_start_time_seconds", "When this process began", one(unix(started)))?;
    let Ok(process) = Process::myself() else { return Ok(()) };
    if let Ok(stat) = process.stat() {
        let seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second().max(1) as f64;
        out.seconds("process_cpu", "Processor time, user and system", seconds)?;
        let resident = stat.rss.saturating_mul(procfs::page_size());
        out.gauge("process_resident_memory_bytes", "Memory that is held in RAM", one(resident as f64))?;
        out.gauge("process_virtual_memory_bytes", "Memory that is mapped", one(stat.vsize as f64))?;
        out.gauge("process_threads", "Threads", one(stat.num_threads as f64))?;
    }
    if let Ok(open) = process.fd_count() {
        out.gauge("process_open_fds", "Open file descriptors", one(open as f64))?;
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        out.gauge("process_max_fds", "Most file descriptors that may be open", one(most as f64))?;
    }
    Ok(())
}
