//! A worker: one small thread, there only while there is work, for what would hold the loop too long.
//!
//! The program has two of them: `media` for software codecs, `slow` for big-number arithmetic, flash
//! and SD card. A job owns everything it touches, and its result comes back as a future. The queue is
//! short and bounded; a full one is the caller's error to handle. A worker never makes the loop wait,
//! holds nothing of the loop's (`Rc` does not cross), and does its jobs in order.

use super::process;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a thread stays without work: long enough for the next frame, short enough that an idle
/// camera has one thread.
const IDLE: Duration = Duration::from_secs(10);

/// Given the worker, to free its place before the result is seen.
type Job = Box<dyn FnOnce(&Shared) + Send>;

/// Why a job was not taken. The job is gone with all that it owned.
#[derive(Debug)]
pub enum Refused {
    /// As many jobs as the worker holds are waiting or being done.
    Full {
        /// The worker's name.
        worker: &'static str,
        /// How many it holds.
        limit: usize,
    },
    /// The system gave no thread.
    NoThread {
        /// The worker's name.
        worker: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Full { worker, limit } => {
                write!(f, "worker {worker}: {limit} jobs are waiting already, no more are taken")
            }
            Refused::NoThread { worker, error } => write!(f, "worker {worker}: no thread: {error}"),
        }
    }
}

impl std::error::Error for Refused {}

/// A thread on demand with a bounded queue before it.
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    limit: usize,
    stack: usize,
    idle: Duration,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    jobs: Vec<(u64, Job, Arc<Bell>)>,
    /// Names the next job, so that one can be taken back.
    next: u64,
    busy: bool,
    thread: bool,
    /// The worker was dropped: finish what is here, then end at once.
    closed: bool,
}

/// Poisoning cannot be: a job runs outside the lock, and panics abort.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// A worker that holds at most `limit` jobs, the one being done among them. No thread yet.
    pub fn new(name: &'static str, limit: usize, stack_bytes: usize) -> Worker {
        Worker::with_idle(name, limit, stack_bytes, IDLE)
    }

    /// A worker whose thread ends after `idle` without work.
    pub fn with_idle(name: &'static str, limit: usize, stack_bytes: usize, idle: Duration) -> Worker {
        let state = State { jobs: Vec::new(), next: 0, busy: false, thread: false, closed: false };
        let (state, work) = (Mutex::new(state), Condvar::new());
        Worker { shared: Arc::new(Shared { name, limit, stack: stack_bytes, idle, state, work }) }
    }

    /// Queues `job`; what it returns comes out of the future. Never waits.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, Refused> {
        let value = Arc::new(Mutex::new(None));
        let put = value.clone();
        let ticket = self.shared.push(Box::new(move |worker: &Shared| {
            let value = job();
            lock(&worker.state).busy = false;
            *lock(&put) = Some(value);
        }))?;
        Ok(Pending { value, ticket })
    }

    /// Whether its thread is there; for the statistics.
    pub fn is_awake(&self) -> bool {
        lock(&self.shared.state).thread
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn push(self: &Arc<Self>, job: Job) -> Result<Ticket, Refused> {
        let mut state = lock(&self.state);
        if state.jobs.len() + usize::from(state.busy) >= self.limit {
            return Err(Refused::Full { worker: self.name, limit: self.limit });
        }
        if !state.thread {
            let shared = self.clone();
            process::spawn(self.name, self.stack, Box::new(move || shared.work()))
                .map_err(|error| Refused::NoThread { worker: self.name, error })?;
            state.thread = true;
        }
        let id = state.next;
        state.next += 1;
        let bell = Arc::new(Bell::default());
        state.jobs.push((id, job, bell.clone()));
        drop(state);
        self.work.notify_one();
        Ok(Ticket { bell, queue: self.clone(), id })
    }

    /// The thread.
    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if !state.jobs.is_empty() {
                let (_, job, bell) = state.jobs.remove(0);
                state.busy = true;
                drop(state);
                job(self);
                let waker = lock(&bell).take();
                if let Some(waker) = waker {
                    waker.wake();
                }
                state = lock(&self.state);
                continue;
            }
            if state.closed {
                break;
            }
            let woken = self.work.wait_timeout_while(state, self.idle, |s| s.jobs.is_empty() && !s.closed);
            let (again, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = again;
            if timeout.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        // Still under the lock under which the queue was seen empty: a job that comes next sees no
        // thread and starts one.
        state.jobs = Vec::new();
        state.thread = false;
    }
}

/// Who waits for a job.
type Bell = Mutex<Option<Waker>>;

