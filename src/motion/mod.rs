//! What happens in front of the camera: the event bus. Whoever notices something posts it; whoever
//! wants to know listens. (The detector joins it here.)

mod bus;

pub use bus::{Bus, Event, Listener, What};
