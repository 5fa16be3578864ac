//! The book of an accessory as it comes from flash, from the predecessor's file, or anew. Says in a
//! sentence what the owner should know.

use crate::app::config::Homekit as Row;
use crate::app::state::{Damage, Found, Store};
use crate::homekit::crypto::sha512;
use crate::homekit::pairing::book::{Book, Identity, MOST_PAIRINGS, Pairing};
use crate::homekit::payload::{Code, SetupId};
use crate::homekit::server::random;
use crate::net::log;

/// What the stream's book is called on flash: readable, and no two streams' the same.
pub fn name(stream: &str) -> String {
    let mut name = String::from("homekit-");
    name.extend(stream.chars().take(32).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    name.push('-');
    for byte in sha512(&[stream.as_bytes()]).iter().take(4) {
        for digit in [byte >> 4, byte & 15] {
            name.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    name
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|t| !t.is_empty())
}

fn setup_id(text: &str) -> Result<Option<SetupId>, String> {
    match some(text) {
        None => Ok(None),
        Some(text) => {
            let id: Result<SetupId, _> = text.as_bytes().try_into();
            let id = id.ok().filter(|id| id.iter().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()));
            id.map(Some).ok_or_else(|| format!("setup_id: {text:?}: expected four digits or capital letters"))
        }
    }
}

/// The book of a stream. The second is what went wrong on the way, if something did.
pub fn open(
    store: Option<&Store>,
    name: &str,
    stream: &str,
    row: &Row,
) -> Result<(Book, Option<String>), String> {
    let code = match some(&row.pin) {
        Some(pin) => Some(Code::parse(pin).map_err(|e| format!("pin: {e}"))?),
        None => None,
    };
    let setup_id = setup_id(&row.setup_id)?;
    let mut told = None;
    let stored = match store.map_or(Found::Missing, |store| store.read(name)) {
        Found::Value { version, bytes } => Book::decode(version, &bytes).map_err(|e| e.to_string()),
        Found::Missing => Err(String::new()),
        // it may be readable the next time: nothing is written over it
        Found::Damaged(Damage::Unreadable(e)) => return Err(format!("its pairings cannot be read: {e}")),
        Found::Damaged(damage) => Err(damage.to_string()),
    };
    let mut book = stored.unwrap_or_else(|why| {
        if !why.is_empty() {
            told = Some(format!("what was stored of it {why}; it has to be paired anew"));
        }
        Book::new(Identity::random(&mut random))
    });
    import(&mut book, stream, row, code, &mut told)?;
    if !book.is_paired() {
        // a sticker that was printed is right from the start
        book.identity.code = code.unwrap_or(book.identity.code);
        book.identity.setup_id = setup_id.unwrap_or(book.identity.setup_id);
    }
    Ok((book, told))
}

/// The predecessor's identity and pairings, once: what was removed later does not come back.
fn import(
    book: &mut Book,
    stream: &str,
    row: &Row,
    code: Option<Code>,
    told: &mut Option<String>,
) -> Result<(), String> {
    let (id, private) = (some(&row.device_id), some(&row.device_private));
    if book.imported || book.is_paired() || (row.pairings.is_empty() && id.is_none() && private.is_none()) {
        return Ok(());
    }
    let identity = Identity::of_predecessor(stream, id, private, code);
    book.identity = identity.ok_or("device_id: expected AA:BB:CC:DD:EE:FF or a name")?;
    book.imported = true;
    for text in &row.pairings {
        match Pairing::of_predecessor(text) {
            Some(pairing) if book.pairings.len() < MOST_PAIRINGS && book.find(&pairing.id).is_none() => {
                book.pairings.push(pairing);
            }
            Some(_) => {}
            None => {
                let sentence = "pairings: expected client_id=…&client_public=…; one is left out";
                *told = Some(sentence.to_owned());
            }
        }
    }
    if !book.pairings.iter().any(|p| p.admin) {
        // without an admin nobody could ever be removed
        book.pairings.clear();
    }
    if book.is_paired() {
        log::info!(target: "homekit", "{stream}: {} controllers were taken over", book.pairings.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, pairings: &[&str]) -> Row {
        Row {
            device_id: id.into(),
            pairings: pairings.iter().map(|p| (*p).into()).collect(),
            ..Row::default()
        }
    }

    fn folder(name: &str) -> (std::path::PathBuf, Store) {
        let path = std::env::temp_dir().join(format!("streamd-book-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let store = Store::open(&path).unwrap();
        (path, store)
    }

    fn keep(store: &Store, name: &str, book: &Book) {
        store.write(name, crate::homekit::pairing::book::VERSION, &book.encode()).unwrap();
    }

    #[test]
    fn a_new_camera_stays_itself() {
        let (path, store) = folder("new");
        let (book, told) = open(Some(&store), "a", "cam", &Row::default()).unwrap();
        assert!(told.is_none() && !book.is_paired());
        keep(&store, "a", &book);
        assert_eq!(open(Some(&store), "a", "cam", &Row::default()).unwrap().0, book);
        let (other, _) = open(Some(&store), "b", "cam", &Row::default()).unwrap();
        assert_ne!(other.identity.device_id, book.identity.device_id);
        let pin = Row { pin: "03145154".into(), setup_id: "REFC".into(), ..Row::default() };
        let (book, _) = open(Some(&store), "a", "cam", &pin).unwrap();
        assert_eq!(
            (book.identity.code.to_string().as_str(), &book.identity.setup_id),
            ("031-45-154", b"REFC")
        );
        for bad in [
            Row { pin: "12345678".into(), ..Row::default() },
            Row { setup_id: "refc".into(), ..Row::default() },
        ] {
            assert!(open(Some(&store), "a", "cam", &bad).is_err());
        }
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_home_moves_in_once_and_whoever_was_removed_stays_out() {
        let (path, store) = folder("move");
        let key = "ab".repeat(32);
        let text = format!("client_id=phone&client_public={key}&permissions=1");
        let old = row("", &[&text, "rubbish"]);
        let (mut book, told) = open(Some(&store), "a", "cam", &old).unwrap();
        assert!(told.is_some() && book.pairings.len() == 1);
        let theirs = Identity::of_predecessor("cam", None, None, None).unwrap();
        assert_eq!(book.identity, theirs);
        book.wipe();
        keep(&store, "a", &book);
        let (book, _) = open(Some(&store), "a", "cam", &old).unwrap();
        assert!(!book.is_paired());
        assert_eq!(book.identity, theirs);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_damaged_book_is_told() {
        let (path, store) = folder("damaged");
        std::fs::write(path.join("a"), b"rubbish").unwrap();
        let (book, told) = open(Some(&store), "a", "cam", &Row::default()).unwrap();
        assert!(!book.is_paired() && told.is_some());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn streams_of_like_names_have_books_of_their_own() {
        assert_ne!(name("a b"), name("a_b"));
        assert!(name("Haus/Tür").starts_with("homekit-Haus_T_r-"));
    }
}
