//! What happens in front of the camera: the event bus, on which whoever notices something posts it and
//! whoever wants to know listens; and the detector, which notices from the sizes of encoded pictures.

mod bus;
pub mod detector;
pub mod eye;
mod habit;
mod level;
pub mod plain;
pub mod sensor;
pub mod watch;

pub use bus::{Bus, Event, Listener, Want, What};
