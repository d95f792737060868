//! Any text as a master file: loads or says why not, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod place;

fuzz_target!(|text: &[u8]| place::load("fuzz.example.zone", text));
