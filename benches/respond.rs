//! Time an answer takes, by kind and size of the zone, and time a verdict takes to be published.
fn main() {}