/// A place in the queue, for whoever waits there.
struct Ticket {
    bell: Arc<Bell>,
    queue: Arc<Shared>,
    id: u64,
}

/// A job's result to come. Dropping it takes the job back if it has not begun; if it has, the result
/// is thrown away.
pub struct Pending<T> {
    value: Arc<Mutex<Option<T>>>,
    ticket: Ticket,
}

impl<T> Future for Pending<T> {
    type Output = T;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // who waits is known before he looks: what is put there later wakes him
        *lock(&self.ticket.bell) = Some(cx.waker().clone());
        lock(&self.value).take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        let at = state.jobs.iter().position(|(id, ..)| *id == self.id);
        let job = at.map(|at| state.jobs.remove(at));
        drop(state);
        drop(job); // outside the lock: what it owns may do anything when it goes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::reactor::block_on;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const STACK: usize = 128 * 1024;

    /// A job that has begun and waits to be let go.
    fn blocker(worker: &Worker) -> (Pending<()>, Sender<()>) {
        let (begun, has_begun) = channel();
        let (go, wait): (Sender<()>, Receiver<()>) = channel();
        let pending = worker
            .run(move || {
                begun.send(()).unwrap();
                let _ = wait.recv();
            })
            .unwrap();
        has_begun.recv().unwrap();
        (pending, go)
    }

    #[test]
    fn results_come_back_and_jobs_are_done_in_order() {
        let worker = Worker::new("media", 9, STACK);
        assert!(!worker.is_awake());
        let (first, go) = blocker(&worker);
        let (log, order) = channel();
        let jobs: Vec<_> = (0..8)
            .map(|i| {
                let log = log.clone();
                worker
                    .run(move || {
                        log.send(i).unwrap();
                        i * i
                    })
                    .unwrap()
            })
            .collect();
        go.send(()).unwrap();
        block_on(first);
        let results: Vec<i32> = jobs.into_iter().map(block_on).collect();
        assert_eq!(results, [0, 1, 4, 9, 16, 25, 36, 49]);
        assert_eq!(order.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_full_worker_says_so_at_once() {
        let worker = Worker::new("slow", 2, STACK);
        let (first, go) = blocker(&worker);
        let second = worker.run(|| 2).unwrap();
        let Err(refused) = worker.run(|| 3) else { panic!("taken") };
        assert_eq!(refused.to_string(), "worker slow: 2 jobs are waiting already, no more are taken");
        go.send(()).unwrap();
        block_on(first);
        assert_eq!(block_on(second), 2);
    }

    #[test]
    fn whoever_has_a_result_finds_the_place_free() {
        let worker = Worker::new("slow", 1, STACK);
        for i in 0..1000 {
            assert_eq!(block_on(worker.run(move || i).unwrap()), i);
        }
    }

    #[test]
    fn whoever_walks_away_frees_the_place_and_the_memory() {
        let worker = Worker::new("slow", 2, STACK);
        let (first, go) = blocker(&worker);
        let owned = Arc::new(());
        let job_owns = owned.clone();
        let second = worker.run(move || drop(job_owns)).unwrap();
        assert_eq!(Arc::strong_count(&owned), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&owned), 1);
        let third = worker.run(|| 3).unwrap();
        drop(first); // begun: its result goes nowhere, the next is done all the same
        go.send(()).unwrap();
        assert_eq!(block_on(third), 3);
    }

    #[test]
    fn an_idle_thread_ends_and_the_next_job_starts_another() {
        let worker = Worker::with_idle("slow", 2, STACK, Duration::from_millis(1));
        for round in 0..5 {
            assert_eq!(block_on(worker.run(move || round).unwrap()), round);
            while worker.is_awake() {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn what_was_queued_is_still_done_after_the_worker_is_dropped() {
        let worker = Worker::new("slow", 3, STACK);
        let shared = worker.shared.clone();
        let (first, go) = blocker(&worker);
        let second = worker.run(|| "written").unwrap();
        drop(worker);
        go.send(()).unwrap();
        block_on(first);
        assert_eq!(block_on(second), "written");
        while lock(&shared.state).thread {
            std::thread::yield_now(); // far less than its idle time
        }
    }

    #[test]
    fn no_thread_is_an_error_to_the_caller() {
        let worker = Worker::new("media", 2, usize::MAX / 2);
        let Err(refused) = worker.run(|| ()) else { panic!("taken") };
        assert!(refused.to_string().starts_with("worker media: no thread: "), "{refused}");
        assert!(!worker.is_awake());
    }
}
