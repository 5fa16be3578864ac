//! State on flash: pairings, keys, counters; what must be there after the plug was pulled.
//!
//! A value is one small file: a header with magic, version, length and checksum, then the bytes. It is
//! written beside its place, synced, renamed into it, and the directory synced: at every instant the
//! old value or the new one is there, never a mix. The same bytes are not written again (it is flash).
//! What the bytes mean is their owner's business. Writing may take long: it is a job for `slow`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// The largest value.
pub const LARGEST: usize = 64 * 1024;

const MAGIC: [u8; 4] = *b"stmd";
/// Magic 4, checksum 4 (of all that follows), version 2, reserved 2, length 4.
const HEADER: usize = 16;

/// What was found under a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It was never written, or was removed.
    Missing,
    /// It is there and cannot be used; it is not to be taken for missing without telling somebody.
    Damaged(Damage),
    /// As it was written.
    Value {
        /// Of the bytes' meaning, given by the owner.
        version: u16,
        /// The owner's bytes.
        bytes: Vec<u8>,
    },
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Damage {
    /// The system does not let us read it.
    Unreadable(io::ErrorKind),
    /// It does not begin as ours do.
    NotOurs,
    /// More or fewer bytes than its header says, or more than are allowed.
    Length,
    /// The bytes are not those that were written.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
            Damage::NotOurs => f.write_str("is not a state file"),
            Damage::Length => f.write_str("has not the length that its header says"),
            Damage::Checksum => f.write_str("is damaged: its checksum is wrong"),
        }
    }
}

/// Why a value was not written; the old one is still there (or, if only the last step failed, the new).
#[derive(Debug)]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// What was being done.
    pub step: &'static str,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {}: cannot {} it: {}", self.path.display(), self.step, self.error)
    }
}

impl std::error::Error for WriteError {}

/// The steps of writing, each of which may fail or be the last before the plug is pulled.
pub trait Disk {
    /// An open file.
    type File;
    /// The first `limit` bytes of a file.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// A new file, for us alone.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// All of `bytes` into it.
    fn write(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Waits until they are on the flash.
    fn sync(&self, file: &mut Self::File) -> io::Result<()>;
    /// Puts the file in its place.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the directory is on the flash.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a file away.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flash;

impl Disk for Flash {
    type File = File;

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path),
        }
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &mut File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The state directory. Clones are the same directory and may go to a worker.
pub struct Store<D = Flash> {
    dir: Arc<Dir>,
    disk: D,
}

struct Dir {
    path: PathBuf,
    /// One writer at a time, whichever thread it is.
    writing: Mutex<()>,
    /// A rename may not be on the flash yet; also one of the process before us.
    unsynced: AtomicBool,
}

impl<D: Clone> Clone for Store<D> {
    fn clone(&self) -> Self {
        Store { dir: self.dir.clone(), disk: self.disk.clone() }
    }
}

impl Store {
    /// Opens the directory `path`; makes it (mode 0700) if it is not there, and takes away what a
    /// pulled plug left half written.
    pub fn open(path: &Path) -> io::Result<Store> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        for entry in fs::read_dir(path)? {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.starts_with(b".") && name.ends_with(b".tmp") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Store::with_disk(path, Flash))
    }

    /// Whether the directory is still there after a restart; one in memory is not.
    pub fn survives(&self) -> bool {
        use nix::sys::statfs::{TMPFS_MAGIC, statfs};
        statfs(self.dir.path.as_path()).map_or(true, |fs| fs.filesystem_type() != TMPFS_MAGIC)
    }
}

impl<D: Disk> Store<D> {
    /// A directory on another disk.
    pub fn with_disk(path: &Path, disk: D) -> Store<D> {
        let (writing, unsynced) = (Mutex::new(()), AtomicBool::new(true));
        Store { dir: Arc::new(Dir { path: path.into(), writing, unsynced }), disk }
    }

    /// The file of a name. Names are ours, never a peer's; still nothing but letters, digits, `-`, `_`
    /// gets into a path.
    fn path(&self, name: &str) -> PathBuf {
        let name = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
        self.dir.path.join(name.collect::<String>())
    }

