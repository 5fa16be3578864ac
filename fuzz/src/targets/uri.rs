//! Paths, queries and percent-encoding.

use streamd::net::http::{Query, decode_path, percent_decode, percent_encode};

/// See the module.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(query) = Query::parse(&text) {
        let mut again = String::new();
        for (name, value) in query.pairs() {
            assert!(query.has(name) && query.get(name).is_some() && query.all(name).count() > 0);
            again.push_str(if again.is_empty() { "" } else { "&" });
            percent_encode(&mut again, name);
            again.push('=');
            percent_encode(&mut again, value);
        }
        assert_eq!(Query::parse(&again).as_ref(), Ok(&query), "{again}");
    }
    if let Ok(path) = decode_path(&text) {
        assert!(path.starts_with('/') && !path.contains("//") && path.len() <= text.len(), "{path}");
        assert!(!path.chars().any(|c| c.is_ascii_control() || c == '\\'), "{path}");
        let mut again = String::new();
        for (i, segment) in path.split('/').enumerate() {
            again.push_str(if i > 0 { "/" } else { "" });
            percent_encode(&mut again, segment);
        }
        assert_eq!(decode_path(&again).as_ref(), Ok(&path));
    }
    let mut coded = String::new();
    percent_encode(&mut coded, &text);
    for plus in [false, true] {
        let decoded = percent_decode(&coded, plus);
        assert_eq!(decoded.as_deref(), (!text.contains('\0')).then_some(&*text));
    }
}
