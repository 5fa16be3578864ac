//! Sources as people write them, and the hiding of what is secret in them.

use streamd::app::config::guard::runs_program;
use streamd::net::mask::{Secrets, mask_url};
use streamd::stream::SourceSpec;

/// See the module.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match SourceSpec::parse(&text) {
        Ok(spec) => {
            assert_eq!(spec.text(), text.trim());
            assert_eq!(format!("{}:{}", spec.scheme(), spec.rest()), spec.url());
            assert!(spec.text().starts_with(spec.url()) && !spec.url().contains('#'));
            assert!(spec.rest().contains(spec.query()));
            assert!(spec.params().all(|(key, _)| !key.is_empty() && spec.param(key).is_some()));
            assert_eq!(SourceSpec::parse(spec.text()).as_ref().map(SourceSpec::text), Ok(spec.text()));
            let runs = ["exec", "echo", "expr"].iter().any(|s| spec.scheme().eq_ignore_ascii_case(s));
            assert!(!runs || runs_program(&text), "the API would let it through");
            let _ = (spec.is_template(), format!("{spec:?}"));
        }
        Err(error) => assert!(error.to_string().len() < 1000, "{error}"),
    }
    let once = mask_url(&text);
    assert_eq!(mask_url(&once), once, "masking twice changes nothing");
    assert!(once.len() <= 4 * text.len());
    let mut secrets = Secrets::new();
    secrets.add_url(&text);
    let _ = secrets.mask(&text);
    let _ = streamd::app::program::wishes_of(&text);
}
