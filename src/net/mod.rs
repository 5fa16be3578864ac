//! net

pub mod clock;
pub mod worker;
