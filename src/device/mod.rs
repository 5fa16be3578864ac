//! What the camera itself offers: sources and the speaker.

#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "file")]
pub mod file;
