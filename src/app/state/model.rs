//! A disk for tests: what was not synced may be on the flash wholly, partly or not at all when the power
//! goes, and any step can fail.

use super::Disk;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A disk with a cache.
#[derive(Clone, Default)]
pub struct Model(Rc<Inner>);

#[derive(Default)]
struct Inner {
    files: RefCell<BTreeMap<PathBuf, Rc<Node>>>,
    flash: RefCell<BTreeMap<PathBuf, Rc<Node>>>,
    steps: Cell<u32>,
    fails: Cell<Option<u32>>,
    power: Cell<bool>,
    off: Cell<bool>,
    luck: Cell<u32>,
    writes: Cell<u32>,
}

#[derive(Default)]
pub struct Node {
    cached: RefCell<Vec<u8>>,
    synced: RefCell<Vec<u8>>,
}

impl Model {
    /// A disk of that luck.
    pub fn new(luck: u32) -> Model {
        let disk = Model::default();
        disk.0.luck.set(luck);
        disk
    }

    /// The step of that number from now on fails; with `power` it is the last thing that happens.
    pub fn fail(&self, step: u32, power: bool) {
        self.0.steps.set(0);
        self.0.power.set(power);
        self.0.fails.set(Some(step));
    }

    /// Files that are there.
    pub fn files(&self) -> usize {
        self.0.files.borrow().len()
    }

    /// How often something was written.
    pub fn writes(&self) -> u32 {
        self.0.writes.get()
    }

    /// A failing step does half of its work, or none.
    fn step(&self) -> io::Result<()> {
        let n = self.0.steps.get();
        self.0.steps.set(n + 1);
        if self.0.fails.get() == Some(n) {
            self.0.off.set(self.0.power.get());
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.0.off.get() { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    fn lucky(&self) -> bool {
        let x = self.0.luck.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.luck.set(x);
        x >> 31 == 1
    }

    /// The power comes back: what is on the flash is all there is.
    pub fn restart(&self) {
        let renames_made_it = self.lucky();
        let mut files = self.0.files.borrow_mut();
        if !renames_made_it {
            *files = self.0.flash.borrow().clone();
        }
        for node in files.values() {
            let (mut cached, synced) = (node.cached.borrow_mut(), node.synced.borrow());
            if *cached != *synced {
                let half = cached.len() / 2;
                match (self.lucky(), self.lucky()) {
                    (true, true) => cached.truncate(half),
                    (true, false) => cached.iter_mut().skip(half).for_each(|b| *b = 0),
                    (false, true) => *cached = synced.clone(),
                    _ => {}
                }
            }
        }
        self.0.off.set(false);
        self.0.fails.set(None);
    }
}

impl Disk for Model {
    type File = Rc<Node>;
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let files = self.0.files.borrow();
        let node = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = node.cached.borrow();
        Ok(bytes[..bytes.len().min(limit)].to_vec())
    }
    fn create(&self, path: &Path) -> io::Result<Rc<Node>> {
        self.step()?;
        let node = Rc::new(Node::default());
        self.0.files.borrow_mut().insert(path.into(), node.clone());
        Ok(node)
    }
    fn write(&self, file: &mut Rc<Node>, bytes: &[u8]) -> io::Result<()> {
        self.0.writes.set(self.0.writes.get() + 1);
        let done = self.step();
        let len = if done.is_ok() { bytes.len() } else { bytes.len() / 2 };
        file.cached.borrow_mut().extend_from_slice(&bytes[..len]);
        done
    }
    fn sync(&self, file: &mut Rc<Node>) -> io::Result<()> {
        self.step()?;
        *file.synced.borrow_mut() = file.cached.borrow().clone();
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let mut files = self.0.files.borrow_mut();
        let node = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), node);
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.step()?;
        *self.0.flash.borrow_mut() = self.0.files.borrow().clone();
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.0.off.get() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.0.files.borrow_mut().remove(path).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }
}
