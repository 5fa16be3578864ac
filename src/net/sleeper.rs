//! The place of one task that sleeps until something is said to it. What is said lies elsewhere.

use std::cell::RefCell;
use std::task::Waker;

/// See the module.
#[derive(Debug, Default)]
pub struct Sleeper(RefCell<Option<Waker>>);

impl Sleeper {
    /// The next call is this task's; whoever slept here before is not called any more.
    pub fn wait(&self, waker: &Waker) {
        let known = self.0.borrow().as_ref().is_some_and(|w| w.will_wake(waker));
        if !known {
            // what it replaces may be the last of its task: let go of when nothing is borrowed
            let old = self.0.replace(Some(waker.clone()));
            drop(old);
        }
    }

    /// Wakes who sleeps, once.
    pub fn wake(&self) {
        let waker = self.0.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_last_who_sleeps_is_woken_once() {
        let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let sleeper = Sleeper::default();
        sleeper.wake();
        for who in [&first, &second, &second] {
            sleeper.wait(&who.clone().into());
        }
        sleeper.wake();
        sleeper.wake();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }
}
