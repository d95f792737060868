//! What `status`, `status --watch` and `demo` show. One description of a `Status` as lines of toned text, and three ways
//! out: [`text`] for a pipe or a terminal, [`changes`] as one line a change, [`board`] and [`screen`]
//! full-screen.

pub mod board;
pub mod changes;
pub mod lines;
pub mod screen;
pub mod text;
pub mod words;

#[cfg(test)]
pub(crate) mod sample;
