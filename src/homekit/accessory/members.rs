//! Those behind a bridge: each an accessory with its own camera, and no controllers but the bridge's.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::*;

/// An accessory behind a bridge: its controllers are the bridge's, all else is its own.
pub struct Member {
    /// Its number, which is never another's.
    pub aid: u32,
    /// The accessory; nobody is ever paired with its own book.
    pub accessory: Accessory,
    /// What stands behind it.
    pub camera: Box<dyn Camera>,
}

impl Member {
    fn next(&mut self) -> Option<Change> {
        let change = self.accessory.changes.pop_front()?;
        self.accessory.first_change += 1;
        Some(change)
    }

    /// The number for an accessory of that name: the same at every start, whatever else is there.
    pub fn number(name: &str) -> u32 {
        let bytes = sha512(&[name.as_bytes()]).first_chunk().copied().unwrap_or_default();
        // readable as a number by everybody, and not the bridge's
        (u32::from_le_bytes(bytes) >> 2).saturating_add(AID + 1)
    }
}

impl Accessory {
    /// Those behind it.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The accessory of that number: itself, or one behind it.
    pub fn at(&self, aid: u32) -> Option<&Accessory> {
        match aid {
            AID => Some(self),
            aid => self.members.iter().find(|m| m.aid == aid).map(|m| &m.accessory),
        }
    }

    /// The same, with what stands behind it; `camera` is what stands behind this one.
    pub fn at_mut<'a>(
        &'a mut self,
        aid: u32,
        camera: &'a mut dyn Camera,
    ) -> Option<(&'a mut Accessory, &'a mut dyn Camera)> {
        match aid {
            AID => Some((self, camera)),
            aid => {
                let member = self.members.iter_mut().find(|m| m.aid == aid)?;
                Some((&mut member.accessory, &mut *member.camera))
            }
        }
    }

    /// What has changed behind it is told as its own.
    pub fn gather(&mut self) {
        for member in 0..self.members.len() {
            while let Some(mut change) = self.members.get_mut(member).and_then(Member::next) {
                change.aid = self.members.get(member).map_or(AID, |m| m.aid);
                self.push(change);
            }
        }
    }

    /// It is on flash that nobody is paired: those behind it forget what was set too.
    pub(in crate::homekit) fn empty_members(&mut self) {
        if !self.book.is_paired() {
            for Member { accessory, camera, .. } in &mut self.members {
                accessory.forget_all(&mut **camera);
            }
        }
    }
}

/// What a controller keeps of a table, with those behind it.
pub(super) fn mark(settings: &Settings, members: &[Member]) -> [u8; 8] {
    let own = settings.shape.mark(&settings.firmware);
    if members.is_empty() {
        return own;
    }
    let mut all = own.to_vec();
    for Member { aid, accessory, .. } in members {
        all.extend_from_slice(&aid.to_le_bytes());
        all.extend_from_slice(&mark(&accessory.settings, &[]));
    }
    sha512(&[&all]).first_chunk().copied().unwrap_or([1; 8])
}
