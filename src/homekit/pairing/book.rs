//! The book of an accessory: its identity, its controllers, its counters and the values that must
//! survive a pulled plug. Kept as one value of bytes; where it lies is the store's business.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::homekit::crypto::{self, Key, sha512};
use crate::homekit::payload::{self, Code, SetupId};
use crate::homekit::tlv8::{Tlv, Writer};
use crate::net::lists::drop_where;
use std::fmt;

/// Controllers at most; another is refused.
pub const MOST_PAIRINGS: usize = 16;
/// Wrong codes until pairing is locked.
pub const MOST_FAILURES: u8 = 100;
/// Bytes of a controller's name at most; they are UUIDs of 36.
pub const LONGEST_ID: usize = 64;
/// Values kept at most, and bytes of each.
const MOST_VALUES: usize = 32;
const LONGEST_VALUE: usize = 1024;
/// The layout of [`Book::encode`].
pub const VERSION: u16 = 1;

/// What the accessory shows of itself for as long as it is paired.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// `XX:XX:XX:XX:XX:XX`, capital letters; also the accessory's pairing name.
    pub device_id: String,
    /// Its signing seed.
    seed: Key,
    /// The key that belongs to it; kept, for it costs as much as a signature.
    public: Key,
    /// For the QR code.
    pub setup_id: SetupId,
    /// The code that is typed or scanned.
    pub code: Code,
}

/// A secret is never shown.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(")?;
        f.write_str(&self.device_id)?;
        f.write_str(")")
    }
}

/// A controller that may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Its name, as bytes because nobody promises text.
    pub id: Vec<u8>,
    /// Its public key.
    pub key: Key,
    /// Whether it may manage the others.
    pub admin: bool,
}

/// The book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    /// Who we are.
    pub identity: Identity,
    /// Who may come in.
    pub pairings: Vec<Pairing>,
    /// Wrong codes since the last right one.
    pub failures: u8,
    /// mDNS's `c#`, 1 to 65535.
    pub config_number: u16,
    /// Of the table's shape that `config_number` stands for.
    pub shape: [u8; 8],
    /// Pairings of a configuration file were taken over; never again.
    pub imported: bool,
    /// Where it was last found; 0 before that. It is good to be found there again.
    pub port: u16,
    /// Characteristics' values by instance id, sorted.
    values: Vec<(u16, Vec<u8>)>,
}

/// A stored book that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HomeKit: the stored pairings cannot be read")
    }
}

impl std::error::Error for Damaged {}

impl Identity {
    /// A new camera's.
    pub fn random(random: &mut dyn FnMut(&mut [u8])) -> Identity {
        let (mut id, mut seed) = ([0; 6], [0; 32]);
        random(&mut id);
        random(&mut seed);
        // Locally administered, not a group: it is no vendor's address.
        if let Some(first) = id.first_mut() {
            *first = *first & !1 | 2;
        }
        Identity {
            device_id: hex(&id, ":"),
            seed,
            public: crypto::public_key(&seed),
            setup_id: payload::random_setup_id(random),
            code: Code::random(random),
        }
    }

    /// The one that the predecessor shows for a stream, so that a home keeps its pairings: from the
    /// stream's name, or from what its file says instead. A `device_id` or `device_private` that is
    /// no full value is a name like the stream's.
    pub fn of_predecessor(
        stream: &str,
        device_id: Option<&str>,
        device_private: Option<&str>,
        code: Option<Code>,
    ) -> Option<Identity> {
        /// Without a `pin`.
        const CODE: u32 = 19_550_224;
        let full = device_id.filter(|id| id.len() == 17);
        let device_id = match full {
            Some(id) => id.to_ascii_uppercase(),
            None => {
                let name = device_id.filter(|id| !id.is_empty()).unwrap_or(stream);
                hex(&every_second(name, 32, 6), ":")
            }
        };
        let private = device_private.filter(|p| !p.is_empty()).unwrap_or(stream);
        let seed = unhex(private).filter(|bytes| bytes.len() == 64);
        let seed = seed.unwrap_or_else(|| sha512(&[private.as_bytes()]).to_vec());
        let setup_id = hex(&every_second(stream, 44, 2), "");
        let seed = usable(*seed.first_chunk()?)?;
        Some(Identity {
            device_id,
            seed,
            public: crypto::public_key(&seed),
            setup_id: *setup_id.as_bytes().first_chunk()?,
            code: code.or(Code::new(CODE).ok())?,
        })
    }

