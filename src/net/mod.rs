//! net

pub mod mask;
