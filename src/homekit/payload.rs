//! What is printed on the box: the setup code, the setup id, and the `X-HM://` text of the QR code
//! that holds both.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::crypto::sha512;
use crate::net::base64;
use std::fmt;

/// Eight digits that the owner types or scans.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(u32);

/// Why a text is no setup code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeError {
    /// Not eight digits.
    Form,
    /// One of those that HomeKit does not allow.
    Trivial,
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodeError::Form => "setup code: expected eight digits, as in 031-45-154",
            CodeError::Trivial => "setup code: HomeKit does not allow codes that anybody would guess first",
        })
    }
}

impl std::error::Error for CodeError {}

impl Code {
    /// From eight digits with or without dashes.
    pub fn parse(text: &str) -> Result<Code, CodeError> {
        let mut value = 0u32;
        let mut digits = 0;
        for c in text.trim().chars() {
            match c.to_digit(10) {
                Some(digit) if digits < 8 => {
                    value = value * 10 + digit;
                    digits += 1;
                }
                None if c == '-' => {}
                _ => return Err(CodeError::Form),
            }
        }
        if digits != 8 {
            return Err(CodeError::Form);
        }
        Code::new(value)
    }

    /// From a number of eight digits.
    pub fn new(value: u32) -> Result<Code, CodeError> {
        match value {
            12_345_678 | 87_654_321 => Err(CodeError::Trivial),
            100_000_000.. => Err(CodeError::Form),
            _ if value.is_multiple_of(11_111_111) => Err(CodeError::Trivial),
            _ => Ok(Code(value)),
        }
    }

    /// Any of the allowed ones, all alike.
    pub fn random(random: &mut dyn FnMut(&mut [u8])) -> Code {
        loop {
            let mut bytes = [0; 4];
            random(&mut bytes);
            // 27 bits, so that no code is likelier than another.
            if let Ok(code) = Code::new(u32::from_le_bytes(bytes) >> 5) {
                return code;
            }
        }
    }

    /// As a number.
    pub fn value(self) -> u32 {
        self.0
    }
}

/// With dashes: so it is typed, and so it is SRP's password.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}-{:02}-{:03}", self.0 / 100_000, self.0 / 1000 % 100, self.0 % 1000)
    }
}

/// It is a secret.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(***)")
    }
}

/// Four letters or digits that name the box.
pub type SetupId = [u8; 4];

/// A random setup id.
pub fn random_setup_id(random: &mut dyn FnMut(&mut [u8])) -> SetupId {
    let mut id = *b"0000";
    for c in &mut id {
        let mut byte = [0; 1];
        loop {
            random(&mut byte);
            let [value] = byte;
            if value < 252 {
                *c = base36(value % 36);
                break;
            }
        }
    }
    id
}

fn base36(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }
}

/// mDNS's `sh`: finds the accessory whose QR code was scanned.
pub fn setup_hash(setup_id: &SetupId, device_id: &str) -> String {
    let hash = sha512(&[setup_id, device_id.as_bytes()]);
    base64::encode(hash.get(..4).unwrap_or_default())
}

/// The text of the QR code, 20 characters.
pub fn uri(code: Code, setup_id: &SetupId, category: u8) -> String {
    /// The accessory speaks HAP over IP.
    const IP: u64 = 1 << 28;
    let mut number = u64::from(code.0) | IP | u64::from(category) << 31;
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit = base36((number % 36) as u8);
        number /= 36;
    }
    let mut out = String::from("X-HM://");
    out.extend(digits.iter().chain(setup_id).map(|&c| char::from(c)));
    out
}

#[cfg(test)]
mod tests {
    use super::super::crypto::testing::bytes;
    use super::*;

    #[test]
    fn the_known_texts() {
        let code = Code::parse("031-45-154").unwrap();
        assert_eq!(code.to_string(), "031-45-154");
        assert_eq!(Code::parse("03145154"), Ok(code));
        assert_eq!(uri(code, b"REFC", 17), "X-HM://00GW95DQAREFC");
        assert_eq!(uri(code, b"REFC", 18), "X-HM://00HVRPEPUREFC");
        assert_eq!(setup_hash(b"REFC", "1A:2B:3C:4D:5E:01"), "oLTzNw==");
    }

    #[test]
    fn codes_that_a_thief_tries_first_are_refused() {
        for digit in 0..10u32 {
            let text: String = (0..8).map(|_| char::from_digit(digit, 10).unwrap()).collect();
            assert_eq!(Code::parse(&text), Err(CodeError::Trivial), "{text}");
        }
        assert_eq!(Code::parse("123-45-678"), Err(CodeError::Trivial));
        assert_eq!(Code::parse("876-54-321"), Err(CodeError::Trivial));
        for text in ["", "1234567", "031-45-1544", "031 45 154", "abcdefgh", "٠٣١٤٥١٥٤"] {
            assert_eq!(Code::parse(text), Err(CodeError::Form), "{text}");
        }
    }

    #[test]
    fn new_cameras_differ() {
        let mut random = bytes(1);
        let codes: Vec<u32> = (0..50).map(|_| Code::random(&mut random).value()).collect();
        assert!(codes.windows(2).all(|w| w[0] != w[1]) && codes.iter().any(|&c| c > 50_000_000));
        let id = random_setup_id(&mut random);
        assert!(id.iter().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()));
        assert_ne!(id, random_setup_id(&mut random));
    }
}
