//! The running program: what was configured, what has started, and how one becomes the other. A
//! part that cannot start stays off and says why; a reload with an error changes nothing.

use super::config::keys::Address;
use super::config::{Config, Loaded, World, diff, load};
use super::discovery::Discovery;
use super::log as logging;
use super::memory;
use super::privacy::Privacy;
use super::sentry::Sentries;
use super::state::{self, Store};
use crate::media::{Kind, Time};
use crate::motion::sensor::Input;
use crate::motion::{Bus, Event, What};
use crate::net::auth::Authenticator;
use crate::net::clock;
use crate::net::http::{Listening, Router, Server, Settings};
use crate::net::log;
use crate::net::mask::mask_url;
use crate::net::quoted::Quoted;
use crate::net::socket::Listener;
use crate::net::users::{Door, Role, Roles, User, Users};
use crate::net::worker::Worker;
use crate::stream::{Bounds, Executor, Hall, Holder, Off, SourceSpec, Wish};
use async_task::Task;
use std::cell::{Cell, OnceCell, RefCell};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Ports that are tried after the default one.
const NEXT_PORTS: u16 = 16;

/// How long a connection outlives its listener when the API moves to another address.
const ANSWERING: std::time::Duration = std::time::Duration::from_secs(1);

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exit(u8),
    /// By starting again with the same arguments.
    Restart,
}

/// A protocol's server as part of the program, beside the API.
pub trait Service {
    /// The module's name, and that of its section.
    fn name(&self) -> &'static str;

    /// Starts it as configured; what ran before ends. What cannot start says why.
    fn start(&self, program: &Rc<Program>, config: &Config);

    /// Applies what needs no restart.
    fn set(&self, config: &Config);

    /// Ends it and closes all its connections.
    fn stop(&self);

    /// Whether it was started.
    fn is_on(&self) -> bool;

    /// Whether it listens anywhere.
    fn serves(&self) -> bool;

    /// Says to a person at the terminal what only they may know.
    fn tell(&self, out: &mut dyn std::fmt::Write) {
        let _ = out;
    }
}

/// What is compiled in: the names of the modules, and the servers among them.
pub struct Compiled {
    /// What `app.modules` and the configuration may speak of.
    pub names: Vec<&'static str>,
    /// The servers, in the order in which they start.
    pub services: Vec<Rc<dyn Service>>,
}

