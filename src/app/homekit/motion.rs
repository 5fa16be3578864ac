//! What accessories want of the sentries: motion is looked for while a home knows the accessory and its
//! switch in the Home app is on; not before it is paired, and not while nobody may look.

use super::Home;
use crate::homekit::database::iid;
use crate::motion::{Bus, Want};
use crate::net::lists::drop_where;
use crate::net::reactor::Timer;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// How often it is asked whether somebody has paired or switched.
const OFTEN: Duration = Duration::from_secs(5);

/// The streams of an accessory whose motion is of use to anybody.
fn wanted(home: &Home, out: &mut Vec<String>) {
    let accessory = home.server.accessory();
    if !accessory.book.is_paired() {
        return;
    }
    for unit in &home.units {
        // a camera without recording has no switch: it is on
        let switch = accessory.at(unit.aid).and_then(|own| own.value(iid::OPERATING + 1));
        if switch.is_none_or(|value| value.is_on()) {
            out.push(unit.stream.clone());
        }
    }
}

/// Keeps what is wanted up to date, as long as there are accessories.
pub(super) async fn follow(homes: Weak<RefCell<Vec<Home>>>, bus: Rc<Bus>) {
    let mut wants: Vec<(String, Want)> = Vec::new();
    loop {
        {
            let Some(homes) = homes.upgrade() else { return };
            let mut streams = Vec::new();
            homes.borrow().iter().for_each(|home| wanted(home, &mut streams));
            drop_where(&mut wants, |(stream, _)| !streams.contains(stream));
            for stream in streams {
                if !wants.iter().any(|(known, _)| *known == stream) {
                    let want = bus.want(&stream);
                    wants.push((stream, want));
                }
            }
        }
        Timer::after(OFTEN).await;
    }
}
