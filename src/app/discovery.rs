//! How the camera is found on the network: one mDNS responder for all parts that have something to
//! announce. It is there only once something is announced, and nothing listens for it before.

use super::config::Config;
use crate::net::mdns::{Mode, Registration, Responder, Service, Settings};
use crate::stream::Executor;
use std::cell::RefCell;
use std::rc::Rc;

/// Who is announced, and by whom.
pub struct Discovery {
    executor: Executor,
    responder: RefCell<Option<Rc<Responder>>>,
    told: RefCell<Vec<(&'static str, Registration)>>,
}

impl Discovery {
    /// Nobody yet.
    pub fn new(executor: Executor) -> Discovery {
        Discovery { executor, responder: RefCell::default(), told: RefCell::default() }
    }

    /// Who speaks mDNS for this program.
    pub fn responder(&self, config: &Config) -> Rc<Responder> {
        let known = self.responder.borrow().clone();
        known.unwrap_or_else(|| {
            let mode = match config.mdns.mode {
                "files" => Mode::Files,
                "off" => Mode::Off,
                _ => Mode::Own,
            };
            let directory = config.mdns.directory.clone();
            let settings = Settings { mode, host: host(config), directory };
            let responder = Rc::new(Responder::new(&self.executor, settings));
            self.responder.replace(Some(responder.clone()));
            responder
        })
    }

    /// Announces a part's server at that port; what the part announced before is taken back. A sentence
    /// says why it cannot be found.
    pub fn announce(
        &self,
        config: &Config,
        part: &'static str,
        kind: &str,
        port: u16,
        path: &str,
    ) -> Result<(), String> {
        self.conceal(part);
        let mut txt = String::from("path=/");
        crate::net::http::percent_encode(&mut txt, path);
        let service = Service { kind: kind.into(), name: host(config), port, txt: vec![txt] };
        let registered = self.responder(config).register(service);
        let registration = registered.map_err(|e| format!("{part}: it cannot be found by mDNS: {e}"))?;
        self.told.borrow_mut().push((part, registration));
        Ok(())
    }

    /// A part has nothing to announce any more.
    pub fn conceal(&self, part: &str) {
        self.told.borrow_mut().retain(|(of, _)| *of != part);
    }

    /// Nothing is announced any more, and the network is told so.
    pub fn end(&self) {
        let (told, responder) = (self.told.take(), self.responder.take());
        drop(told);
        drop(responder);
    }
}

/// The host's name without `.local`.
fn host(config: &Config) -> String {
    let name = match config.mdns.host.as_str() {
        "" => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default(),
        host => host.to_owned(),
    };
    match name.trim() {
        "" | "localhost" | "(none)" => "streamd".to_owned(),
        host => host.split('.').next().unwrap_or("streamd").to_owned(),
    }
}
