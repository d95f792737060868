//! Replies, bit by bit: the engine asked by value, without a socket. Every reply is read by a strict parser and by the
//! parsers of hickory-proto and of `domain` (see `wire/world.rs`).

#[path = "wire/world.rs"]
mod world;

#[path = "wire/any_octets.rs"]
mod any_octets;
#[path = "wire/chaos.rs"]
mod chaos;
#[path = "wire/edns.rs"]
mod edns;
#[path = "wire/messages.rs"]
mod messages;
#[path = "wire/names.rs"]
mod names;
#[path = "wire/plain.rs"]
mod plain;
#[path = "wire/refusals.rs"]
mod refusals;
#[path = "wire/sizes.rs"]
mod sizes;
