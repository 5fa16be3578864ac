use super::super::keys::{Kind, Shape, Val};
use super::super::sections::{FOREIGN, SECTIONS};
use super::super::{docs, schema, values};
use super::*;

#[test]
fn every_default_fits_its_own_key() {
    for section in SECTIONS {
        let extra = match &section.shape {
            Shape::Table(_, Some(extra)) => Some(&extra.key),
            _ => None,
        };
        for key in section.keys().iter().chain(extra) {
            let val = values::default(key);
            let good = match key.kind {
                Kind::Bool => matches!(val, Val::Bool(_)),
                Kind::Int(..) | Kind::Duration(..) | Kind::Size(..) => matches!(val, Val::Int(_)),
                Kind::Text | Kind::Path => matches!(val, Val::Text(_)),
                Kind::Words(_) => matches!(val, Val::Word(_)),
                Kind::List | Kind::WordList(_) => matches!(val, Val::List(_)),
                Kind::Listen => matches!(val, Val::Listen(_)),
            };
            assert!(good, "{}.{}: default {:?} does not fit", section.name, key.name, key.default);
            assert!(key.help.trim().ends_with('.'), "{}.{}: help is a sentence", section.name, key.name);
        }
        assert!(!FOREIGN.contains(&section.name));
    }
    assert_eq!(super::super::Rtsp::default().default_query, "video&audio");
    assert_eq!(super::super::UserRow::default().roles, ["view"]);
}

#[test]
fn the_schema_is_json_and_names_every_key() {
    let text = schema::schema();
    let read = document(&text).unwrap();
    let properties = read.root.get("properties").unwrap();
    for section in SECTIONS {
        let found = properties.get(section.name).unwrap();
        if let Shape::Table(keys, _) = section.shape {
            for key in keys {
                let key = found.get("properties").unwrap().get(key.name).unwrap();
                assert!(key.get("description").is_some() && key.get("default").is_some());
            }
        }
    }
}

#[test]
fn the_reference_in_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    if std::env::var_os("STREAMD_WRITE_DOCS").is_some() {
        std::fs::write(path, docs::docs()).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == docs::docs(),
        "docs/configuration.md is stale: STREAMD_WRITE_DOCS=1 cargo test --lib config"
    );
}

#[test]
fn the_example_in_the_reference_loads() {
    let text = docs::docs();
    let example = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let loaded = load(example);
    assert!(loaded.problems.is_empty(), "{:?}", told(&loaded));
    assert_eq!(loaded.config.streams.len(), 4);
}
