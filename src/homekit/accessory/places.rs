//! The places for viewers: who has one, since when, and what the others are told.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::*;

/// A viewer that set up and does not start makes place for another.
const SETUP_TIME: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub(super) struct Place {
    pub(super) taken: Option<Taken>,
    pub(super) answer: Vec<u8>,
    /// The last one that was told to come later, and what it was told.
    pub(super) busy: Option<(u32, Vec<u8>)>,
    pub(super) selected: Vec<u8>,
}

#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) connection: u32,
    pub(super) session: [u8; 16],
    pub(super) since: Instant,
    pub(super) started: bool,
}

impl Accessory {
    /// Whether live view is off there.
    pub(super) fn refused(&self, place: usize) -> Result<(), Status> {
        let active = iid::LIVE.get(place).is_some_and(|from| self.is_on(from + 7));
        if active && !self.disabled && self.is_on(iid::OPERATING + 1) { Ok(()) } else { Err(Status::NotNow) }
    }

    #[inline(never)]
    pub(super) fn set_up(
        &mut self,
        c: &Characteristic,
        bytes: &[u8],
        caller: &Caller<'_>,
        camera: &mut dyn Camera,
    ) -> Result<Option<Value>, Status> {
        let place = iid::LIVE.iter().position(|&from| c.iid == from + 5).ok_or(Status::Missing)?;
        self.refused(place)?;
        let theirs = Endpoints::parse(bytes).ok_or(Status::Invalid)?;
        self.tidy(caller.now, camera);
        let taken = self.places.get(place).and_then(|p| p.taken);
        let answered = |answer: &Vec<u8>| Ok(Some(Value::Bytes(answer.clone())));
        if taken.is_some_and(|t| t.started || t.connection != caller.connection) {
            // Told to the one who asks; the viewer's own answer stays for the viewer.
            let busy = camera::no_endpoint(Some(&theirs.session), NoEndpoint::Busy);
            if let Some(slot) = self.places.get_mut(place) {
                slot.busy = Some((caller.connection, busy.clone()));
            }
            return answered(&busy);
        }
        if taken.is_some() {
            self.free(place, camera);
        }
        let viewer = Viewer { place, connection: caller.connection };
        let (answer, ok) = match camera.live_setup(viewer, &theirs, caller.local) {
            Ok((ours, [video, audio])) => (ours.answer(video, audio), true),
            Err(why) => (camera::no_endpoint(Some(&theirs.session), why), false),
        };
        if let Some(slot) = self.places.get_mut(place) {
            slot.answer.clone_from(&answer);
            slot.busy = None;
            slot.taken = ok.then_some(Taken {
                connection: caller.connection,
                session: theirs.session,
                since: caller.now,
                started: false,
            });
        }
        self.tell_place(place);
        answered(&answer)
    }

    #[inline(never)]
    pub(super) fn select(
        &mut self,
        c: &Characteristic,
        bytes: &[u8],
        caller: &Caller<'_>,
        camera: &mut dyn Camera,
    ) -> Result<Option<Value>, Status> {
        let place = iid::LIVE.iter().position(|&from| c.iid == from + 4).ok_or(Status::Missing)?;
        self.refused(place)?;
        let selected = Selected::parse(bytes).ok_or(Status::Invalid)?;
        let slot = self.places.get_mut(place).ok_or(Status::Missing)?;
        let Some(taken) = slot.taken.as_mut().filter(|t| t.session == selected.session) else {
            return Err(Status::Invalid);
        };
        if taken.connection != caller.connection {
            return Err(Status::Busy);
        }
        if selected.command == Command::End {
            slot.selected = bytes.to_vec();
            self.free(place, camera);
            return Ok(Some(Value::Bytes(bytes.to_vec())));
        }
        let again = selected.command == Command::Start && taken.started;
        let early = selected.command != Command::Start && !taken.started;
        if again || early {
            return Err(Status::NotNow);
        }
        if !camera.live_control(Viewer { place, connection: caller.connection }, &selected) {
            return Err(Status::Unreachable);
        }
        taken.started = true;
        slot.selected = bytes.to_vec();
        Ok(Some(Value::Bytes(bytes.to_vec())))
    }

    /// A place becomes free.
    pub(super) fn free(&mut self, place: usize, camera: &mut dyn Camera) {
        let Some(slot) = self.places.get_mut(place) else { return };
        if let Some(taken) = slot.taken.take() {
            slot.answer = camera::no_endpoint(None, NoEndpoint::Error);
            slot.busy = None;
            camera.live_end(Viewer { place, connection: taken.connection });
            self.tell_place(place);
        }
    }

    fn tell_place(&mut self, place: usize) {
        let in_use = self.places.get(place).is_some_and(|p| p.taken.is_some());
        if let Some(from) = iid::LIVE.get(place) {
            self.put(from + 6, Value::Bytes(camera::streaming_status(in_use)), None);
        }
    }

    /// The live view of a place ended by itself (its viewer fell silent, its source is gone).
    pub fn live_ended(&mut self, viewer: Viewer, camera: &mut dyn Camera) {
        let theirs = self.places.get(viewer.place).and_then(|p| p.taken);
        if theirs.is_some_and(|t| t.connection == viewer.connection) {
            self.free(viewer.place, camera);
        }
    }

    /// Frees what was set up and never started.
    pub fn tidy(&mut self, now: Instant, camera: &mut dyn Camera) {
        for place in 0..self.places.len() {
            let stale = |t: Taken| !t.started && now.saturating_duration_since(t.since) >= SETUP_TIME;
            if self.places.get(place).and_then(|p| p.taken).is_some_and(stale) {
                self.free(place, camera);
            }
        }
    }
}
