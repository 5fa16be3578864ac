//! The log: what streamd tells the person who looks after the camera.
//!
//! Everything is said through the macros of [`crate::net::log`] (`warn!(target: "rtsp", …)`, or without a
//! target: the module's path names it) and goes to one output and to a ring that the API reads. On
//! the way a message loses secrets and control characters, and repetitions become a count. A message
//! of a level that is off costs one comparison. Nothing here waits, and no message is on a frame's
//! way: the lock below is taken by whoever has something to say, also on a worker's thread.

mod level;
mod line;
mod mask;
mod ring;
mod sink;
mod text;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};

use self::line::Line;
use self::ring::Ring;
use self::sink::Sink;
use self::text::Text;
use crate::media::Time;
use crate::net::clock;
use crate::net::mask::Secrets;

pub use self::level::{Levels, parse_level};
pub use self::line::Format;
pub use self::ring::SIZE as RING_BYTES;
pub use self::sink::{FILE_BYTES, Output};

/// Two equal messages within this time are one and a count.
const FOLD: Duration = Duration::from_secs(1);
/// A message that never stops is counted out after 1, 2, 4 … and then each 64 s.
const SLOWEST: u32 = 6;

/// The log's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which messages.
    pub levels: Levels,
    /// Where to.
    pub output: Output,
    /// How they are written; syslog has its own way.
    pub format: Format,
    /// Whether lines of text begin with the time.
    pub time: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let levels = Levels::all(LevelFilter::Info);
        Settings { levels, output: Output::default(), format: Format::default(), time: true }
    }
}

/// The output could not be opened. Messages go where they went before, at first to stderr.
#[derive(Debug)]
pub struct OutputError {
    /// The output that was wanted.
    pub output: Output,
    /// What the system said.
    pub error: io::Error,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.output {
            Output::File(path) => path.to_string_lossy(),
            Output::Stdout => "stdout".into(),
            _ => "stderr".into(),
        };
        write!(f, "log.output: cannot write to {what}: {}", self.error)
    }
}

impl std::error::Error for OutputError {}

static LOGGER: Logger = Logger::new();

/// Begins to log, to stderr at level info until [`configure`] says otherwise. Later calls do nothing.
pub fn install() {
    if log::set_logger(&LOGGER).is_ok() {
        let _ = configure(&Settings::default());
    }
}

/// Puts `settings` in force, at the start and at each reload (which opens a log file anew, for whoever
/// moved it away).
pub fn configure(settings: &Settings) -> Result<(), OutputError> {
    {
        let mut filter = LOGGER.filter.lock().unwrap_or_else(PoisonError::into_inner);
        filter.levels = settings.levels.clone();
    }
    log::set_max_level(settings.levels.most());
    let opened = Sink::open(&settings.output, settings.format, settings.time);
    match opened {
        Ok(sink) => {
            LOGGER.core().sink = sink;
            Ok(())
        }
        Err(error) => Err(OutputError { output: settings.output.clone(), error }),
    }
}

/// The secrets that no message may show, wherever they stand in it: passwords, tokens, setup codes.
/// Replaces the former list.
pub fn set_secrets(secrets: Secrets) {
    let mut filter = LOGGER.filter.lock().unwrap_or_else(PoisonError::into_inner);
    filter.secrets = secrets;
}

/// Appends the ring's messages from number `from` on as JSON lines, about `limit` bytes of them, and
/// says from which number to go on.
pub fn read(from: u64, limit: usize, out: &mut Vec<u8>) -> u64 {
    LOGGER.core().ring.json(from, limit, clock::now(), clock::wall(), out)
}

/// Empties the ring.
pub fn clear() {
    LOGGER.core().ring.clear();
}

/// Writes what is being counted, e.g. before the end.
pub fn flush() {
    LOGGER.flush();
}

/// Tells the count of a repeated message when nothing else comes. Runs beside everything else for as
/// long as the program does, and sleeps unless something is being counted.
pub async fn tell_repetitions() {
    loop {
        let due = poll_fn(|cx| LOGGER.core().poll_due(cx)).await;
        crate::net::reactor::Timer::after(due.since(clock::now())).await;
        let (now, wall) = (clock::now(), clock::wall());
        LOGGER.core().tell_if_due(now, wall);
    }
}

struct Logger {
    filter: Mutex<Filter>,
    core: Mutex<Core>,
}

struct Filter {
    levels: Levels,
    secrets: Secrets,
}

