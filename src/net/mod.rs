//! What touches the network and the system's clocks: sockets, HTTP, users, workers.

pub mod clock;
