//! Moves bytes. Knows `respond()` and how to read a snapshot, nothing more.
