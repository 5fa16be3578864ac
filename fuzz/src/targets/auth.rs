//! The Authorization header, and Base64 in it.

use streamd::net::base64;
use streamd::net::digest::{Algorithm, Credentials};

/// See the module.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Credentials::parse(&text) {
        Some(Credentials::Basic { name, password }) => {
            assert!(!name.contains(':'));
            let again = format!("Basic {}", base64::encode(format!("{name}:{password}").as_bytes()));
            if let Some(Credentials::Basic { name: n, password: p }) = Credentials::parse(&again) {
                assert_eq!((n, p), (name, password));
            } else {
                assert!(again.len() > text.trim().len(), "{again}");
            }
        }
        Some(Credentials::Digest(answer)) => {
            let parts = [&answer.username, &answer.realm, &answer.nonce, &answer.uri, &answer.response];
            assert!(parts.iter().map(|p| p.len()).sum::<usize>() <= text.len());
            for (algorithm, len) in [(Algorithm::Md5, 32), (Algorithm::Sha256, 64)] {
                assert_eq!(answer.expected(algorithm, "GET", "secret").len(), len);
            }
            assert_ne!(answer.count(), Some(0));
        }
        None => {}
    }
    assert_eq!(base64::decode(&base64::encode(data)).as_deref(), Some(data));
    if let Some(bytes) = base64::decode(&text) {
        assert_eq!(base64::encode(&bytes), text, "two spellings of the same bytes");
    }
}