    /// Its public key.
    pub fn public_key(&self) -> Key {
        self.public
    }

    /// Its signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        crypto::sign_as(&self.seed, &self.public, message)
    }
}

/// A seed that keys can be made from.
fn usable(seed: Key) -> Option<Key> {
    Some(seed).filter(|seed| *seed != [0; 32])
}

fn of<'a>(list: &'a [Pairing], id: &[u8]) -> Option<&'a Pairing> {
    list.iter().find(|p| p.id == id)
}

/// Capital hexadecimal digits, with `between` between the bytes.
fn hex(bytes: &[u8], between: &str) -> String {
    let mut out = String::new();
    for byte in bytes {
        if !out.is_empty() {
            out.push_str(between);
        }
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
        }
    }
    out
}

/// Every second byte of a name's hash, from one of them on.
fn every_second(name: &str, from: usize, count: usize) -> Vec<u8> {
    let hash = sha512(&[name.as_bytes()]);
    hash.iter().skip(from).step_by(2).take(count).copied().collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut bytes = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let mut byte = 0;
        for digit in pair {
            byte = byte << 4 | char::from(*digit).to_digit(16)? as u8;
        }
        bytes.push(byte);
    }
    Some(bytes)
}

impl Pairing {
    /// From the predecessor's `client_id=…&client_public=<hex>&permissions=<n>`.
    pub fn of_predecessor(text: &str) -> Option<Pairing> {
        let field = |name: &str| text.split('&').filter_map(|f| f.split_once('=')).find(|(n, _)| *n == name);
        let id = field("client_id")?.1;
        let key: Key = unhex(field("client_public")?.1)?.try_into().ok()?;
        let admin = field("permissions").is_none_or(|(_, n)| n != "0");
        (!id.is_empty() && id.len() <= LONGEST_ID).then(|| Pairing { id: id.into(), key, admin })
    }
}

mod kind {
    pub const DEVICE_ID: u8 = 1;
    pub const SEED: u8 = 2;
    pub const SETUP_ID: u8 = 3;
    pub const CODE: u8 = 4;
    pub const FAILURES: u8 = 5;
    pub const CONFIG: u8 = 6;
    pub const SHAPE: u8 = 7;
    pub const IMPORTED: u8 = 8;
    pub const PAIRING: u8 = 9;
    pub const VALUE: u8 = 10;
    pub const PORT: u8 = 11;
}

