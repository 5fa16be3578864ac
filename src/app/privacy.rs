//! Which streams nobody shall see, kept on flash: a pulled plug opens no eyes. What it means that nobody
//! sees them is the program's business.

use super::state::{Found, Store};
use crate::motion::{Bus, Event, What};
use crate::net::clock;
use crate::net::log;
use crate::net::worker::Worker;
use crate::stream::Executor;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The name of what is kept: the streams' names, a line each.
const NAME: &str = "privacy";
const VERSION: u16 = 1;
const PRIVATE: What = What::Privacy(true);

/// What is on flash of it.
#[derive(Default)]
pub(super) struct Privacy {
    /// As it is, or is about to be.
    kept: RefCell<String>,
    /// It is being written.
    writing: Cell<bool>,
}

impl Privacy {
    /// Closes the eyes that were closed before. What cannot be read is said, and nothing is closed.
    pub(super) fn recall(&self, bus: &Bus, store: &Store) -> Result<(), String> {
        let bytes = match store.read(NAME) {
            Found::Missing => return Ok(()),
            Found::Value { version: VERSION, bytes } => bytes,
            Found::Value { version, .. } => {
                return Err(format!("it was written by another streamd ({version})"));
            }
            Found::Damaged(damage) => return Err(format!("the file {damage}")),
        };
        let names = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        for stream in names.lines() {
            bus.post(Event { time: clock::now(), stream: stream.into(), what: PRIVATE });
        }
        self.kept.replace(names);
        Ok(())
    }

    /// Keeps what is closed now, if that is something else; `store` is asked only then.
    pub(super) fn keep(
        self: &Rc<Self>,
        bus: &Bus,
        store: impl FnOnce() -> Result<Store, String>,
        slow: &Rc<Worker>,
        executor: &Executor,
    ) {
        let now = bus.all_on(PRIVATE).join("\n");
        if *self.kept.borrow() == now {
            return;
        }
        self.kept.replace(now);
        if self.writing.get() {
            return;
        }
        let store = match store() {
            Ok(store) => store,
            Err(why) => return log::error!(target: "app", "privacy ends with the next restart: {why}"),
        };
        self.writing.set(true);
        let (this, slow) = (self.clone(), slow.clone());
        let write = async move {
            let mut written = None;
            loop {
                let names = this.kept.borrow().clone();
                if written.as_ref() == Some(&names) {
                    break;
                }
                let (store, bytes) = (store.clone(), names.clone());
                let done = match slow.run(move || store.write(NAME, VERSION, bytes.as_bytes())) {
                    Ok(pending) => pending.await.map_err(|e| e.to_string()),
                    Err(refused) => Err(refused.to_string()),
                };
                if let Err(why) = done {
                    log::error!(target: "app", "privacy may be another after a restart: {why}");
                }
                written = Some(names);
            }
            this.writing.set(false);
        };
        executor.spawn(write).detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::executor::LocalExecutor;

    fn store() -> Store {
        let folder = std::env::temp_dir().join(format!("streamd-privacy-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Store::open(&folder).unwrap()
    }

    fn post(bus: &Bus, stream: &str, on: bool) {
        bus.post(Event { time: clock::now(), stream: stream.into(), what: What::Privacy(on) });
    }

    #[test]
    fn closed_eyes_stay_closed() {
        let (store, slow) = (store(), Rc::new(Worker::new("slow", 4, 64 << 10)));
        let executor = Rc::new(LocalExecutor::new());
        let (bus, privacy) = (Bus::default(), Rc::new(Privacy::default()));
        let keep = || privacy.keep(&bus, || Ok(store.clone()), &slow, &executor);
        post(&bus, "yard", true);
        post(&bus, "door", true);
        keep();
        // while that is being written
        post(&bus, "yard", false);
        keep();
        executor.block_on(async {
            while privacy.writing.get() {
                futures_lite::future::yield_now().await;
            }
        });
        let after = Bus::default();
        Privacy::default().recall(&after, &store).unwrap();
        assert_eq!(after.all_on(PRIVATE), ["door".into()]);
        // a file of somebody's says so and opens nothing that is closed
        store.write(NAME, 9, b"door").unwrap();
        assert!(Privacy::default().recall(&after, &store).is_err());
    }
}
