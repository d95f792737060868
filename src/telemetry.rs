//! Logs: levels, formats, and where they go.
