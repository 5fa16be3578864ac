//! The running program: what was configured, what has started, and how one becomes the other. A
//! part that cannot start stays off and says why; a reload with an error changes nothing.

use super::config::keys::Address;
use super::config::{Config, Loaded, World, diff, load};
use super::{log as logging, modules};
use crate::media::{Kind, Time};
use crate::motion::{Bus, Event, What};
use crate::net::auth::Authenticator;
use crate::net::clock;
use crate::net::http::{Listening, Router, Server, Settings};
use crate::net::mask::mask_url;
use crate::net::socket::Listener;
use crate::net::users::{Door, Role, Roles, User, Users};
use crate::stream::{Bounds, Executor, Hall, Holder, SourceSpec, Wish};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Ports that are tried after the default one.
const NEXT_PORTS: u16 = 16;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exit(u8),
    /// By starting again with the same arguments.
    Restart,
}

/// Everything that runs.
pub struct Program {
    /// The executor that everything runs on.
    pub executor: Executor,
    /// Streams.
    pub hall: Rc<Hall>,
    /// Events.
    pub bus: Rc<Bus>,
    /// Who may do what.
    pub keeper: Rc<Authenticator>,
    /// The ways into the API.
    pub router: Rc<Router>,
    /// When it started.
    pub started: Time,
    arguments: Vec<String>,
    loaded: RefCell<Loaded>,
    api: Rc<Server>,
    control: Rc<Server>,
    listeners: RefCell<Vec<Listening>>,
    /// What listens where, for people: `API http://…`.
    pub listening: RefCell<Vec<String>>,
    /// What stays off, and why.
    pub faults: RefCell<Vec<String>>,
    preloads: RefCell<Vec<Preload>>,
    #[cfg(feature = "rtsp")]
    rtsp: super::rtsp::Service,
    limits: Rc<Limits>,
    end: Cell<Option<End>>,
    waiting: RefCell<Option<Waker>>,
}

/// A stream that is kept running.
struct Preload {
    name: String,
    query: String,
    _holder: Holder,
}

/// What tracks may hold, as configured now.
#[derive(Default)]
struct Limits {
    track: Cell<usize>,
}

impl Program {
    /// Everything in its place, nothing started.
    pub fn new(executor: Executor, arguments: Vec<String>, loaded: Loaded) -> Rc<Program> {
        let limits = Rc::new(Limits::default());
        let bounds = {
            let limits = limits.clone();
            Rc::new(move |kind| track_bounds(kind, limits.track.get()))
        };
        let hall = Hall::new(executor.clone(), bounds);
        let mut secret = [0; 32];
        if getrandom::fill(&mut secret).is_err() {
            // without randomness nonces are guessable, which costs replay protection, not the door
            for (at, byte) in secret.iter_mut().enumerate() {
                *byte = (clock::now().nanos() >> (at % 8 * 8)) as u8;
            }
        }
        let keeper = Rc::new(Authenticator::new(secret, Users::new()));
        let router = Router::new();
        let settings = |trusted| Settings {
            door: Door::Api,
            trusted,
            clock: clock::now,
            started: clock::now(),
            limits: crate::net::http::Limits::default(),
        };
        let api = Server::new(executor.clone(), router.clone(), keeper.clone(), settings(false));
        let control = Server::new(executor.clone(), router.clone(), keeper.clone(), settings(true));
        let bus = Rc::new(Bus::default());
        Rc::new(Program {
            executor,
            hall,
            bus,
            keeper,
            router,
            started: clock::now(),
            arguments,
            loaded: RefCell::new(loaded),
            api,
            control,
            listeners: RefCell::default(),
            listening: RefCell::default(),
            faults: RefCell::default(),
            preloads: RefCell::default(),
            #[cfg(feature = "rtsp")]
            rtsp: super::rtsp::Service::default(),
            limits,
            end: Cell::new(None),
            waiting: RefCell::default(),
        })
    }

