//! How the camera is found on the network: one mDNS responder for all parts that have something to
//! announce. It is there only once something is announced, and nothing listens for it before.

use super::config::Config;
use super::program::Program;
use crate::net::mdns::{Mode, Registration, Responder, Service, Settings};
use std::cell::RefCell;
use std::rc::Rc;

/// Who is announced, and by whom.
#[derive(Default)]
pub struct Discovery {
    responder: RefCell<Option<Rc<Responder>>>,
    told: RefCell<Vec<(&'static str, Registration)>>,
}

impl Discovery {
    /// Who speaks mDNS for this program.
    pub fn responder(&self, program: &Program, config: &Config) -> Rc<Responder> {
        let known = self.responder.borrow().clone();
        known.unwrap_or_else(|| {
            let mode = match config.mdns.mode {
                "files" => Mode::Files,
                "off" => Mode::Off,
                _ => Mode::Own,
            };
            let directory = config.mdns.directory.clone();
            let settings = Settings { mode, host: host(config), directory };
            let responder = Rc::new(Responder::new(&program.executor, settings));
            self.responder.replace(Some(responder.clone()));
            responder
        })
    }

    /// Announces a part's server at that port; what the part announced before is taken back.
    pub fn announce(
        &self,
        program: &Program,
        config: &Config,
        part: &'static str,
        kind: &str,
        port: u16,
        path: &str,
    ) {
        self.conceal(part);
        let mut txt = String::from("path=/");
        crate::net::http::percent_encode(&mut txt, path);
        let service = Service { kind: kind.into(), name: host(config), port, txt: vec![txt] };
        match self.responder(program, config).register(service) {
            Ok(registration) => self.told.borrow_mut().push((part, registration)),
            Err(e) => program.fault(part, format!("{part}: it cannot be found by mDNS: {e}")),
        }
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