    /// Reads the value `name`.
    pub fn read(&self, name: &str) -> Found {
        match self.disk.read(&self.path(name), HEADER + LARGEST + 1) {
            Ok(file) => match decode(&file) {
                Ok((version, bytes)) => Found::Value { version, bytes: bytes.into() },
                Err(damage) => Found::Damaged(damage),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Found::Missing,
            Err(e) => Found::Damaged(Damage::Unreadable(e.kind())),
        }
    }

    /// Writes the value `name`; says whether the flash was written at all, which it is not if it holds
    /// the same already.
    pub fn write(&self, name: &str, version: u16, bytes: &[u8]) -> Result<bool, WriteError> {
        let _one = self.dir.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(name);
        let fail = |step: &'static str, error: io::Error| WriteError { path: path.clone(), step, error };
        if bytes.len() > LARGEST {
            return Err(fail("write", io::ErrorKind::FileTooLarge.into()));
        }
        let file = encode(version, bytes);
        if self.disk.read(&path, file.len() + 1).is_ok_and(|old| old == file) {
            if self.dir.unsynced.load(Relaxed) {
                self.sync_dir().map_err(|e| fail("sync the directory of", e))?;
            }
            return Ok(false);
        }
        // named after the process: a second one started by mistake does not write into ours
        let leaf = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.dir.path.join(format!(".{leaf}.{}.tmp", std::process::id()));
        self.replace(&beside, &path, &file).map_err(|(step, error)| {
            let _ = self.disk.remove(&beside);
            fail(step, error)
        })?;
        self.sync_dir().map_err(|e| fail("sync the directory of", e))?;
        Ok(true)
    }

    fn replace(&self, beside: &Path, path: &Path, bytes: &[u8]) -> Result<(), (&'static str, io::Error)> {
        let mut file = self.disk.create(beside).map_err(|e| ("create", e))?;
        self.disk.write(&mut file, bytes).map_err(|e| ("write", e))?;
        self.disk.sync(&mut file).map_err(|e| ("sync", e))?;
        drop(file);
        self.dir.unsynced.store(true, Relaxed);
        self.disk.rename(beside, path).map_err(|e| ("rename", e))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir.path)?;
        self.dir.unsynced.store(false, Relaxed);
        Ok(())
    }

    /// Removes the value `name`, for good.
    pub fn remove(&self, name: &str) -> Result<(), WriteError> {
        let _one = self.dir.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(name);
        match self.disk.remove(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.and_then(|()| self.sync_dir()),
        }
        .map_err(|error| WriteError { path, step: "remove", error })
    }
}

/// Where the state lives: where the configuration says, else beside the configuration file
/// (`/etc/streamd.yaml` has `/etc/streamd.d/`): on a camera that is the place that survives. Without
/// either, in the user's home, or for root in `/etc/streamd.d`.
pub fn place(configured: Option<&Path>, config_file: Option<&Path>, home: Option<&Path>) -> PathBuf {
    match (configured, config_file, home) {
        (Some(dir), ..) => dir.into(),
        (_, Some(file), _) => file.with_extension("d"),
        (.., Some(home)) if home != Path::new("/root") && home != Path::new("/") => {
            home.join(".local/state/streamd")
        }
        _ => "/etc/streamd.d".into(),
    }
}

fn encode(version: u16, bytes: &[u8]) -> Vec<u8> {
    let mut summed = Vec::with_capacity(HEADER + bytes.len());
    summed.extend(MAGIC);
    summed.extend([0; 4]);
    summed.extend(version.to_le_bytes());
    summed.extend([0; 2]);
    summed.extend((bytes.len() as u32).to_le_bytes());
    summed.extend(bytes);
    let sum = crc32(summed.get(8..).unwrap_or_default()).to_le_bytes();
    if let Some(place) = summed.get_mut(4..8) {
        place.copy_from_slice(&sum);
    }
    summed
}

fn decode(file: &[u8]) -> Result<(u16, &[u8]), Damage> {
    let (head, bytes) = file.split_first_chunk::<HEADER>().ok_or(if file.starts_with(&MAGIC) {
        Damage::Length
    } else {
        Damage::NotOurs
    })?;
    let [m0, m1, m2, m3, c0, c1, c2, c3, v0, v1, _, _, l0, l1, l2, l3] = *head;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(Damage::NotOurs);
    }
    if u32::from_le_bytes([l0, l1, l2, l3]) as usize != bytes.len() || bytes.len() > LARGEST {
        return Err(Damage::Length);
    }
    if crc32(file.get(8..).unwrap_or_default()) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Damage::Checksum);
    }
    Ok((u16::from_le_bytes([v0, v1]), bytes))
}

/// The CRC of Ethernet and zip. Bit by bit: a few kilobytes now and then are not worth a table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
pub(in crate::app) mod model;

#[cfg(test)]
mod tests {
    use super::model::Model;
    use super::*;

