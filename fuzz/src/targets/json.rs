//! JSON: what is read can be written and read again.

use streamd::net::json::{Value, Writer, parse};
use streamd::net::limits::{JSON_BYTES, JSON_MEMBERS, JSON_VALUES};

fn write(value: &Value, w: &mut Writer, count: &mut usize) {
    *count += 1;
    match value {
        Value::Null => drop(w.null()),
        Value::Bool(b) => drop(w.bool(*b)),
        Value::Int(n) => drop(w.int(*n)),
        Value::Real(text) => drop(w.raw(text)),
        Value::String(text) => drop(w.string(text)),
        Value::Array(items) => {
            w.begin_array();
            items.iter().for_each(|item| write(item, w, count));
            w.end_array();
        }
        Value::Object(members) => {
            assert!(members.len() <= JSON_MEMBERS);
            w.begin_object();
            for (name, value) in members {
                w.key(name);
                write(value, w, count);
            }
            w.end_object();
        }
    }
}

/// See the module.
pub fn run(data: &[u8]) {
    let value = match parse(data) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.at <= data.len() && error.to_string().len() < 100);
            return;
        }
    };
    let (mut w, mut count) = (Writer::new(), 0);
    write(&value, &mut w, &mut count);
    assert!(count <= JSON_VALUES + 1, "{count}");
    let text = w.finish();
    if text.len() <= JSON_BYTES {
        assert_eq!(parse(text.as_bytes()), Ok(value), "{text}");
    }
}
