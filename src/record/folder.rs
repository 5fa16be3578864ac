//! A folder of films: their names say when they begin, and the oldest go when there is no room. Everything here
//! touches the card, so it belongs on the worker.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::net::clock::Civil;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Films that are looked at; more are not shown, and not removed.
const MOST: usize = 100_000;

/// Where films are.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Bytes of all films together.
    pub budget: u64,
    /// The card that it was on before.
    pub card: Option<Card>,
}

/// Which disk a folder is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    own: u64,
    /// The one that it is mounted on, if there is another.
    under: Option<u64>,
}

impl Card {
    /// The one that the path is on, or would be.
    fn of(path: &Path) -> Option<Card> {
        let path = std::path::absolute(path).ok()?;
        let mut disks = path.ancestors().filter_map(|above| Some(fs::metadata(above).ok()?.dev()));
        let own = disks.next()?;
        Some(Card { own, under: disks.find(|disk| *disk != own) })
    }
}

/// A film.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Film {
    /// Its name, which sorts by time.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The name of a film that begins then, in nanoseconds since 1970.
pub fn name(unix: u64) -> String {
    let Civil { year, month, day, hour, minute, second, millis, .. } = Civil::from_unix(unix);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{millis:03}.mp4")
}

/// Whether it is one of ours: nothing else is shown, opened or removed.
pub fn is_name(text: &str) -> bool {
    text.len() == 23
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 15 => b == b'-',
            19.. => b".mp4".get(at - 19) == Some(&b),
            _ => b.is_ascii_digit(),
        })
}

impl Folder {
    /// Its films, the oldest first.
    pub fn films(&self) -> io::Result<Vec<Film>> {
        let entries = match fs::read_dir(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut films = Vec::new();
        for entry in entries.flatten().take(MOST) {
            let Some(name) = entry.file_name().to_str().filter(|n| is_name(n)).map(str::to_owned) else {
                continue;
            };
            if let Some(meta) = entry.metadata().ok().filter(fs::Metadata::is_file) {
                films.push(Film { name, bytes: meta.len() });
            }
        }
        films.sort_unstable();
        Ok(films)
    }

    /// Opens a film of that name.
    pub fn open(&self, name: &str) -> io::Result<(File, u64)> {
        if !is_name(name) {
            return Err(ErrorKind::NotFound.into());
        }
        let file = File::open(self.path.join(name))?;
        let len = file.metadata()?.len();
        Ok((file, len))
    }

    /// Begins a film.
    pub fn begin(mut self, name: &str) -> io::Result<Reel> {
        let now = Card::of(&self.path);
        let before = self.card.filter(|card| now.is_some_and(|now| now.own != card.own));
        if before.is_some_and(|card| card.under == now.map(|now| now.own)) {
            // what it was mounted on has other things to keep
            return Err(io::Error::other("its card is gone"));
        }
        self.card = now;
        fs::create_dir_all(&self.path)?;
        let films = self.films()?;
        let total = films.iter().map(|f| f.bytes).sum();
        let file = File::options().write(true).create_new(true).open(self.path.join(name))?;
        let _ = File::open(&self.path).and_then(|folder| folder.sync_all());
        Ok(Reel { folder: self, name: name.to_owned(), file, older: films, total, whole: 0, written: 0 })
    }
}

/// A film that is being written.
#[derive(Debug)]
pub struct Reel {
    folder: Folder,
    name: String,
    file: File,
    /// Those that can go, the oldest first, and the bytes of all.
    older: Vec<Film>,
    total: u64,
    /// Bytes of whole segments, and of all.
    whole: u64,
    written: u64,
}

impl Reel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The card that it is on.
    pub fn card(&self) -> Option<Card> {
        self.folder.card
    }

    /// Removes the oldest one; false if there is none.
    fn drop_oldest(&mut self) -> bool {
        if self.older.is_empty() {
            return false;
        }
        let film = self.older.remove(0);
        self.total = self.total.saturating_sub(film.bytes);
        let _ = fs::remove_file(self.folder.path.join(film.name));
        true
    }