impl Logger {
    const fn new() -> Logger {
        let filter = Filter { levels: Levels::all(LevelFilter::Info), secrets: Secrets::new() };
        Logger { filter: Mutex::new(filter), core: Mutex::new(Core::new()) }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, filter: &Filter, metadata: &Metadata) -> bool {
        metadata.level() <= filter.levels.of(metadata.target())
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.wants(&self.filter.lock().unwrap_or_else(PoisonError::into_inner), metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Written with no lock held: what is being shown may itself have something to say.
        let mut said = Text::new();
        match record.args().as_str() {
            Some(text) => said.push(text),
            None => drop(fmt::write(&mut said, *record.args())),
        }
        let mut text = Text::new();
        {
            let filter = self.filter.lock().unwrap_or_else(PoisonError::into_inner);
            mask::mask(&said, &filter.secrets, &mut text);
        }
        let (module, _) = level::module(record.target());
        let (time, wall) = (clock::now(), clock::wall());
        let line = Line { time, wall, level: record.level(), module, text: text.as_str() };
        let waker = self.core().put(&line);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn flush(&self) {
        let (now, wall) = (clock::now(), clock::wall());
        self.core().tell(now, wall);
    }
}

/// What there is to lock: where messages go, and the last of them.
struct Core {
    sink: Sink,
    ring: Ring,
    last: Last,
    waker: Option<Waker>,
}

/// The last message, and how often it came again without being written.
struct Last {
    level: Level,
    module: String,
    text: String,
    seen: Time,
    again: u32,
    /// When the count is to be told.
    due: Time,
    /// How often it was told already.
    told: u32,
}

impl Core {
    const fn new() -> Core {
        let last = Last {
            level: Level::Trace,
            module: String::new(),
            text: String::new(),
            seen: Time::ZERO,
            again: 0,
            due: Time::ZERO,
            told: 0,
        };
        Core { sink: Sink::none(), ring: Ring::new(), last, waker: None }
    }

    /// Writes or counts a message. The waker is whoever wants to know that counting has begun.
    fn put(&mut self, line: &Line) -> Option<Waker> {
        let last = &mut self.last;
        let same = last.level == line.level
            && last.text == line.text
            && last.module == line.module
            && line.time.since(last.seen) < FOLD;
        last.seen = line.time;
        if same {
            last.again = last.again.saturating_add(1);
            if last.again == 1 {
                last.due = line.time + FOLD * (1 << last.told.min(SLOWEST));
                return self.waker.take();
            }
            self.tell_if_due(line.time, line.wall);
            return None;
        }
        self.tell(line.time, line.wall);
        let last = &mut self.last;
        last.told = 0;
        last.level = line.level;
        last.module.clear();
        last.module.push_str(line.module);
        last.text.clear();
        last.text.push_str(line.text);
        self.write(line);
        None
    }

    /// Tells the count, if there is one.
    fn tell(&mut self, time: Time, wall: Option<u64>) {
        let last = &mut self.last;
        if last.again == 0 {
            return;
        }
        let text = match last.again {
            1 => "… repeated once".into(),
            n => format!("… repeated {n} times"),
        };
        last.again = 0;
        last.told += 1;
        let (level, module) = (last.level, std::mem::take(&mut last.module));
        self.write(&Line { time, wall, level, module: &module, text: &text });
        self.last.module = module;
    }

    fn tell_if_due(&mut self, now: Time, wall: Option<u64>) {
        if self.last.again > 0 && now >= self.last.due {
            self.tell(now, wall);
        }
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Time> {
        if self.last.again > 0 {
            return Poll::Ready(self.last.due);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn write(&mut self, line: &Line) {
        self.ring.push(line);
        self.sink.put(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    struct Woken(AtomicU32);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn say(core: &mut Core, millis: u64, text: &str) {
        let time = Time::from_nanos(millis * 1_000_000);
        let waker = core.put(&Line { time, wall: None, level: Level::Warn, module: "rtsp", text });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the ring has of it: "millis message".
    fn told(core: &Core) -> Vec<String> {
        let mut out = Vec::new();
        core.ring.json(0, usize::MAX, Time::ZERO, None, &mut out);
        let text = String::from_utf8(out).unwrap();
        let line = |l: &str| {
            let (time, message) = l.strip_prefix("{\"time\":").unwrap().split_once(',').unwrap();
            format!("{time} {}", message.rsplit('"').nth(1).unwrap())
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn a_message_that_comes_again_and_again_becomes_a_count() {
        let mut core = Core::new();
        for i in 0..42 {
            say(&mut core, 10 * i, "no route");
        }
        say(&mut core, 420, "other");
        say(&mut core, 430, "other");
        core.tell(Time::from_nanos(500_000_000), None);
        core.tell(Time::from_nanos(500_000_000), None);
        assert_eq!(
            told(&core),
            ["0 no route", "420 … repeated 41 times", "420 other", "500 … repeated once"]
        );
    }

    #[test]
    fn a_message_that_comes_now_and_then_is_shown_each_time() {
        let mut core = Core::new();
        for minute in 0..3 {
            say(&mut core, minute * 60_000, "camera gone");
        }
        assert_eq!(told(&core), ["0 camera gone", "60000 camera gone", "120000 camera gone"]);
    }

    #[test]
    fn an_endless_message_is_told_ever_less_often() {
        let mut core = Core::new();
        for i in 0..36_000 {
            say(&mut core, i * 100, "full"); // an hour
        }
        let lines = told(&core);
        assert_eq!(
            lines[..4],
            ["0 full", "1100 … repeated 11 times", "3200 … repeated 21 times", "7300 … repeated 41 times"]
        );
        assert!(lines.len() < 65, "{}", lines.len());
    }

    #[test]
    fn counting_wakes_the_teller_once_and_it_tells_after_a_second() {
        let mut core = Core::new();
        let woken = Arc::new(Woken(AtomicU32::new(0)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(core.poll_due(&mut cx).is_pending());
        say(&mut core, 0, "x");
        assert_eq!(woken.0.load(Relaxed), 0);
        say(&mut core, 100, "x");
        say(&mut core, 200, "x");
        assert_eq!(woken.0.load(Relaxed), 1);
        assert_eq!(core.poll_due(&mut cx), Poll::Ready(Time::from_nanos(1_100_000_000)));
        core.tell_if_due(Time::from_nanos(1_099_999_999), None);
        assert_eq!(told(&core).len(), 1);
        core.tell_if_due(Time::from_nanos(1_100_000_000), None);
        assert_eq!(told(&core)[1..], ["1100 … repeated 2 times"]);
        assert!(core.poll_due(&mut cx).is_pending());
    }

    /// Counts how often it is shown.
    struct Shown<'a>(&'a AtomicU32);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fetch_add(1, Relaxed);
            f.write_str("shown")
        }
    }

    fn record(logger: &Logger, level: Level, target: &str, args: fmt::Arguments) {
        logger.log(&Record::builder().level(level).target(target).args(args).build());
    }

    #[test]
    fn what_is_off_is_not_even_written_out() {
        let logger = Logger::new();
        logger.filter.lock().unwrap().levels.set("rtsp", LevelFilter::Debug);
        let shown = AtomicU32::new(0);
        record(&logger, Level::Debug, "streamd::app", format_args!("{}", Shown(&shown)));
        assert_eq!(shown.load(Relaxed), 0);
        record(&logger, Level::Debug, "streamd::rtsp::server", format_args!("{}", Shown(&shown)));
        record(&logger, Level::Info, "streamd", format_args!("{} again", Shown(&shown)));
        assert_eq!(shown.load(Relaxed), 2);
        let messages: Vec<_> =
            told(&logger.core()).iter().map(|l| l.split_once(' ').unwrap().1.to_string()).collect();
        assert_eq!(messages, ["shown", "shown again"]);
    }

    #[test]
    fn secrets_are_masked_and_long_messages_end() {
        let logger = Logger::new();
        logger.filter.lock().unwrap().secrets.add("12-34-567");
        record(&logger, Level::Error, "homekit", format_args!("code 12-34-567 of http://u:p@h/"));
        let long = "y".repeat(5000);
        record(&logger, Level::Error, "homekit", format_args!("{long}"));
        let lines = told(&logger.core());
        assert!(lines[0].ends_with(" code *** of http://***@h/"), "{}", lines[0]);
        assert!(lines[1].ends_with("yy…") && lines[1].len() < 2100);
    }

    /// Says something while being shown.
    struct Talker<'a>(&'a Logger);
    impl fmt::Display for Talker<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            record(self.0, Level::Info, "inner", format_args!("from inside"));
            f.write_str("outside")
        }
    }

    #[test]
    fn showing_a_value_may_itself_log() {
        let logger = Logger::new();
        record(&logger, Level::Info, "outer", format_args!("{}", Talker(&logger)));
        assert_eq!(told(&logger.core()).len(), 2);
    }

    #[test]
    fn the_installed_log_obeys_its_configuration() {
        install();
        let dir = std::env::temp_dir().join(format!("streamd-log-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let output = Output::File(dir.join("log"));
        let mut settings = Settings { output, ..Settings::default() };
        settings.levels.set("logtest", LevelFilter::Debug);
        let error = configure(&settings).unwrap_err().to_string();
        assert!(
            error.starts_with("log.output: cannot write to /") && error.contains("No such file"),
            "{error}"
        );
        std::fs::create_dir(&dir).unwrap();
        configure(&settings).unwrap();
        assert_eq!(log::max_level(), LevelFilter::Debug);
        log::debug!(target: "logtest", "to the file");
        log::trace!(target: "logtest", "not wanted");
        let text = std::fs::read_to_string(dir.join("log")).unwrap();
        assert!(text.contains(" DBG [logtest] to the file\n") && !text.contains("not wanted"), "{text}");
        let mut out = Vec::new();
        assert!(read(0, RING_BYTES, &mut out) > 0);
        assert!(
            String::from_utf8(out).unwrap().contains("\"module\":\"logtest\",\"message\":\"to the file\"")
        );
        configure(&Settings::default()).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