impl Book {
    /// A camera's first.
    pub fn new(identity: Identity) -> Book {
        Book {
            identity,
            pairings: Vec::new(),
            failures: 0,
            config_number: 1,
            shape: [0; 8],
            imported: false,
            port: 0,
            values: Vec::new(),
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new()
            .put(kind::DEVICE_ID, self.identity.device_id.as_bytes())
            .put(kind::SEED, &self.identity.seed)
            .put(kind::SETUP_ID, &self.identity.setup_id)
            .u32(kind::CODE, self.identity.code.value())
            .u8(kind::FAILURES, self.failures)
            .u16(kind::CONFIG, self.config_number)
            .put(kind::SHAPE, &self.shape)
            .u8(kind::IMPORTED, u8::from(self.imported))
            .u16(kind::PORT, self.port);
        for pairing in &self.pairings {
            let entry = Writer::new().put(1, &pairing.id).put(2, &pairing.key).u8(3, u8::from(pairing.admin));
            out = out.entry(0, false, kind::PAIRING, &entry.finish());
        }
        for (iid, value) in &self.values {
            out = out.entry(0, false, kind::VALUE, &Writer::new().u16(1, *iid).put(2, value).finish());
        }
        out.finish()
    }

    /// From bytes.
    pub fn decode(version: u16, bytes: &[u8]) -> Result<Book, Damaged> {
        if version != VERSION {
            return Err(Damaged);
        }
        Tlv::parse(bytes).ok().and_then(|tlv| Book::read(&tlv)).ok_or(Damaged)
    }

    fn read(tlv: &Tlv) -> Option<Book> {
        let device_id = std::str::from_utf8(tlv.get(kind::DEVICE_ID)?).ok()?.to_owned();
        let code = u32::try_from(tlv.uint(kind::CODE)?).ok()?;
        let seed = usable(tlv.get(kind::SEED)?.try_into().ok()?)?;
        let mut book = Book::new(Identity {
            device_id,
            seed,
            public: crypto::public_key(&seed),
            setup_id: tlv.get(kind::SETUP_ID)?.try_into().ok()?,
            code: Code::new(code).ok()?,
        });
        book.failures = tlv.byte(kind::FAILURES)?;
        book.config_number = tlv.short(kind::CONFIG)?.max(1);
        book.shape = tlv.get(kind::SHAPE)?.try_into().ok()?;
        book.imported = tlv.byte(kind::IMPORTED)? != 0;
        book.port = tlv.short(kind::PORT)?;
        for entry in tlv.all(kind::PAIRING).take(MOST_PAIRINGS) {
            let entry = Tlv::parse(entry).ok()?;
            let (id, key) = (entry.get(1)?.to_vec(), entry.get(2)?.try_into().ok()?);
            book.pairings.push(Pairing { id, key, admin: entry.byte(3)? != 0 });
        }
        for entry in tlv.all(kind::VALUE).take(MOST_VALUES) {
            let entry = Tlv::parse(entry).ok()?;
            book.set_value(entry.short(1)?, entry.get(2)?);
        }
        Some(book)
    }

    /// Whether anybody is paired.
    pub fn is_paired(&self) -> bool {
        !self.pairings.is_empty()
    }

    /// The controller of that name.
    pub fn find(&self, id: &[u8]) -> Option<&Pairing> {
        of(&self.pairings, id)
    }

    /// A kept value.
    pub fn value(&self, iid: u16) -> Option<&[u8]> {
        self.values.iter().find(|(i, _)| *i == iid).map(|(_, v)| v.as_slice())
    }

    /// Keeps a value; says whether it is another than before. Too long a one is not kept.
    pub fn set_value(&mut self, iid: u16, value: &[u8]) -> bool {
        if value.len() > LONGEST_VALUE {
            return false;
        }
        match self.values.binary_search_by_key(&iid, |(i, _)| *i) {
            Ok(at) => match self.values.get_mut(at) {
                Some((_, old)) if old != value => {
                    *old = value.to_vec();
                    true
                }
                _ => false,
            },
            Err(at) if self.values.len() < MOST_VALUES => {
                self.values.insert(at, (iid, value.to_vec()));
                true
            }
            Err(_) => false,
        }
    }

    /// Forgets a value.
    pub fn drop_value(&mut self, iid: u16) -> bool {
        let before = self.values.len();
        drop_where(&mut self.values, |(i, _)| *i == iid);
        self.values.len() != before
    }

    /// Notes the table's shape; says whether it is another, and then counts `c#` up.
    pub fn see_shape(&mut self, shape: [u8; 8]) -> bool {
        if self.shape == shape {
            return false;
        }
        if self.shape != [0; 8] {
            self.config_number = self.config_number.checked_add(1).unwrap_or(1);
        }
        self.shape = shape;
        true
    }

    /// Takes back what made `after` of `before`, where it could not be kept. What others have changed
    /// meanwhile stays, and so do counted failures.
    pub fn undo(&mut self, before: &Book, after: &[Pairing]) {
        for new in after {
            match of(&before.pairings, &new.id) {
                None => drop_where(&mut self.pairings, |p| p == new),
                Some(old) => {
                    for pairing in &mut self.pairings {
                        if pairing == new {
                            pairing.clone_from(old);
                        }
                    }
                }
            }
        }
        for old in &before.pairings {
            if of(after, &old.id).is_none()
                && self.find(&old.id).is_none()
                && self.pairings.len() < MOST_PAIRINGS
            {
                self.pairings.push(old.clone());
            }
        }
        if after.is_empty() && self.values.is_empty() {
            self.values.clone_from(&before.values);
        }
        if !self.pairings.iter().any(|p| p.admin) {
            self.wipe_values();
        }
    }

    fn wipe_values(&mut self) {
        self.pairings.clear();
        self.values.clear();
    }

    /// After the last admin: nobody is known and nothing was set. Identity and counters stay, for the
    /// sticker on the box stays too.
    pub fn wipe(&mut self) {
        self.wipe_values();
        self.failures = 0;
    }
}

#[cfg(test)]
pub mod testing {
    //! A book for tests.
    use super::*;