    fn value(version: u16, bytes: &[u8]) -> Found {
        Found::Value { version, bytes: bytes.into() }
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("streamd-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn pairings_are_there_after_a_restart() {
        let dir = dir("restart");
        let store = Store::open(&dir).unwrap();
        assert_eq!(store.read("homekit"), Found::Missing);
        assert!(store.write("homekit", 3, b"pairings").unwrap());
        fs::write(dir.join(".homekit.77.tmp"), b"half").unwrap();
        let store = Store::open(&dir).unwrap();
        assert_eq!(store.read("homekit"), value(3, b"pairings"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(dir.join("homekit")).unwrap().permissions().mode() & 0o777, 0o600);
        store.remove("homekit").unwrap();
        store.remove("homekit").unwrap();
        assert_eq!(store.read("homekit"), Found::Missing);
        store.write("../escape", 1, b"").unwrap();
        assert_eq!(store.read("../escape"), value(1, b""));
        assert!(dir.join("___escape").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_in_the_way_is_damage_and_not_a_new_camera() {
        let dir = dir("eisdir");
        let store = Store::open(&dir).unwrap();
        fs::create_dir(dir.join("users")).unwrap();
        assert!(matches!(store.read("users"), Found::Damaged(Damage::Unreadable(_))));
        let error = store.write("users", 1, b"x").unwrap_err().to_string();
        assert!(error.contains("/users: cannot rename it: "), "{error}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_noticed() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let good = encode(7, b"some bytes of value");
        assert_eq!(decode(&good), Ok((7, &b"some bytes of value"[..])));
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "{bit}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(decode(&longer), Err(Damage::Length));
        assert_eq!(decode(&vec![0xff; 4096]), Err(Damage::NotOurs));
    }

    #[test]
    fn the_place_is_one_that_survives() {
        let p = Path::new;
        assert_eq!(place(None, Some(p("/etc/streamd.yaml")), None), p("/etc/streamd.d"));
        assert_eq!(place(Some(p("/mnt/x")), Some(p("/etc/streamd.yaml")), None), p("/mnt/x"));
        assert_eq!(place(None, None, Some(p("/home/a"))), p("/home/a/.local/state/streamd"));
        assert_eq!(place(None, None, Some(p("/root"))), p("/etc/streamd.d"));
    }

    #[test]
    fn a_plug_pulled_at_any_step_leaves_the_old_value_or_the_new() {
        let (old, new) = (vec![1; 3000], vec![2; 5000]);
        let mut seen = [0, 0];
        for fails in 0..6 {
            for luck in 0..200 {
                let disk = Model::new(luck * 7919);
                let store = Store::with_disk(Path::new("/s"), disk.clone());
                assert!(store.write("v", 1, &old).unwrap());
                disk.fail(fails, true);
                let told = store.write("v", 2, &new);
                assert_eq!(told.is_ok(), fails == 5); // there are five steps
                disk.restart();
                let found = store.read("v");
                let is_new = found == value(2, &new);
                assert!(is_new || found == value(1, &old), "step {fails}: {found:?}");
                assert!(is_new || told.is_err(), "what was said to be written is written");
                seen[usize::from(is_new)] += 1;
                // and the camera goes on
                store.write("v", 3, &old).unwrap();
                assert_eq!(store.read("v"), value(3, &old));
            }
        }
        assert!(seen[0] > 0 && seen[1] > 0);
    }

    #[test]
    fn a_failing_step_is_told_and_leaves_nothing_behind() {
        for (fails, step) in ["create", "write", "sync", "rename", "sync the directory of"].iter().enumerate()
        {
            let disk = Model::new(1);
            let store = Store::with_disk(Path::new("/s"), disk.clone());
            store.write("v", 1, b"old").unwrap();
            disk.fail(fails as u32, false);
            let error = store.write("v", 1, b"new").unwrap_err().to_string();
            assert_eq!(error, format!("state /s/v: cannot {step} it: no storage space"));
            assert_eq!(disk.files(), 1);
            // once more, now that there is room: it ends on the flash whatever had failed
            store.write("v", 1, b"new").unwrap();
            for _ in 0..4 {
                disk.restart();
                assert_eq!(store.read("v"), value(1, b"new"));
            }
        }
    }

    #[test]
    fn the_same_bytes_do_not_wear_the_flash() {
        let disk = Model::default();
        let store = Store::with_disk(Path::new("/s"), disk.clone());
        assert!(store.write("v", 1, b"x").unwrap());
        for _ in 0..10 {
            assert!(!store.write("v", 1, b"x").unwrap());
        }
        assert_eq!(disk.writes(), 1);
        assert!(store.write("v", 2, b"x").unwrap());
        assert!(store.write("v", 2, &vec![0; LARGEST + 1]).is_err());
        assert_eq!(store.read("v"), value(2, b"x"));
    }
}
