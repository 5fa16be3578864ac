//! The sessions of all connections.

use super::live::Live;
use crate::net::limits::rtsp as limits;
use std::cell::RefCell;
use std::rc::Rc;

/// The table.
#[derive(Default)]
pub struct Sessions(RefCell<Vec<Rc<Live>>>);

impl Sessions {
    /// Adds a session; false if there are too many.
    pub fn add(&self, live: &Rc<Live>) -> bool {
        let mut sessions = self.0.borrow_mut();
        let room = sessions.len() < limits::SESSIONS;
        if room {
            sessions.push(live.clone());
        }
        room
    }

    /// The session with this id.
    pub fn find(&self, id: &str) -> Option<Rc<Live>> {
        self.0.borrow().iter().find(|s| s.has_id(id)).cloned()
    }

    /// Those of which `which` is true, to be worked on while the table may change.
    pub fn those(&self, which: &dyn Fn(&Live) -> bool) -> Vec<Rc<Live>> {
        self.0.borrow().iter().filter(|live| which(live)).cloned().collect()
    }

    /// One after the other: the table may change between them.
    pub fn at(&self, place: usize) -> Option<Rc<Live>> {
        self.0.borrow().get(place).cloned()
    }

    /// Takes one out.
    pub fn remove(&self, live: &Rc<Live>) {
        self.0.borrow_mut().retain(|s| !Rc::ptr_eq(s, live));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
