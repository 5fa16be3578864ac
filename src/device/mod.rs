//! What the camera itself offers: sources and the speaker.

pub mod file;
