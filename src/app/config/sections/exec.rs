//! `exec` and `echo`: which programs sources may run.

use crate::app::config::keys::{Kind, Section, Shape, section};

section! {
    /// Sources that run a program (`exec:`).
    pub struct Exec {
        /// The only programs that may run, each written as in the source. Without this list all may.
        allow_paths: Vec<String> = "", Kind::List, GUARDED;
    }
}

section! {
    /// Sources whose address a program prints (`echo:`).
    pub struct Echo {
        /// The only programs that may run, each written as in the source. Without this list all may.
        allow_paths: Vec<String> = "", Kind::List, GUARDED;
    }
}

/// The section of exec.
pub const EXEC: Section =
    Section { name: "exec", module: Some("exec"), help: Exec::ABOUT, shape: Shape::Table(Exec::KEYS, None) };

/// The section of echo.
pub const ECHO: Section =
    Section { name: "echo", module: Some("echo"), help: Echo::ABOUT, shape: Shape::Table(Echo::KEYS, None) };
