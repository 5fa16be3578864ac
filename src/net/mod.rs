//! net

pub mod auth;
pub mod base64;
pub mod digest;
pub mod http;
pub mod json;
pub mod limits;
pub mod socket;
pub mod users;
