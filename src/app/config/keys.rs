//! What a configuration key is. Each key is written once, by [`section!`](crate::app::config): its
//! name, type, default, bounds, help and what a change does.
//!
//! From these tables come the parser with its messages, the defaults, the JSON schema, the reference
//! in `docs/` and the typed structs. Nothing here reads a file.

/// The type of a key's value, with its bounds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Int(i64, i64),
    /// Any text on one line.
    Text,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A time (`4s`, `500ms`, a plain number is seconds) within bounds in milliseconds.
    Duration(i64, i64),
    /// A size (`8M`, `64k`, a plain number is bytes) within bounds in bytes.
    Size(i64, i64),
    /// A list of texts; one text stands for a list of one.
    List,
    /// A list of these words.
    WordList(&'static [&'static str]),
    /// Addresses to listen on; empty is off.
    Listen,
    /// A path of the file system.
    Path,
}

/// Flags of a key; none of them means: a change restarts the key's module.
pub mod flag {
    /// Never shown.
    pub const SECRET: u8 = 1;
    /// Lets programs run or widens what may: the API may not change it.
    pub const GUARDED: u8 = 2;
    /// Read and reported as not served yet.
    pub const LACKING: u8 = 4;
    /// A change applies without restarting anything.
    pub const LIVE: u8 = 8;
    /// A change applies when streamd is started again.
    pub const PROCESS: u8 = 16;
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As written in the file.
    pub name: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// The default, written as in a file; empty for an empty text, list or path.
    pub default: &'static str,
    /// One or two sentences.
    pub help: &'static str,
    /// See [`flag`].
    pub flags: u8,
}

impl Key {
    /// True if the flag is set.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What a change does, in words.
    pub const fn effect(&self) -> &'static str {
        if self.has(flag::LACKING) {
            "not served yet"
        } else if self.has(flag::LIVE) {
            "at once"
        } else if self.has(flag::PROCESS) {
            "when streamd is started again"
        } else {
            "restarts this module"
        }
    }
}

/// Keys beside the table whose names are not keywords but, say, modules.
#[derive(Debug)]
pub struct Extra {
    /// What the names are.
    pub names: &'static [&'static str],
    /// Type, default and help of each.
    pub key: Key,
}

