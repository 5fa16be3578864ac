//! Runs the program's tasks on its one thread. A task that is woken is put at the end of the line,
//! which costs no allocation once the line has had its greatest length; wakes may come from the
//! workers, hence the lock, which those who wake on the one thread
//! never find taken. Nothing here knows time or sockets: when nobody is in line it is pending.

use async_task::{Runnable, Task};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// Tasks that are run before the sockets are looked at again.
const BATCH: usize = 200;

#[derive(Default)]
struct Line {
    ready: VecDeque<Runnable>,
    /// Whoever runs the tasks, while there was nothing to run.
    sleeper: Option<Waker>,
}

/// The tasks of one thread. One future at a time may run them.
#[derive(Default)]
pub struct LocalExecutor {
    line: Arc<Mutex<Line>>,
    /// Taken out of the line and not yet run.
    batch: RefCell<VecDeque<Runnable>>,
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalExecutor {
    /// One without tasks.
    pub fn new() -> LocalExecutor {
        LocalExecutor::default()
    }

    /// Adds a task. It ends when its handle is dropped, unless that was detached. Every task is a boxed
    /// future of one type, so that this machinery is compiled once: some 5 KB of flash for each other.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Task<()> {
        self.spawn_boxed(Box::pin(future))
    }

    #[inline(never)]
    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
        let line = self.line.clone();
        let schedule = move |runnable| {
            let sleeper = {
                let mut line = lock(&line);
                line.ready.push_back(runnable);
                line.sleeper.take()
            };
            if let Some(sleeper) = sleeper {
                sleeper.wake();
            }
        };
        let (runnable, task) = async_task::spawn_local(future, schedule);
        runnable.schedule();
        task
    }

    /// Runs tasks on this thread until `main` is done. None can only come of a future that was lost,
    /// which does not happen.
    pub fn block_on<T>(&self, main: impl Future<Output = T>) -> Option<T> {
        let done = Cell::new(None);
        self.block_on_boxed(Box::pin(async { done.set(Some(main.await)) }));
        done.into_inner()
    }

    #[inline(never)]
    fn block_on_boxed(&self, main: Pin<Box<dyn Future<Output = ()> + '_>>) {
        crate::net::reactor::block_on(self.run(main));
    }

    /// Runs one task that is in line; false if there was none.
    pub fn try_tick(&self) -> bool {
        match self.next(None) {
            Some(runnable) => {
                runnable.run();
                true
            }
            None => false,
        }
    }

    /// Runs tasks until `future` is ready.
    pub async fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(out) = future.as_mut().poll(cx) {
                return Poll::Ready(out);
            }
            for _ in 0..BATCH {
                match self.next(Some(cx.waker())) {
                    Some(runnable) => {
                        runnable.run();
                    }
                    None => return Poll::Pending,
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// The next in line; if there is none, `sleeper` is woken by the next one.
    fn next(&self, sleeper: Option<&Waker>) -> Option<Runnable> {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty() {
            let mut line = lock(&self.line);
            std::mem::swap(&mut line.ready, &mut *batch);
            if let Some(waker) = sleeper
                && batch.is_empty()
                && !line.sleeper.as_ref().is_some_and(|w| w.will_wake(waker))
            {
                line.sleeper = Some(waker.clone());
            }
        }
        batch.pop_front()
    }
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        // A task in line holds the line: let go of both. What a task drops may wake others.
        while let Some(runnable) = self.next(None) {
            drop(runnable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::reactor::block_on;
    use futures_lite::future;
    use std::rc::Rc;

    #[test]
    fn tasks_take_turns() {
        let executor = LocalExecutor::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|n| {
                let order = order.clone();
                executor.spawn(async move {
                    for _ in 0..2 {
                        order.borrow_mut().push(n);
                        future::yield_now().await;
                    }
                })
            })
            .collect();
        block_on(executor.run(async {
            for task in tasks {
                task.await;
            }
        }));
        assert_eq!(*order.borrow(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_wake_from_another_thread_is_heard() {
        let executor = LocalExecutor::new();
        for n in 0..200 {
            let (send, receive) = async_channel::bounded(1);
            let thread = std::thread::spawn(move || send.send_blocking(n));
            let heard = Rc::new(Cell::new(None));
            let told = heard.clone();
            let task = executor.spawn(async move { told.set(receive.recv().await.ok()) });
            block_on(executor.run(task));
            assert_eq!(heard.get(), Some(n));
            thread.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_busy_task_does_not_keep_the_program_from_ending() {
        let executor = LocalExecutor::new();
        executor
            .spawn(async {
                loop {
                    future::yield_now().await;
                }
            })
            .detach();
        let mut polls = 0;
        let end = poll_fn(|cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls > 3 { Poll::Ready(polls) } else { Poll::Pending }
        });
        assert_eq!(block_on(executor.run(end)), 4);
    }

    struct Falls(Rc<Cell<u32>>);

    impl Drop for Falls {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_task_lets_go_of_what_it_holds_when_its_handle_or_the_executor_is_dropped() {
        let fallen = Rc::new(Cell::new(0));
        let executor = LocalExecutor::new();
        let holds = |held: Falls| async move {
            let _held = held;
            future::pending::<()>().await;
        };
        let task = executor.spawn(holds(Falls(fallen.clone())));
        assert!(executor.try_tick());
        drop(task);
        while executor.try_tick() {}
        assert_eq!(fallen.get(), 1, "the handle");
        executor.spawn(holds(Falls(fallen.clone()))).detach();
        drop(executor);
        assert_eq!(fallen.get(), 2, "the executor");
    }
}
