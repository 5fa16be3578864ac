//! What libFuzzer runs; see `docs/fuzzing.md`. The bodies are shared with `tests/fuzz_corpus.rs`,
//! which runs them on stable Rust.

pub mod targets;