/// Everything that runs.
pub struct Program {
    /// The executor that everything runs on.
    pub executor: Executor,
    /// Streams.
    pub hall: Rc<Hall>,
    /// Keeps `memory.limit`, if there is one.
    governor: RefCell<Option<Task<()>>>,
    /// Closes the eyes of all when somebody says so.
    hand: RefCell<Option<Task<()>>>,
    /// Keeps them closed after a restart.
    privacy: Rc<Privacy>,
    /// How the camera is found.
    pub discovery: Discovery,
    /// Events.
    pub bus: Rc<Bus>,
    /// Those who look for motion.
    sentries: Sentries,
    /// Who may do what.
    pub keeper: Rc<Authenticator>,
    /// The ways into the API.
    pub router: Rc<Router>,
    /// For what would hold the loop: flash, SD card, big numbers.
    pub slow: Rc<Worker>,
    /// When it started.
    pub started: Time,
    arguments: Vec<String>,
    loaded: RefCell<Loaded>,
    api: Rc<Server>,
    control: Rc<Server>,
    listeners: RefCell<Vec<Listening>>,
    control_door: RefCell<Option<Listening>>,
    /// What listens where, for people: `API http://…`.
    pub listening: RefCell<Vec<String>>,
    /// What stays off, and why: the part of the configuration, and a sentence.
    faults: RefCell<Vec<(String, String)>>,
    preloads: RefCell<Vec<Preload>>,
    names: Vec<&'static str>,
    services: Vec<Rc<dyn Service>>,
    limits: Rc<Limits>,
    store: OnceCell<Store>,
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
    pub fn new(
        executor: Executor,
        arguments: Vec<String>,
        loaded: Loaded,
        compiled: Compiled,
    ) -> Rc<Program> {
        let limits = Rc::new(Limits::default());
        let bounds = {
            let limits = limits.clone();
            Rc::new(move |kind| track_bounds(kind, limits.track.get()))
        };
        let hall = Hall::new(executor.clone(), bounds);
        let slow = hall.slow().clone();
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
        let discovery = Discovery::new(executor.clone());
        Rc::new(Program {
            executor,
            hall,
            governor: RefCell::default(),
            hand: RefCell::default(),
            privacy: Rc::default(),
            discovery,
            bus,
            sentries: Sentries::default(),
            keeper,
            router,
            slow,
            started: clock::now(),
            arguments,
            loaded: RefCell::new(loaded),
            api,
            control,
            listeners: RefCell::default(),
            control_door: RefCell::default(),
            listening: RefCell::default(),
            faults: RefCell::default(),
            preloads: RefCell::default(),
            names: compiled.names,
            services: compiled.services,
            limits,
            store: OnceCell::new(),
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

    /// The modules that are compiled in.
    pub fn modules(&self) -> &[&'static str] {
        &self.names
    }

    /// The server behind the API's listeners.
    pub fn server(&self) -> &Rc<Server> {
        &self.api
    }

    /// What is wrong with sources, which only those who dial them can tell.
    pub fn wrong_sources(&self, config: &Config) -> Vec<String> {
        let mut wrong = Vec::new();
        for stream in &config.streams {
            for source in &stream.sources {
                let found = match SourceSpec::parse(&source.url) {
                    Ok(spec) if spec.is_template() => continue,
                    Ok(spec) => self.hall.check(&spec).map_err(|e| e.to_string()),
                    Err(e) => Err(e.to_string()),
                };
                if let Err(sentence) = found {
                    wrong.push(format!("{}: streams.{}: {sentence}", source.at, stream.name));
                }
            }
        }
        wrong
    }

    /// Starts what is configured; the hall knows already who dials what.
    pub fn start(self: &Rc<Program>) {
        let config = self.loaded().config.clone();
        self.limits.track.set(config.memory.track);
        self.set_memory(&config);
        self.set_users(&config);
        let (program, ear) = (Rc::downgrade(self), self.bus.listen());
        self.recall_privacy();
        self.hand.replace(Some(self.executor.spawn(async move {
            loop {
                ear.next().await;
                let Some(program) = program.upgrade() else { return };
                program.follow_privacy();
            }
        })));
        for stream in &config.streams {
            self.set_stream(&config, &stream.name);
        }
        self.sentries.set(&self.executor, &self.hall, &self.bus, &config);
        self.open_control(&config);
        self.open_api(&config);
        for service in &self.services {
            service.start(self, &config);
        }
        for (name, query) in &config.preload {
            self.preload(name, Some(query));
        }
    }

    /// The directory of what must survive a pulled plug, which need not be there.
    fn state(&self) -> PathBuf {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let loaded = self.loaded();
        let configured = Some(loaded.config.app.state.as_path()).filter(|p| !p.as_os_str().is_empty());
        state::place(configured, loaded.target.as_deref(), home.as_deref())
    }

    /// Where what must survive a pulled plug is kept.
    pub fn store(&self) -> Result<Store, String> {
        if let Some(store) = self.store.get() {
            return Ok(store.clone());
        }
        let path = self.state();
        let store = Store::open(&path).map_err(|e| format!("app.state: {}: {e}", path.display()))?;
        if !store.survives() {
            log::warn!(target: "app", "app.state: {} is in memory: what is kept there is gone after a restart", path.display());
        }
        Ok(self.store.get_or_init(|| store).clone())
    }

    /// What a person at the terminal should know of the services.
    pub fn tell(&self, out: &mut dyn std::fmt::Write) {
        self.services.iter().for_each(|service| service.tell(out));
    }

    /// What stays off, and why.
    pub fn faults(&self) -> Vec<String> {
        self.faults.borrow().iter().map(|(_, sentence)| sentence.clone()).collect()
    }

    /// Says that something stays off, and why.
    pub(super) fn fault(&self, part: &str, sentence: String) {
        log::error!(target: "app", "{sentence}");
        self.faults.borrow_mut().push((part.to_owned(), sentence));
    }

    /// A part starts anew, or is gone: what was wrong with it is no longer true.
    pub(super) fn forget_faults(&self, part: &str) {
        self.faults.borrow_mut().retain(|(known, _)| known != part);
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

    /// Nobody sees what nobody saw before the restart.
    fn recall_privacy(&self) {
        if self.state().is_dir()
            && let Err(why) = self.store().and_then(|store| self.privacy.recall(&self.bus, &store))
        {
            self.fault("privacy", format!("privacy is not what it was before the restart: {why}"));
        }
    }

    /// Nobody sees what shall be seen by nobody.
    fn follow_privacy(&self) {
        self.privacy.keep(&self.bus, || self.store(), &self.slow, &self.executor);
        for stream in self.hall.streams() {
            let off = self.bus.is_on(stream.name(), What::Privacy(true));
            stream.switch(Off::Privacy, off);
            if off {
                self.sentries.clear(stream.name());
            }
        }
    }

    /// Brings a stream to what the configuration says.
    fn set_stream(&self, config: &Config, name: &str) {
        let Some(stream) = config.stream(name) else { return };
        let part = format!("streams.{name}");
        self.forget_faults(&part);
        if let Some(why) = config.fault(&part) {
            self.faults.borrow_mut().push((part, why.to_owned()));
            return;
        }
        let mut sources = Vec::new();
        for source in &stream.sources {
            match SourceSpec::parse(&source.url) {
                Ok(spec) if spec.is_template() => {}
                Ok(spec) => match self.hall.check(&spec) {
                    Ok(()) => sources.push(spec),
                    Err(e) => {
                        let place = format!("{}: {part}", source.at);
                        self.fault(&part, format!("{place}: {}: {e}", mask_url(&source.url)))
                    }
                },
                Err(e) => self.fault(&part, format!("{}: {part}: {e}", source.at)),
            }
        }
        if sources.is_empty() && !stream.sources.is_empty() {
            // none of its sources can be used: it is off, and that was said
            self.hall.remove(name);
            return;
        }
        match self.hall.set(name, sources) {
            Ok(made) => {
                made.set_aliases(stream.aliases.clone());
                made.switch(Off::Privacy, self.bus.is_on(name, What::Privacy(true)));
            }
            Err(e) => self.fault(&part, format!("{}: {part}: {e}", stream.at)),
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
        let part = format!("preload.{name}");
        self.forget_faults(&part);
        let Some(query) = query else { return };
        match self.hall.get(name) {
            Some(stream) => {
                let holder = stream.hold(wishes_of(query));
                let query = if query.is_empty() { "video&audio" } else { query };
                let preload = Preload { name: name.to_owned(), query: query.to_owned(), _holder: holder };
                self.preloads.borrow_mut().push(preload);
            }
            None => self.fault(&part, format!("{part}: there is no such stream")),
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
            Ok(listener) => {
                self.control_door.replace(Some(self.control.serve(listener)));
            }
            Err(e) => {
                let sentence = format!("ctl.socket: {}: {e}; streamd ctl will not work", path.display());
                log::warn!(target: "app", "{sentence}");
                self.faults.borrow_mut().push(("ctl".into(), sentence));
            }
        }
    }

    fn open_api(self: &Rc<Program>, config: &Config) {
        self.listening.borrow_mut().retain(|l| !l.starts_with("API "));
        self.forget_faults("api");
        self.discovery.conceal("api");
        if !config.starts("api") {
            return;
        }
        if let Some(why) = config.fault("api") {
            self.faults.borrow_mut().push(("api".into(), why.to_owned()));
            return;
        }
        self.router.set_base(&config.api.base_path);
        self.router.set_allowed(config.api.allow_paths.clone());
        let is_default = config.tree.get("api").and_then(|api| api.get("listen")).is_none();
        let mut found = None;
        for address in &config.api.listen {
            if let Some(listener) = self.open_door("api", "http", address, is_default) {
                found = found.or(reachable(address, &listener));
                self.listeners.borrow_mut().push(self.api.serve(listener));
            }
        }
        if let Some(port) = found.filter(|_| config.mdns.web) {
            let announced = self.discovery.announce(config, "api", "_http._tcp", port, &config.api.base_path);
            announced.unwrap_or_else(|sentence| self.fault("api", sentence));
        }
        let path = &config.api.unix_listen;
        if !path.as_os_str().is_empty() {
            match Listener::unix(path) {
                Ok(listener) => {
                    self.listeners.borrow_mut().push(self.api.serve(listener));
                    self.listening.borrow_mut().push(format!("API unix:{}", path.display()));
                }
                Err(e) => self.fault("api", format!("api.unix_listen: {}: {e}", path.display())),
            }
        }
    }

    /// Opens a door of a part (`api`, `rtsp`); a default port that is in use moves to the next. What
    /// cannot be opened stays off, and that is said.
    pub(super) fn open_door(
        &self,
        part: &str,
        scheme: &str,
        address: &Address,
        is_default: bool,
    ) -> Option<Listener> {
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
                    let host = match address.host {
                        Some(host) if !host.is_unspecified() => host,
                        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    };
                    let url =
                        format!("{} {scheme}://{}/", part.to_ascii_uppercase(), SocketAddr::new(host, port));
                    self.listening.borrow_mut().push(url);
                    return Some(listener);
                }
                Err(e) if e.kind() == ErrorKind::AddrInUse && left > 0 => {
                    log::warn!(target: "app", "port {} is in use by another program, trying the next", address.port);
                    address.port = address.port.wrapping_add(1);
                }
                Err(e) => {
                    self.fault(part, format!("{part}.listen: {address}: {e}; {part} does not listen there"));
                    return None;
                }
            }
        }
        None
    }

    /// Whether anything at all is served.
    pub fn serves(&self) -> bool {
        self.services.iter().any(|s| s.serves())
            || !self.listeners.borrow().is_empty()
            || self.control_door.borrow().is_some()
    }

    /// Reads the configuration again and applies what has changed; what was wrong, if anything.
    pub fn reload(self: &Rc<Program>) -> Result<(), String> {
        let env = |name: &str| std::env::var(name).ok();
        let world = World { env: &env, modules: &self.names };
        let loaded = load(&self.arguments, &world);
        let errors = loaded.problems.iter().filter(|p| p.severity == super::config::Severity::Error);
        let mut wrong: Vec<String> = errors.map(|p| p.to_string()).collect();
        wrong.extend(self.wrong_sources(&loaded.config));
        if !wrong.is_empty() {
            let text = loaded.secrets.mask(&wrong.join("\n")).into_owned();
            log::error!(target: "app", "the configuration was not reloaded, everything runs on as before: {text}");
            return Err(text);
        }
        self.apply(loaded);
        Ok(())
    }

    /// Begins to keep `memory.limit`, or ceases to.
    fn set_memory(self: &Rc<Program>, config: &Config) {
        let limit = config.memory.limit;
        let task = (limit > 0).then(|| self.executor.spawn(memory::govern(Rc::downgrade(&self.hall), limit)));
        drop(self.governor.replace(task));
        if limit == 0 {
            self.hall.set_short(false);
            self.hall.set_room(usize::MAX);
            self.hall.tracks().iter().for_each(|track| track.set_cap(usize::MAX));
        }
    }

    /// Goes over to another configuration; only what changed restarts.
    pub fn apply(self: &Rc<Program>, loaded: Loaded) {
        let changes = diff::diff(&self.loaded().config, &loaded.config);
        let limit = self.loaded().config.memory.limit;
        for problem in &loaded.problems {
            tell(problem);
        }
        let config = loaded.config.clone();
        logging::set_secrets(loaded.secrets.clone());
        self.loaded.replace(loaded);
        self.limits.track.set(config.memory.track);
        if config.memory.limit != limit {
            self.set_memory(&config);
        }
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
            self.forget_faults(&format!("streams.{name}"));
            self.hall.remove(name);
        }
        for name in changes.added.iter().chain(&changes.changed) {
            let before = self.hall.get(name).is_some();
            self.set_stream(&config, name);
            let query = config.preload.iter().find(|(n, _)| n == name).map(|(_, q)| q.as_str());
            // what was off and is on again is kept running again
            if query.is_some() && before != self.hall.get(name).is_some() {
                self.preload(name, query);
            }
        }
        self.sentries.set(&self.executor, &self.hall, &self.bus, &config);
        if changes.restarts("api") {
            let mut old = self.listeners.take();
            // the ports are free at once; who asked for this change still gets its answer
            old.iter_mut().for_each(Listening::stop);
            let rest = async move {
                crate::net::reactor::Timer::after(ANSWERING).await;
                drop(old);
            };
            self.executor.spawn(rest).detach();
            self.open_api(&config);
        } else if changes.touches("api") {
            self.router.set_allowed(config.api.allow_paths.clone());
        }
        for service in &self.services {
            if changes.restarts(service.name()) || config.starts(service.name()) != service.is_on() {
                service.start(self, &config);
            } else {
                service.set(&config);
            }
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
                None => return Err(format!("there is no stream {}", Quoted(name))),
            },
            None => self.hall.streams().iter().map(|s| s.name().into()).collect(),
        };
        for stream in names {
            if let What::Motion(on) = what
                && self.sentries.report(&stream, Input::Api, on)
            {
                continue;
            }
            self.bus.post(Event { time: clock::now(), stream: stream.clone(), what });
            if what == What::Doorbell {
                self.sentries.press(&stream);
            }
        }
        self.follow_privacy();
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
        self.sentries.stop();
        let (listeners, preloads) = (self.listeners.take(), self.preloads.take());
        drop((listeners, self.control_door.take(), preloads, self.hand.take()));
        for service in &self.services {
            service.stop();
        }
        self.discovery.end();
        self.hall.end();
    }
}

/// The port at which other hosts reach what listens there, if they do.
pub(super) fn reachable(address: &Address, listener: &Listener) -> Option<u16> {
    let open = address.host.is_none_or(|host| !host.is_loopback());
    listener.local_address().filter(|_| open).map(|bound| bound.port())
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
    set_log(config, config.log.level);
}

/// For commands that tell what they see: without a word about the log, errors only.
pub fn configure_quiet_log(config: &Config) {
    set_log(config, if config.tree.get("log").is_none() { "error" } else { config.log.level });
}

fn set_log(config: &Config, level: &str) {
    let mut levels = logging::Levels::all(logging::parse_level(level).unwrap_or(log::LevelFilter::Info));
    for (module, level) in &config.log_levels {
        if let Some(level) = logging::parse_level(level) {
            levels.set(module, level);
        }
    }
    let output = logging::Output::parse(&config.log.output);
    if output.is_none() {
        log::warn!(target: "config", "log.output: {} is none of stderr, stdout, syslog, file:PATH", Quoted(&config.log.output));
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
                "users: {} cannot be a user: it needs a name of its own without a colon, and a password",
                Quoted(&row.name)
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