/// How a section is written.
#[derive(Debug)]
pub enum Shape {
    /// Keys with values.
    Table(&'static [Key], Option<&'static Extra>),
    /// A list of maps with these keys.
    Rows(&'static [Key]),
    /// The section is one value.
    Single(&'static Key),
    /// Free names, each with a text.
    Texts(&'static Key),
    /// Free names, each with a source, a list of sources, nothing, or a map with these keys.
    Sources(&'static [Key]),
    /// Free names with addresses to send to.
    Targets,
    /// Names of streams, each with a map of these keys or nothing.
    Named(&'static [Key]),
}

/// One section of the file.
#[derive(Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// The module that reads it; a build without it reports the section and goes on.
    pub module: Option<&'static str>,
    /// What it is for.
    pub help: &'static str,
    /// How it is written.
    pub shape: Shape,
}

impl Section {
    /// The keys that stand in a table, whatever the shape.
    pub fn keys(&self) -> &'static [Key] {
        match self.shape {
            Shape::Table(keys, _) | Shape::Rows(keys) | Shape::Sources(keys) | Shape::Named(keys) => keys,
            Shape::Single(key) | Shape::Texts(key) => std::slice::from_ref(key),
            Shape::Targets => &[],
        }
    }
}

/// A parsed value, before it goes into its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Val {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`]; milliseconds of [`Kind::Duration`]; bytes of [`Kind::Size`].
    Int(i64),
    /// Of [`Kind::Text`] and [`Kind::Path`].
    Text(String),
    /// Of [`Kind::Words`].
    Word(&'static str),
    /// Of [`Kind::List`] and [`Kind::WordList`].
    List(Vec<String>),
    /// Of [`Kind::Listen`].
    Listen(Vec<Address>),
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// None: every address of the machine.
    pub host: Option<std::net::IpAddr>,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host {
            Some(host) => std::fmt::Display::fmt(&std::net::SocketAddr::new(host, self.port), f),
            None => write!(f, ":{}", self.port),
        }
    }
}

/// The values of a table's keys, in the table's order, on their way into the fields.
#[derive(Debug)]
pub struct Values(std::vec::IntoIter<Val>);

impl Values {
    /// Of a whole table.
    pub fn new(values: Vec<Val>) -> Self {
        Self(values.into_iter())
    }

    /// The next field's value. The table's parser has seen to it that the kinds agree (a test walks every
    /// table); if they did not, the field gets its type's own default. One function for each type, since there
    /// are many fields.
    #[inline(never)]
    pub fn take<T: FromVal>(&mut self) -> T {
        self.0.next().map_or_else(T::default, T::from_val)
    }
}

/// A field's type.
pub trait FromVal: Default {
    /// The field's value.
    fn from_val(val: Val) -> Self;
}

macro_rules! from_val {
    ($($ty:ty: $($pattern:pat => $value:expr),+;)*) => {$(
        impl FromVal for $ty {
            fn from_val(val: Val) -> Self {
                match val {
                    $($pattern => $value,)+
                    _ => Self::default(),
                }
            }
        }
    )*};
}

from_val! {
    bool: Val::Bool(value) => value;
    u16: Val::Int(value) => u16::try_from(value).unwrap_or(u16::MAX);
    u32: Val::Int(value) => u32::try_from(value).unwrap_or(u32::MAX);
    usize: Val::Int(value) => usize::try_from(value).unwrap_or(usize::MAX);
    std::time::Duration: Val::Int(value) => std::time::Duration::from_millis(value.unsigned_abs());
    String: Val::Text(value) => value, Val::Word(word) => word.to_owned();
    std::path::PathBuf: Val::Text(value) => value.into();
    &'static str: Val::Word(value) => value;
    Vec<String>: Val::List(value) => value;
    Vec<Address>: Val::Listen(value) => value;
}

/// A sentence for the schema and the reference; where neither is compiled in it costs no flash.
pub const fn told(sentence: &'static str) -> &'static str {
    if cfg!(any(test, feature = "schema")) { sentence } else { "" }
}

/// Defines a typed struct and its table of keys in one place:
///
/// ```text
/// section! {
///     /// What the section is for.
///     pub struct Api {
///         /// Help for this key.
///         listen: Vec<Address> = ":1984", Kind::Listen;
///         /// Help for that one.
///         password: String = "", Kind::Text, SECRET;
///     }
/// }
/// ```
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $(
                $(#[doc = $help:literal])+
                $field:ident: $ty:ty = $default:literal, $kind:expr $(, $flag:ident)*;
            )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Name {
            $(
                $(#[doc = $help])+
                pub $field: $ty,
            )*
        }

        impl $Name {
            /// What the section is for.
            pub const ABOUT: &'static str = $crate::app::config::keys::told(concat!($($about),+));
            /// Its keys, in order.
            pub const KEYS: &'static [$crate::app::config::keys::Key] = &[$(
                $crate::app::config::keys::Key {
                    name: stringify!($field),
                    kind: $kind,
                    default: $default,
                    help: $crate::app::config::keys::told(concat!($($help),+)),
                    flags: 0 $(| $crate::app::config::keys::flag::$flag)*,
                },
            )*];

            /// Fills the fields with the values of the table's keys, in the table's order.
            pub(crate) fn from_values(mut values: $crate::app::config::keys::Values) -> Self {
                Self {
                    $($field: values.take(),)*
                }
            }
        }

        impl Default for $Name {
            fn default() -> Self {
                Self::from_values($crate::app::config::keys::Values::new($crate::app::config::values::defaults(Self::KEYS)))
            }
        }
    };
}
pub(crate) use section;
