//! What stands where tunnels would, in builds without the feature `tunnel`: nothing is carried, and who
//! asks for one is told so. Half of it can have no value, so the compiler leaves out who would use it.

/// For `tunnel`.
pub mod tunnel {
    use crate::rtsp::line::Line;
    use crate::rtsp::message::{Parser, Request};
    use std::convert::Infallible;
    use std::io;
    use std::rc::Rc;
    use std::task::Waker;

    /// There is none.
    pub struct Tunnel(Infallible);

    impl Tunnel {
        /// Never called.
        pub fn poll(&self, _: &Waker) -> bool {
            match self.0 {}
        }

        /// Never called.
        pub fn drain(&self, _: &mut Parser) {
            match self.0 {}
        }
    }

    /// What an HTTP request turned out to be.
    #[allow(dead_code)] // two of them cannot be
    pub enum Half {
        /// Never.
        Down(Rc<Tunnel>),
        /// Never.
        Up(Rc<Tunnel>),
        /// Nothing that is served here.
        Neither,
    }

    /// None of them.
    #[derive(Default)]
    pub struct Tunnels(());

    impl Tunnels {
        /// Every HTTP request is refused.
        pub fn open(&self, _: &Request, _: &Line, out: &mut Vec<u8>) -> Half {
            out.extend_from_slice(refusal("501 Not Implemented").as_bytes());
            Half::Neither
        }

        /// Nothing to leave.
        pub fn leave(&self, _: &Line) {}
    }

    /// An answer to an HTTP request that is not served here.
    pub fn refusal(status: &str) -> String {
        ["HTTP/1.0 ", status, "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"].concat()
    }

    /// Never called.
    pub async fn carry(_: &Line, _: &mut Parser, tunnel: Rc<Tunnel>) -> io::Result<()> {
        match tunnel.0 {}
    }
}

/// For `websocket`.
pub mod websocket {
    use crate::rtsp::consumer::Out;
    use crate::rtsp::line::Line;
    use crate::rtsp::message::Request;
    use crate::rtsp::server::Server;
    use std::convert::Infallible;

    /// Nobody is given one.
    pub fn is_asked(_: &Request) -> bool {
        false
    }

    /// There is none.
    pub struct Web(Infallible);

    impl Web {
        /// Never one.
        pub fn open(_: &Request, _: &Server, _: &Line, _: &mut Out) -> Option<Web> {
            None
        }

        /// Never called.
        pub fn read(&mut self, _: &mut [u8], _: &mut Out, _: &Line) -> usize {
            match self.0 {}
        }

        /// Never called.
        pub fn is_over(&self) -> bool {
            match self.0 {}
        }

        /// Never called.
        pub fn part(&mut self, _: &mut Out) -> bool {
            match self.0 {}
        }
    }
}

/// For `upgrade`.
pub mod upgrade {
    use crate::net::websocket::FrameError;
    use std::convert::Infallible;
    use std::fmt;

    /// A source that asks for one is refused before it is dialled; this is said to whoever comes later.
    #[derive(Debug)]
    pub struct UpgradeError;

    impl fmt::Display for UpgradeError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("there are no WebSockets")
        }
    }

    impl std::error::Error for UpgradeError {}

    /// There is none.
    pub struct Pipe(Infallible);

    impl Pipe {
        /// Never called.
        pub fn read(&mut self, _: &mut [u8], _: &mut Vec<u8>) -> Result<usize, FrameError> {
            match self.0 {}
        }

        /// Never called.
        pub fn seal(&mut self, _: &mut Vec<u8>) {
            match self.0 {}
        }

        /// Never called.
        pub fn left(&mut self, _: usize) {
            match self.0 {}
        }

        /// Never called.
        pub fn is_over(&self) -> bool {
            match self.0 {}
        }

        /// Never called.
        pub fn part(&mut self, _: &mut Vec<u8>) {
            match self.0 {}
        }
    }
}
