//! Why a request is not served: what every parser of HTTP says when it says no.

use std::fmt;

/// Why a request is not served: the status and the sentence for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What was wrong and what was expected.
    pub sentence: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: u16, sentence: &'static str) -> Refusal {
        Refusal { status, sentence }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence)
    }
}

impl std::error::Error for Refusal {}