    /// Appends bytes; `last` are the last ones of a segment, which is then safe.
    pub fn write(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        self.total += bytes.len() as u64;
        while self.total > self.folder.budget {
            if !self.drop_oldest() {
                self.cut()?;
                return Err(io::Error::other("the budget is too small for one film"));
            }
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // others fill the card too
                Err(e) if e.kind() == ErrorKind::StorageFull && self.drop_oldest() => {}
                Err(e) => {
                    let _ = self.cut();
                    return Err(e);
                }
            }
        }
        self.written += bytes.len() as u64;
        if last {
            self.file.sync_data()?;
            self.whole = self.written;
        }
        Ok(())
    }

    /// Forgets what is no whole segment.
    pub fn cut(&mut self) -> io::Result<()> {
        if self.whole == 0 {
            return fs::remove_file(self.folder.path.join(&self.name));
        }
        self.file.set_len(self.whole)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, budget: u64) -> Folder {
        let path = std::env::temp_dir().join(format!("streamd-record-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder { path, budget, card: None }
    }

    #[test]
    fn names_say_when_and_nothing_else_is_one() {
        assert_eq!(name(1_795_256_643_123_000_000), "20261121-102403-123.mp4");
        assert!(is_name(&name(0)) && is_name(&name(u64::MAX)));
        for text in [
            "",
            "../../etc/passwd",
            "20261121-102403-123.mp5",
            "2026112a-102403-123.mp4",
            "20261121-102403-123.mp4x",
        ] {
            assert!(!is_name(text), "{text}");
        }
    }

    /// A card that was pulled leaves the folder that it was mounted on, which is often the system's flash: a
    /// camera that fills it does not start again.
    #[test]
    fn nothing_is_written_where_a_card_was() {
        let mut at = folder("card", 1000);
        let place = at.path.join("mounted");
        let card = Path::new("/dev/shm").join(at.path.file_name().unwrap());
        fs::create_dir_all(&card).unwrap();
        fs::create_dir_all(&at.path).unwrap();
        at.path = place.clone();
        let disk = |path: &Path| Card::of(path).unwrap();
        if disk(&card).own != disk(&place).own {
            std::os::unix::fs::symlink(&card, &place).unwrap();
            let reel = at.clone().begin(&name(1)).unwrap();
            // as if it were mounted there
            let under = Some(disk(place.parent().unwrap()).own);
            at.card = Some(Card { under, ..reel.card().unwrap() });
            fs::remove_file(&place).unwrap();
            let told = at.clone().begin(&name(2_000_000_000)).unwrap_err().to_string();
            assert_eq!((told.as_str(), place.exists()), ("its card is gone", false));
            fs::create_dir(&place).unwrap();
            assert!(
                at.clone().begin(&name(2_000_000_000)).is_err() && fs::read_dir(&place).unwrap().count() == 0
            );
            fs::remove_dir(&place).unwrap();
            std::os::unix::fs::symlink(&card, &place).unwrap();
            assert!(at.clone().begin(&name(3_000_000_000)).is_ok());
        }
        fs::remove_dir_all(&card).unwrap();
        fs::remove_dir_all(place.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_oldest_make_room_and_what_is_not_ours_stays() {
        let at = folder("room", 1000);
        fs::create_dir_all(&at.path).unwrap();
        fs::write(at.path.join("holiday.mp4"), [0; 5000]).unwrap();
        for n in 0..5u64 {
            let mut reel = at.clone().begin(&name(n * 1_000_000_000)).unwrap();
            reel.write(&[0; 150], false).unwrap();
            reel.write(&[0; 150], true).unwrap();
        }
        let films = at.films().unwrap();
        assert_eq!(films.iter().map(|f| f.bytes).collect::<Vec<_>>(), [300; 3]);
        assert_eq!(films[2].name, name(4_000_000_000));
        assert!(at.path.join("holiday.mp4").exists());
        // one that is larger than all that there may be breaks off, at its last whole segment
        let mut reel = at.clone().begin(&name(9_000_000_000)).unwrap();
        reel.write(&[0; 600], true).unwrap();
        assert!(reel.write(&[0; 600], true).is_err());
        assert_eq!(at.films().unwrap(), [Film { name: name(9_000_000_000), bytes: 600 }]);
        assert!(at.open("../x").is_err() && at.open(&name(1)).is_err());
        assert_eq!(at.open(&name(9_000_000_000)).unwrap().1, 600);
        assert!(at.clone().begin(&name(9_000_000_000)).is_err(), "none is written over");
        // nor does one stay that holds nothing
        let mut reel = at.clone().begin(&name(10_000_000_000)).unwrap();
        assert!(reel.write(&[0; 1001], true).is_err());
        assert_eq!(at.films().unwrap(), []);
        fs::remove_dir_all(&at.path).unwrap();
    }
}
