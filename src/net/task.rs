//! Tasks of the one executor. Everything that runs goes through here as a boxed future, so that the
//! executor's machinery is compiled once and not once for each caller: some 5 KB of flash apiece.

use smol::{LocalExecutor, Task};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;

/// Starts a task; it is cancelled when the result is dropped.
pub fn spawn(executor: &LocalExecutor<'static>, run: impl Future<Output = ()> + 'static) -> Task<()> {
    spawn_boxed(executor, Box::pin(run))
}

#[inline(never)]
fn spawn_boxed(executor: &LocalExecutor<'static>, run: Pin<Box<dyn Future<Output = ()>>>) -> Task<()> {
    executor.spawn(run)
}

/// Runs the executor on this thread until `main` is done. None can only come of an executor that lost
/// its future, which does not happen.
pub fn block_on<T>(executor: &LocalExecutor<'_>, main: impl Future<Output = T>) -> Option<T> {
    let done = Cell::new(None);
    block_on_boxed(executor, Box::pin(async { done.set(Some(main.await)) }));
    done.into_inner()
}

#[inline(never)]
fn block_on_boxed(executor: &LocalExecutor<'_>, main: Pin<Box<dyn Future<Output = ()> + '_>>) {
    smol::block_on(executor.run(main));
}
