//! Arguments, then `app::run`; the C library begins in `net/entry.rs`.
#![cfg_attr(not(test), no_main)]

#[cfg(not(test))]
#[path = "net/entry.rs"]
mod entry;
