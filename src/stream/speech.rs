//! A person's voice on its way to a stream's speaker: frames of one codec, converted where the
//! speaker takes another. The speaker is taken with the first frame and given back when nobody has
//! spoken for a while, so that others can speak too. A few frames wait at most, the rest is lost.

use super::hall::Hall;
use super::source::Lease;
use super::speaker::{Talk, Voice};
use super::stream::{AttachError, Stream};
use super::transcode::Pipe;
use crate::media::{Codec, Time};
use crate::net::log;
use crate::net::reactor::Timer;
use async_task::Task;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Frames that wait for the converter or the speaker.
const WAITING: usize = 16;
/// After this long without a frame the speaker is given back.
const SILENCE: Duration = Duration::from_millis(1500);
/// A speaker that could not be had is asked for again after this.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Queue {
    frames: RefCell<VecDeque<(Time, Vec<u8>)>>,
    waker: RefCell<Option<Waker>>,
    volume: Cell<u8>,
    heard: Cell<bool>,
    said: Cell<u32>,
}

/// A voice. It ends when it is dropped.
pub struct Speech {
    queue: Rc<Queue>,
    _task: Task<()>,
}

impl Speech {
    /// A voice of this codec for a stream.
    pub fn new(hall: &Rc<Hall>, stream: &Rc<Stream>, codec: Codec) -> Speech {
        let queue = Rc::new(Queue { volume: Cell::new(100), ..Queue::default() });
        let task = hall.executor().spawn(run(hall.clone(), stream.clone(), codec, queue.clone()));
        Speech { queue, _task: task }
    }

    /// Says one frame; false if too many wait.
    pub fn say(&self, time: Time, data: &[u8]) -> bool {
        let mut frames = self.queue.frames.borrow_mut();
        if frames.len() >= WAITING {
            return false;
        }
        frames.push_back((time, data.to_vec()));
        drop(frames);
        let waker = self.queue.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// How loud, in hundredths; what the speaker takes as it is stays as loud as it is.
    pub fn set_volume(&self, percent: u8) {
        self.queue.volume.set(percent);
    }

    /// Whether it has the speaker now.
    pub fn is_heard(&self) -> bool {
        self.queue.heard.get()
    }

    /// Frames that the speaker was given.
    pub fn said(&self) -> u32 {
        self.queue.said.get()
    }
}

/// The speaker, and what converts for it.
struct Held {
    talk: Talk,
    pipe: Option<Pipe>,
    _lease: Lease,
}

async fn take(stream: &Rc<Stream>, codec: &Codec) -> Result<Held, AttachError> {
    match stream.talk(std::slice::from_ref(codec), Voice::Live).await {
        Ok((talk, lease)) => return Ok(Held { talk, pipe: None, _lease: lease }),
        Err(AttachError::Codecs { .. }) => {}
        Err(error) => return Err(error),
    }
    let (talk, lease) = stream.talk(&[], Voice::Live).await?;
    match Pipe::new(codec, talk.codec()) {
        Ok((pipe, _)) => Ok(Held { talk, pipe: Some(pipe), _lease: lease }),
        Err(error) => {
            log::debug!(target: "streams", "{}: {error}", stream.name());
            Err(AttachError::Codecs { offered: talk.codec().to_string(), wanted: codec.to_string() })
        }
    }
}

async fn run(hall: Rc<Hall>, stream: Rc<Stream>, codec: Codec, queue: Rc<Queue>) {
    let mut held: Option<Held> = None;
    let mut told = false;
    loop {
        let next = poll_fn(|cx| match queue.frames.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => {
                queue.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        });
        let next = match held.is_some() {
            false => next.await,
            true => {
                let silence = async {
                    Timer::after(SILENCE).await;
                    None
                };
                futures_lite::future::or(next, silence).await
            }
        };
        queue.heard.set(false);
        let Some((time, data)) = next else {
            held = None;
            continue;
        };
        let lost = |h: &Held| h.talk.is_lost() || h.pipe.as_ref().is_some_and(Pipe::is_lost);
        if held.as_ref().is_none_or(lost) {
            // given back first: nobody else runs before it is taken again
            held = None;
            match take(&stream, &codec).await {
                Ok(taken) => held = Some(taken),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        log::warn!(target: "streams", "{}: a voice is not heard: {error}", stream.name());
                    }
                    Timer::after(AGAIN).await;
                    queue.frames.borrow_mut().clear();
                    continue;
                }
            }
        }
        let Some(Held { talk, pipe, .. }) = &mut held else { continue };
        let heard = match pipe {
            None => talk.say(time, &data),
            Some(pipe) => {
                pipe.set_volume(queue.volume.get());
                pipe.push(hall.worker(), time, &data, &mut |time: Time, bytes: &[u8]| {
                    talk.say(time, bytes);
                })
                .await
            }
        };
        queue.heard.set(heard);
        queue.said.set(queue.said.get().wrapping_add(u32::from(heard)));
    }
}
