//! Which messages are wanted: a level for all, and one for each module that has its own.

use log::LevelFilter;

/// A level by its name in the configuration, the predecessor's names among them.
pub fn parse_level(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "trace" => LevelFilter::Trace,
        "debug" => LevelFilter::Debug,
        "info" | "" => LevelFilter::Info,
        "warn" | "warning" => LevelFilter::Warn,
        "error" | "fatal" | "panic" => LevelFilter::Error,
        "off" | "disabled" => LevelFilter::Off,
        _ => return None,
    })
}

/// The levels in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    all: LevelFilter,
    /// Sorted by name.
    modules: Vec<(String, LevelFilter)>,
}

impl Levels {
    /// The same for all.
    pub const fn all(level: LevelFilter) -> Levels {
        Levels { all: level, modules: Vec::new() }
    }

    /// Gives `module` a level of its own. It is named as messages show it, or by its room (`device`).
    pub fn set(&mut self, module: &str, level: LevelFilter) {
        match self.find(module) {
            Ok(at) => {
                if let Some(entry) = self.modules.get_mut(at) {
                    entry.1 = level;
                }
            }
            Err(at) => self.modules.insert(at, (module.into(), level)),
        }
    }

    fn find(&self, module: &str) -> Result<usize, usize> {
        self.modules.binary_search_by(|(name, _)| name.as_str().cmp(module))
    }

    fn own(&self, module: &str) -> Option<LevelFilter> {
        self.find(module).ok().and_then(|at| self.modules.get(at)).map(|m| m.1)
    }

    /// The level for a message's target: its module's, else its room's, else that of all.
    pub fn of(&self, target: &str) -> LevelFilter {
        if self.modules.is_empty() {
            return self.all;
        }
        let (module, room) = module(target);
        self.own(module).or_else(|| self.own(room)).unwrap_or(self.all)
    }

    /// The most that anybody wants: below it nothing is even formatted.
    pub fn most(&self) -> LevelFilter {
        self.modules.iter().map(|m| m.1).fold(self.all, Ord::max)
    }
}

/// The module that a target belongs to, as a user knows it, and its room: `streamd::rtsp::server` is
/// `rtsp`; of a room that several share, the second name counts: `streamd::device::exec` is `exec`.
/// An explicit target (`target: "rtsp"`) is itself.
pub fn module(target: &str) -> (&str, &str) {
    let mut names = target.split("::");
    let mut room = names.next().unwrap_or("");
    if room == "streamd" {
        room = names.next().unwrap_or("app");
    }
    let module = match room {
        "device" | "vendor" | "net" => names.next().unwrap_or(room),
        _ => room,
    };
    let alias = match module {
        "stream" => "streams",
        "http" | "web" => "api",
        _ => module,
    };
    (alias, room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_called_what_the_user_calls_it() {
        for (target, name, room) in [
            ("streamd", "app", "app"),
            ("streamd::app::config", "app", "app"),
            ("streamd::rtsp::server", "rtsp", "rtsp"),
            ("rtsp", "rtsp", "rtsp"),
            ("streamd::device::exec", "exec", "device"),
            ("streamd::device", "device", "device"),
            ("streamd::net::http::server", "api", "net"),
            ("streamd::stream::track", "streams", "stream"),
            ("polling::epoll", "polling", "polling"),
            ("", "", ""),
        ] {
            assert_eq!(module(target), (name, room), "{target}");
        }
    }

    #[test]
    fn one_module_can_be_loud_while_the_rest_is_quiet() {
        let mut levels = Levels::all(LevelFilter::Warn);
        levels.set("rtsp", LevelFilter::Trace);
        levels.set("device", LevelFilter::Debug);
        levels.set("exec", LevelFilter::Off);
        levels.set("exec", LevelFilter::Error);
        assert_eq!(levels.of("streamd::rtsp::server"), LevelFilter::Trace);
        assert_eq!(levels.of("streamd::device::v4l2"), LevelFilter::Debug);
        assert_eq!(levels.of("streamd::device::exec"), LevelFilter::Error);
        assert_eq!(levels.of("streamd::app"), LevelFilter::Warn);
        assert_eq!(levels.most(), LevelFilter::Trace);
        assert_eq!(Levels::all(LevelFilter::Off).most(), LevelFilter::Off);
    }

    #[test]
    fn levels_of_a_go2rtc_file_are_understood() {
        assert_eq!(parse_level("disabled"), Some(LevelFilter::Off));
        assert_eq!(parse_level("fatal"), Some(LevelFilter::Error));
        assert_eq!(parse_level("loud"), None);
    }
}