    /// Of a camera that nobody paired yet.
    pub fn book() -> Book {
        let mut random = crate::homekit::crypto::testing::bytes(42);
        let mut identity = Identity::random(&mut random);
        identity.device_id = "1A:2B:3C:4D:5E:01".into();
        identity.code = Code::parse("031-45-154").unwrap();
        Book::new(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::book;
    use super::*;

    #[test]
    fn everything_survives_a_restart() {
        let mut book = book();
        for i in 0..MOST_PAIRINGS as u8 {
            book.pairings.push(Pairing { id: vec![b'a' + i; 36], key: [i; 32], admin: i % 2 == 0 });
        }
        book.failures = 7;
        book.imported = true;
        book.port = 51827;
        assert!(book.see_shape([1; 8]));
        assert!(book.set_value(300, &[1; 400]) && book.set_value(5, &[0]) && !book.set_value(5, &[0]));
        let bytes = book.encode();
        assert_eq!(Book::decode(VERSION, &bytes), Ok(book.clone()));
        assert_eq!(Book::decode(VERSION + 1, &bytes), Err(Damaged));
        for end in 0..bytes.len() {
            assert_ne!(Book::decode(VERSION, &bytes[..end]), Ok(book.clone()));
        }
    }

    #[test]
    fn the_number_rises_exactly_with_the_shape() {
        let mut book = book();
        assert!(book.see_shape([1; 8]));
        assert_eq!(book.config_number, 1);
        assert!(!book.see_shape([1; 8]));
        assert!(book.see_shape([2; 8]));
        assert_eq!(book.config_number, 2);
        book.config_number = u16::MAX;
        book.see_shape([3; 8]);
        assert_eq!(book.config_number, 1);
    }

    #[test]
    fn a_change_that_was_not_kept_is_taken_back_and_no_other() {
        let one = |id: &[u8], admin| Pairing { id: id.to_vec(), key: [1; 32], admin };
        let mut before = book();
        before.pairings = vec![one(b"owner", true), one(b"guest", false)];
        before.set_value(7, &[1]);
        // one is added, and while that is written another is added and the guest goes
        let mut now = before.clone();
        now.pairings.push(one(b"new", false));
        let after = now.pairings.clone();
        now.pairings.push(one(b"other", true));
        now.pairings.retain(|p| p.id != b"guest");
        now.undo(&before, &after);
        assert_eq!(now.pairings, [one(b"owner", true), one(b"other", true)]);
        // a removal, and rights
        let mut now = before.clone();
        now.pairings.remove(1);
        let after = now.pairings.clone();
        now.undo(&before, &after);
        assert_eq!(now, before);
        let mut now = before.clone();
        now.pairings[1].admin = true;
        let after = now.pairings.clone();
        now.undo(&before, &after);
        assert_eq!(now, before);
        // the last admin
        let mut now = before.clone();
        now.wipe();
        now.undo(&before, &[]);
        assert_eq!(now, before);
        // whose removal came between leaves nobody behind
        let mut now = before.clone();
        now.pairings.remove(1);
        let after = now.pairings.clone();
        now.wipe();
        now.undo(&before, &after);
        assert!(!now.is_paired() && now.value(7).is_none());
    }

    #[test]
    fn a_home_migrates_from_the_predecessor() {
        let identity = Identity::of_predecessor("cam", None, None, None).unwrap();
        let hash = sha512(&[b"cam"]);
        let id: Vec<String> = [32, 34, 36, 38, 40, 42].iter().map(|&i| format!("{:02X}", hash[i])).collect();
        assert_eq!(identity.device_id, id.join(":"));
        assert_eq!(identity.seed, hash[..32]);
        assert_eq!(identity.setup_id, format!("{:02X}{:02X}", hash[44], hash[46]).as_bytes());
        assert_eq!(identity.code.to_string(), "195-50-224");
        let given =
            Identity::of_predecessor("cam", Some("aa:bb:cc:dd:ee:ff"), Some(&"11".repeat(64)), None).unwrap();
        assert_eq!((given.device_id.as_str(), given.seed), ("AA:BB:CC:DD:EE:FF", [0x11; 32]));
        let zeros = "00".repeat(64);
        assert_eq!(Identity::of_predecessor("cam", None, Some(&zeros), None), None, "no key is made from it");
        let text = format!("client_id=31CD7F0E-A8B1-4C48&client_public={}&permissions=1", "ab".repeat(32));
        let pairing = Pairing::of_predecessor(&text).unwrap();
        assert_eq!(
            (&pairing.id[..], pairing.key, pairing.admin),
            (&b"31CD7F0E-A8B1-4C48"[..], [0xab; 32], true)
        );
        assert!(Pairing::of_predecessor("client_id=x&client_public=zz").is_none());
    }
}