    /// What was loaded last. Not to be held while anything is awaited.
    pub fn loaded(&self) -> std::cell::Ref<'_, Loaded> {
        self.loaded.borrow()
    }

    /// The `-c` arguments.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The server behind the API's listeners.
    pub fn server(&self) -> &Rc<Server> {
        &self.api
    }

    /// Starts what is configured.
    pub fn start(self: &Rc<Program>) {
        let config = self.loaded().config.clone();
        modules::register(&self.hall, &|module| config.starts(module));
        self.limits.track.set(config.memory.track);
        self.set_users(&config);
        for stream in &config.streams {
            self.set_stream(&config, &stream.name);
        }
        self.open_control(&config);
        self.open_api(&config);
        #[cfg(feature = "rtsp")]
        self.rtsp.start(self, &config);
        for (name, query) in &config.preload {
            self.preload(name, Some(query));
        }
    }

    /// Says that something stays off, and why.
    pub(super) fn fault(&self, sentence: String) {
        log::error!(target: "app", "{sentence}");
        self.faults.borrow_mut().push(sentence);
    }

    fn set_users(&self, config: &Config) {
        let (users, problems) = users_of(config, &self.arguments);
        for sentence in problems {
            log::warn!(target: "app", "{sentence}");
        }
        self.keeper.set_users(users);
        self.keeper.set_local_auth(config.api.local_auth);
        self.api.set_any_origin(config.api.origin == "*");
    }

    /// Brings a stream to what the configuration says.
    fn set_stream(&self, config: &Config, name: &str) {
        let Some(stream) = config.stream(name) else { return };
        if let Some(why) = config.fault(&format!("streams.{name}")) {
            self.faults.borrow_mut().push(why.to_owned());
            return;
        }
        let mut sources = Vec::new();
        for source in &stream.sources {
            match SourceSpec::parse(&source.url) {
                Ok(spec) if spec.is_template() => {}
                Ok(spec) => match self.hall.check(&spec) {
                    Ok(()) => sources.push(spec),
                    Err(e) => {
                        self.fault(format!("{}: streams.{name}: {}: {e}", source.at, mask_url(&source.url)))
                    }
                },
                Err(e) => self.fault(format!("{}: streams.{name}: {e}", source.at)),
            }
        }
        if sources.is_empty() && !stream.sources.is_empty() {
            // none of its sources can be used: it is off, and that was said
            self.hall.remove(name);
            return;
        }
        if let Err(e) = self.hall.set(name, sources) {
            self.fault(format!("{}: streams.{name}: {e}", stream.at));
        }
    }

    /// Keeps a stream running, or no longer.
    pub fn preload(&self, name: &str, query: Option<&str>) {
        let gone: Vec<Preload> = {
            let mut preloads = self.preloads.borrow_mut();
            let (gone, stay) = preloads.drain(..).partition(|p| p.name == name);
            *preloads = stay;
            gone
        };
        drop(gone);
        let Some(query) = query else { return };
        match self.hall.get(name) {
            Some(stream) => {
                let holder = stream.hold(wishes_of(query), "preload");
                let query = if query.is_empty() { "video&audio" } else { query };
                let preload = Preload { name: name.to_owned(), query: query.to_owned(), _holder: holder };
                self.preloads.borrow_mut().push(preload);
            }
            None => self.fault(format!("preload.{name}: there is no such stream")),
        }
    }

    /// Streams that are kept running: name and query.
    pub fn preloaded(&self) -> Vec<(String, String)> {
        self.preloads.borrow().iter().map(|p| (p.name.clone(), p.query.clone())).collect()
    }

    /// Adds an admin who is forgotten when the program ends.
    pub fn add_admin(&self, password: &str) {
        let mut users = Users::new();
        users.add(User::all_powerful("admin", password));
        for user in self.keeper.users().list().iter().filter(|u| u.name != "admin") {
            users.add((**user).clone());
        }
        self.keeper.set_users(users);
    }

    fn open_control(&self, config: &Config) {
        let path = &config.ctl.socket;
        if path.as_os_str().is_empty() {
            return;
        }
        match Listener::unix(path) {
            Ok(listener) => self.listeners.borrow_mut().push(self.control.serve(listener)),
            Err(e) => {
                let sentence = format!("ctl.socket: {}: {e}; streamd ctl will not work", path.display());
                log::warn!(target: "app", "{sentence}");
                self.faults.borrow_mut().push(sentence);
            }
        }
    }

    fn open_api(self: &Rc<Program>, config: &Config) {
        self.listening.borrow_mut().retain(|l| !l.starts_with("API "));
        if !config.starts("api") {
            return;
        }
        if let Some(why) = config.fault("api") {
            self.faults.borrow_mut().push(why.to_owned());
            return;
        }
        self.router.set_base(&config.api.base_path);
        self.router.set_allowed(config.api.allow_paths.clone());
        let is_default = config.tree.get("api").and_then(|api| api.get("listen")).is_none();
        for address in &config.api.listen {
            self.listen(address, is_default);
        }
        let path = &config.api.unix_listen;
        if !path.as_os_str().is_empty() {
            match Listener::unix(path) {
                Ok(listener) => {
                    self.listeners.borrow_mut().push(self.api.serve(listener));
                    self.listening.borrow_mut().push(format!("API unix:{}", path.display()));
                }
                Err(e) => self.fault(format!("api.unix_listen: {}: {e}", path.display())),
            }
        }
    }

    fn listen(&self, address: &Address, is_default: bool) {
        let tries = if is_default { NEXT_PORTS } else { 1 };
        let mut address = *address;
        for left in (0..tries).rev() {
            let opened = match address.host {
                Some(host) => Listener::bind(SocketAddr::new(host, address.port)),
                None => Listener::tcp(&address.to_string()),
            };
            match opened {
                Ok(listener) => {
                    let port = listener.local_address().map_or(address.port, |a| a.port());
                    self.listeners.borrow_mut().push(self.api.serve(listener));
                    let host = match address.host {
                        Some(host) if !host.is_unspecified() => host,
                        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    };
                    let url = SocketAddr::new(host, port);
                    self.listening.borrow_mut().push(format!("API http://{url}/"));
                    return;
                }
                Err(e) if e.kind() == ErrorKind::AddrInUse && left > 0 => {
                    log::warn!(target: "app", "port {} is in use by another program, trying the next", address.port);
                    address.port = address.port.wrapping_add(1);
                }
                Err(e) => {
                    return self.fault(format!("api.listen: {address}: {e}; the API does not listen there"));
                }
            }
        }
    }

    /// Whether anything at all is served.
    pub fn serves(&self) -> bool {
        #[cfg(feature = "rtsp")]
        if self.rtsp.serves() {
            return true;
        }
        !self.listeners.borrow().is_empty()
    }

    /// Reads the configuration again and applies what has changed; what was wrong, if anything.
    pub fn reload(self: &Rc<Program>) -> Result<(), String> {
        let names = modules::names();
        let env = |name: &str| std::env::var(name).ok();
        let world = World { env: &env, modules: &names };
        let loaded = load(&self.arguments, &world);
        if loaded.has_errors() {
            let errors = loaded.problems.iter().filter(|p| p.severity == super::config::Severity::Error);
            let text = errors.map(|p| p.to_string()).collect::<Vec<_>>().join("\n");
            log::error!(target: "app", "the configuration was not reloaded, everything runs on as before: {text}");
            return Err(text);
        }
        self.apply(loaded);
        Ok(())
    }

    /// Goes over to another configuration; only what changed restarts.
    pub fn apply(self: &Rc<Program>, loaded: Loaded) {
        let changes = diff::diff(&self.loaded().config, &loaded.config);
        for problem in &loaded.problems {
            tell(problem);
        }
        let config = loaded.config.clone();
        logging::set_secrets(loaded.secrets.clone());
        self.loaded.replace(loaded);
        self.faults.borrow_mut().clear();
        self.limits.track.set(config.memory.track);
        if changes.touches("log") {
            configure_log(&config);
        }
        if changes.touches("users")
            || changes.touches("open")
            || changes.touches("api")
            || changes.touches("rtsp")
        {
            self.set_users(&config);
        }
        for name in &changes.removed {
            self.preload(name, None);
            self.hall.remove(name);
        }
        for name in changes.added.iter().chain(&changes.changed) {
            self.set_stream(&config, name);
        }
        if changes.restarts("api") {
            let old = std::mem::take(&mut *self.listeners.borrow_mut());
            drop(old);
            self.open_control(&config);
            self.open_api(&config);
        } else if changes.touches("api") {
            self.router.set_allowed(config.api.allow_paths.clone());
        }
        #[cfg(feature = "rtsp")]
        if changes.restarts("rtsp") || config.starts("rtsp") != self.rtsp.is_on() {
            self.rtsp.start(self, &config);
        } else {
            self.rtsp.set(&config);
        }
        for name in &changes.preload {
            let query = config.preload.iter().find(|(n, _)| n == name).map(|(_, q)| q.as_str());
            self.preload(name, query);
        }
        for (section, key) in changes.need_process() {
            log::warn!(target: "app", "{section}.{key} changed and applies after a restart");
        }
        log::info!(target: "app", "the configuration was reloaded");
    }

    /// Posts an event, to one stream or to all.
    pub fn post(&self, stream: Option<&str>, what: What) -> Result<(), String> {
        let names: Vec<Rc<str>> = match stream {
            Some(name) => match self.hall.get(name) {
                Some(stream) => vec![stream.name().into()],
                None => return Err(format!("there is no stream {name:?}")),
            },
            None => self.hall.streams().iter().map(|s| s.name().into()).collect(),
        };
        for stream in names {
            self.bus.post(Event { time: clock::now(), stream, what });
        }
        Ok(())
    }

    /// Ends the program in good order.
    pub fn end(&self, how: End) {
        self.end.set(Some(how));
        let waker = self.waiting.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Resolves when the program shall end.
    pub async fn ended(&self) -> End {
        std::future::poll_fn(|cx| match self.end.get() {
            Some(end) => Poll::Ready(end),
            None => {
                self.waiting.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// Lets everything go: viewers, sources, listeners.
    pub fn close(&self) {
        let (listeners, preloads) = (self.listeners.take(), self.preloads.take());
        drop((listeners, preloads));
        #[cfg(feature = "rtsp")]
        self.rtsp.stop();
        self.hall.end();
    }
}

/// Tells a problem of the configuration at its level.
pub fn tell(problem: &super::config::Problem) {
    use super::config::Severity;
    match problem.severity {
        Severity::Note => log::info!(target: "config", "{problem}"),
        Severity::Warning => log::warn!(target: "config", "{problem}"),
        Severity::Error => log::error!(target: "config", "{problem}"),
    }
}

/// Sets the log up as configured.
pub fn configure_log(config: &Config) {
    let mut levels =
        logging::Levels::all(logging::parse_level(config.log.level).unwrap_or(log::LevelFilter::Info));
    for (module, level) in &config.log_levels {
        if let Some(level) = logging::parse_level(level) {
            levels.set(module, level);
        }
    }
    let output = logging::Output::parse(&config.log.output);
    if output.is_none() {
        log::warn!(target: "config", "log.output: {:?} is none of stderr, stdout, syslog, file:PATH", config.log.output);
    }
    let settings = logging::Settings {
        levels,
        output: output.unwrap_or_default(),
        format: logging::Format::parse(config.log.format).unwrap_or_default(),
        time: !config.log.time.is_empty(),
    };
    if let Err(e) = logging::configure(&settings) {
        log::error!(target: "app", "{e}");
    }
}

/// The users of a configuration, and what is wrong with them.
fn users_of(config: &Config, arguments: &[String]) -> (Users, Vec<String>) {
    let (mut users, mut problems) = (Users::new(), Vec::new());
    for row in &config.users {
        let mut roles = Roles::NONE;
        for role in row.roles.iter().filter_map(|name| Role::parse(name)) {
            roles = roles.with(role);
        }
        let streams = (!row.streams.is_empty()).then(|| row.streams.clone());
        let user = User { name: row.name.clone(), password: row.password.clone(), roles, streams };
        if row.password.is_empty() || !users.add(user) {
            problems.push(format!(
                "users: {:?} cannot be a user: it needs a name of its own without a colon, and a password",
                row.name
            ));
        }
    }
    let doors = [
        (Door::Api, &config.api.username, &config.api.password),
        (Door::Rtsp, &config.rtsp.username, &config.rtsp.password),
    ];
    for (door, name, password) in doors {
        if !name.is_empty() || !password.is_empty() {
            users.set_door(door, name, password);
        }
    }
    // a go2rtc file without users keeps its open doors
    let old = super::config::sources::target(arguments);
    let old = old.is_some_and(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("go2rtc")));
    let open = config.open.unwrap_or(old);
    if open && config.open.is_none() && !users.is_configured(Door::Api) {
        problems.push("there are no users: everybody who reaches this camera may do everything".into());
    }
    users.set_open(open);
    (users, problems)
}

/// What `video&audio=aac` wants.
pub fn wishes_of(query: &str) -> Vec<Wish> {
    use crate::media::{Codec, CodecId};
    let query = if query.trim().is_empty() { "video&audio" } else { query };
    let mut wishes = Vec::new();
    for part in query.split('&') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let kind = match key.trim() {
            "video" => Kind::Video,
            "audio" => Kind::Audio,
            _ => continue,
        };
        let all = value.eq_ignore_ascii_case("all");
        let any = |id| Codec { rate: 0, channels: 0, ..Codec::new(id) };
        let codecs = value.split(',').filter_map(|name| CodecId::parse(name.trim())).map(any).collect();
        wishes.push(Wish { kind, codecs, all });
    }
    wishes
}

/// What a track may hold: as configured, or by the machine's memory.
fn track_bounds(kind: Kind, configured: usize) -> Bounds {
    let usual = Bounds::usual(kind);
    match kind {
        Kind::Video if configured > 0 => Bounds { limit: configured, ..usual },
        Kind::Video => {
            let sixteenth = total_memory().map_or(usual.limit, |bytes| bytes / 16);
            Bounds { limit: sixteenth.clamp(1 << 20, 16 << 20), ..usual }
        }
        _ => usual,
    }
}

/// Bytes of memory that the machine has.
fn total_memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kb| kb.saturating_mul(1024))
}
