//! One immutable value that holds everything an answer needs. Control makes it, workers read it.

/// The state of the world at one moment. Replaced as a whole by one pointer store.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Rises by one with every publication.
    pub generation: u64,
}
