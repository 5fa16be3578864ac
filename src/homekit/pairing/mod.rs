//! Who may speak to the accessory: the identity it shows, the controllers it knows, and the messages
//! by which they come to know each other. All pure; what has to be on flash before an answer leaves
//! is said in the step.

pub mod admin;
pub mod book;
pub mod setup;
pub mod verify;

use super::crypto::{Key, srp, verify as is_signed};
use super::tlv8::Writer;
use book::{Identity, Pairing};

/// Types of pairing items.
pub mod item {
    #![allow(missing_docs)]
    pub const METHOD: u8 = 0;
    pub const IDENTIFIER: u8 = 1;
    pub const SALT: u8 = 2;
    pub const PUBLIC_KEY: u8 = 3;
    pub const PROOF: u8 = 4;
    pub const ENCRYPTED: u8 = 5;
    pub const STATE: u8 = 6;
    pub const ERROR: u8 = 7;
    pub const RETRY_DELAY: u8 = 8;
    pub const SIGNATURE: u8 = 10;
    pub const PERMISSIONS: u8 = 11;
    pub const SEPARATOR: u8 = 255;
}

/// What a pairing message is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// Something else.
    Unknown = 1,
    /// The code, the key or the right is wrong.
    Authentication = 2,
    /// Try later.
    Backoff = 3,
    /// No place for another controller.
    MaxPeers = 4,
    /// Too many wrong codes; only a reset helps.
    MaxTries = 5,
    /// Paired already.
    Unavailable = 6,
    /// Another controller is at it.
    Busy = 7,
}

/// Work that would hold the loop: it owns all it touches and is done on the `slow` worker.
pub enum Job {
    /// SRP's first step.
    Start {
        /// The setup code, dashes included.
        code: String,
        /// Fresh randomness.
        salt: [u8; 16],
        /// Fresh randomness.
        secret: [u8; 32],
    },
    /// SRP's second step.
    Agree {
        /// The first step's result.
        server: Box<srp::Server>,
        /// The controller's A.
        public: Vec<u8>,
        /// The controller's proof.
        proof: Vec<u8>,
    },
    /// Pair-setup's last step: the controller's signature read, ours written.
    Finish {
        /// What SRP agreed on.
        secret: Box<[u8; 64]>,
        /// The controller's name, key and signature, sealed.
        sealed: Vec<u8>,
        /// Who we are.
        identity: Identity,
    },
    /// Pair-verify's first step.
    Offer {
        /// The controller's key of the moment.
        theirs: Key,
        /// Fresh randomness.
        secret: Key,
        /// Who we are.
        identity: Identity,
    },
    /// Pair-verify's second step.
    Check {
        /// Of the controller, from the book.
        key: Key,
        /// What it should have signed.
        signed: Vec<u8>,
        /// What it sent.
        signature: Vec<u8>,
    },
}

/// What came of a job.
pub enum Done {
    /// Of [`Job::Start`].
    Started(Box<srp::Server>),
    /// Of [`Job::Agree`]; nothing if the code was wrong.
    Agreed(Option<Box<srp::Agreed>>),
    /// Of [`Job::Finish`]: the controller and the answer; nothing if it is not who it says.
    Finished(Option<Box<(Pairing, Vec<u8>)>>),
    /// Of [`Job::Offer`]: what is offered and the answer; nothing if the key gives the secret away.
    Offered(Option<Box<(verify::Offered, Vec<u8>)>>),
    /// Of [`Job::Check`].
    Checked(bool),
}

impl Job {
    /// Does it. Takes up to seconds on a slow camera.
    pub fn run(self) -> Done {
        match self {
            Job::Start { code, salt, secret } => {
                Done::Started(Box::new(srp::Server::new(&code, salt, secret)))
            }
            Job::Agree { server, public, proof } => Done::Agreed(server.agree(&public, &proof).map(Box::new)),
            Job::Finish { secret, sealed, identity } => {
                Done::Finished(setup::finish(secret.as_slice(), &sealed, &identity).map(Box::new))
            }
            Job::Offer { theirs, secret, identity } => {
                Done::Offered(verify::offer(&theirs, &secret, &identity).map(Box::new))
            }
            Job::Check { key, signed, signature } => Done::Checked(is_signed(&key, &signed, &signature)),
        }
    }
}

/// What follows from a pairing message.
pub enum Step {
    /// This answer.
    Answer(Vec<u8>),
    /// First this work.
    Work(Box<Job>),
    /// The book is to be saved; the first answer if it was, the second if not.
    Save(Vec<u8>, Vec<u8>),
    /// It is none: HTTP's 400.
    Malformed,
}

/// An answer that refuses.
pub fn refuse(state: u8, refusal: Refusal) -> Vec<u8> {
    Writer::new().u8(item::STATE, state).u8(item::ERROR, refusal as u8).finish()
}
