//! What is said to the log, with as little code at each place as can be: the level is compared there, and
//! all else is done once. Named and used like the crate's macros, which spend some 60 bytes more at each
//! place. Where it goes is not known here.

pub use ::log::{Level, LevelFilter};
use std::fmt;

/// Hands a message to the logger; of a level that is on.
#[cold]
#[inline(never)]
pub fn say(about: &(Level, &'static str), text: fmt::Arguments<'_>) {
    let &(level, target) = about;
    ::log::logger().log(&::log::Record::builder().level(level).target(target).args(text).build());
}

macro_rules! said {
    ($level:ident, target: $target:expr, $($text:tt)+) => {
        if $crate::net::log::Level::$level <= ::log::max_level() {
            $crate::net::log::say(
                const { &($crate::net::log::Level::$level, $target) },
                ::std::format_args!($($text)+),
            );
        }
    };
    ($level:ident, $($text:tt)+) => {
        $crate::net::log::said!($level, target: ::std::module_path!(), $($text)+)
    };
}
macro_rules! error {
    ($($said:tt)+) => { $crate::net::log::said!(Error, $($said)+) };
}
macro_rules! warning {
    ($($said:tt)+) => { $crate::net::log::said!(Warn, $($said)+) };
}
macro_rules! info {
    ($($said:tt)+) => { $crate::net::log::said!(Info, $($said)+) };
}
macro_rules! debug {
    ($($said:tt)+) => { $crate::net::log::said!(Debug, $($said)+) };
}
// `warn` alone is an attribute of the language
pub(crate) use {debug, error, info, said, warning as warn};
