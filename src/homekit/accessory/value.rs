//! Values of characteristics: as they begin, as they are written and kept, and what is said of them.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::*;

/// Bytes of a written TLV at most.
const LONGEST_TLV: usize = 1024;

/// Bytes of a text at most.
pub const LONGEST_TEXT: usize = 64;

/// The beginning of a text, of at most so many bytes and whole characters.
pub fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most).rev().find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// HomeKit's status of one characteristic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(i32)]
pub enum Status {
    Done = 0,
    Privileges = -70401,
    Unreachable = -70402,
    Busy = -70403,
    ReadOnly = -70404,
    WriteOnly = -70405,
    NoEvents = -70406,
    Resources = -70407,
    Timeout = -70408,
    Missing = -70409,
    Invalid = -70410,
    Authorization = -70411,
    NotNow = -70412,
}

/// A characteristic's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(u8),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// Into a document.
    pub fn write(&self, out: &mut json::Writer) {
        match self {
            Value::Null => out.null(),
            Value::Bool(b) => out.bool(*b),
            Value::Int(n) => out.uint(u64::from(*n)),
            Value::Text(text) => out.string(text),
            Value::Bytes(bytes) => out.string(&base64::encode(bytes)),
        };
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Value::Null => Vec::new(),
            Value::Bool(b) => vec![u8::from(*b)],
            Value::Int(n) => vec![*n],
            Value::Text(text) => text.clone().into_bytes(),
            Value::Bytes(bytes) => bytes.clone(),
        }
    }

    /// Whether it is a number or a truth that is not zero.
    pub fn is_on(&self) -> bool {
        matches!(self, Value::Bool(true) | Value::Int(1..))
    }
}

impl Accessory {
    /// Every value as it begins, or as it was kept.
    pub(super) fn reset_values(&mut self) {
        let shape = self.settings.shape;
        self.values.clear();
        for c in shape.all() {
            let value = match self.kept(c) {
                None => self.first_value(c),
                kept => kept,
            };
            if let Some(value) = value {
                self.values.push((c.iid, value));
            }
        }
        self.follow_camera_active();
    }

    fn kept(&self, c: &Characteristic) -> Option<Value> {
        let bytes = self.book.value(c.iid).filter(|_| c.may & may::KEEP != 0)?;
        match (c.format, bytes) {
            (Format::Bool, [b]) => Some(Value::Bool(*b != 0)),
            (Format::Uint8(most), [n]) if *n <= most => Some(Value::Int(*n)),
            (Format::Tlv8, bytes) => Some(Value::Bytes(bytes.to_vec())),
            _ => None,
        }
    }

    fn first_value(&self, c: &Characteristic) -> Option<Value> {
        let s = &self.settings;
        let text = |text: &str| Some(Value::Text(cut(text, LONGEST_TEXT).to_owned()));
        let bytes = |bytes| Some(Value::Bytes(bytes));
        match c.kind {
            kind::MANUFACTURER => text(&s.manufacturer),
            kind::MODEL => text(&s.model),
            kind::NAME => text(&s.name),
            kind::SERIAL => text(&s.serial),
            kind::FIRMWARE => text(&s.firmware),
            kind::HARDWARE => text(s.hardware.as_deref().unwrap_or("1.0")),
            kind::VERSION if c.iid > iid::DATA_STREAM => text("1.0"),
            kind::VERSION => text("1.1.0"),
            kind::SUPPORTED_VIDEO => bytes(camera::supported_video(&s.sizes)),
            kind::SUPPORTED_AUDIO => bytes(camera::supported_audio()),
            kind::SUPPORTED_RTP => bytes(camera::supported_rtp()),
            kind::STREAMING_STATUS => bytes(camera::streaming_status(false)),
            kind::SUPPORTED_DATA_STREAM => bytes(camera::supported_data_stream()),
            kind::SETUP_DATA_STREAM => bytes(Vec::new()),
            kind::SUPPORTED_RECORDING => {
                bytes(camera::supported_recording(s.prebuffer_ms, 4000, s.shape.doorbell))
            }
            kind::SUPPORTED_RECORDING_VIDEO => {
                bytes(camera::supported_recording_video(self.is_upright(), self.source))
            }
            kind::SUPPORTED_RECORDING_AUDIO => bytes(camera::supported_recording_audio()),
            // Nothing was selected: that has no value.
            kind::SELECTED_RECORDING | kind::IDENTIFY => None,
            kind::SWITCH_EVENT => Some(Value::Null),
            kind::ACTIVE => Some(Value::Int(u8::from(c.iid < iid::RECORDING))),
            kind::CAMERA_ACTIVE | kind::EVENT_SNAPSHOTS | kind::PERIODIC_SNAPSHOTS => Some(Value::Int(1)),
            kind::THIRD_PARTY_ACTIVE => Some(Value::Int(1)),
            kind::INDICATOR | kind::NIGHT_VISION => Some(Value::Bool(true)),
            kind::VOLUME => Some(Value::Int(100)),
            _ if c.format == Format::Bool => Some(Value::Bool(false)),
            _ if matches!(c.format, Format::Uint8(_)) => Some(Value::Int(0)),
            _ => None,
        }
    }
}

/// A written value, if it is one of that characteristic.
pub(super) fn parse(c: &Characteristic, value: &json::Value) -> Option<Value> {
    let number = match value {
        json::Value::Bool(b) => Some(i64::from(*b)),
        json::Value::Int(n) => Some(*n),
        _ => None,
    };
    match c.format {
        Format::Bool => number.filter(|n| (0..=1).contains(n)).map(|n| Value::Bool(n == 1)),
        Format::Uint8(most) => {
            let n = u8::try_from(number?).ok().filter(|n| *n <= most)?;
            (most == 1 || matches!(value, json::Value::Int(_))).then_some(Value::Int(n))
        }
        Format::String => None,
        Format::Tlv8 => {
            base64::decode(value.as_str()?).filter(|bytes| bytes.len() <= LONGEST_TLV).map(Value::Bytes)
        }
    }
}
