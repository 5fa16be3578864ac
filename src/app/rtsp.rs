//! The RTSP server as part of the program: where it listens, what it was told, and what it says when
//! it cannot.

use super::config::Config;
use super::program::{Program, Service, reachable};
use crate::net::auth::Offer;
use crate::net::log;
use crate::net::quoted::Quoted;
use crate::net::users::Door;
use crate::rtsp::flows::Multicast;
use crate::rtsp::listener::{Listening, serve};
use crate::rtsp::server::{Server, Settings};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;

/// The server, if it is on.
#[derive(Default)]
pub struct Rtsp {
    server: RefCell<Option<Rc<Server>>>,
    listeners: RefCell<Vec<Listening>>,
}

impl Service for Rtsp {
    fn name(&self) -> &'static str {
        "rtsp"
    }

    fn start(&self, program: &Rc<Program>, config: &Config) {
        self.stop();
        program.forget_faults("rtsp");
        program.discovery.conceal("rtsp");
        program.listening.borrow_mut().retain(|l| !l.starts_with("RTSP "));
        if !config.starts("rtsp") {
            return;
        }
        if let Some(why) = config.fault("rtsp") {
            program.fault("rtsp", why.to_owned());
            return;
        }
        let server = Server::new(
            program.executor.clone(),
            program.hall.clone(),
            program.keeper.clone(),
            program.bus.clone(),
            settings(config),
        );
        self.server.replace(Some(server.clone()));
        let multicast = config.rtsp.multicast.then(|| multicast(program, config)).flatten();
        if config.rtsp.udp
            && let Err(e) = server.open_udp(config.rtsp.udp_port, multicast)
        {
            let sentence =
                format!("rtsp.udp_port: {}: {e}; RTSP is served by TCP only", config.rtsp.udp_port);
            program.fault("rtsp", sentence);
        }
        self.set(config);
        let is_default = config.tree.get("rtsp").and_then(|rtsp| rtsp.get("listen")).is_none();
        let mut found = None;
        for address in &config.rtsp.listen {
            if let Some(listener) = program.open_door("rtsp", "rtsp", address, is_default) {
                found = found.or(reachable(address, &listener));
                self.listeners.borrow_mut().push(serve(&server, listener));
            }
        }
        if let Some(port) = found.filter(|_| config.mdns.rtsp) {
            let first = config.streams.first().map_or("", |s| s.name.as_str());
            let announced = program.discovery.announce(config, "rtsp", "_rtsp._tcp", port, first);
            announced.unwrap_or_else(|sentence| program.fault("rtsp", sentence));
        }
        if found.is_some() && !program.keeper.users().is_configured(Door::Rtsp) {
            let others = if program.keeper.users().is_open(Door::Rtsp) {
                "everybody who reaches this camera may watch by RTSP: there are no users"
            } else {
                "RTSP serves only this machine until there is a user: other hosts are refused"
            };
            log::warn!(target: "rtsp", "{others}");
        }
    }

    fn set(&self, config: &Config) {
        let Some(server) = self.server.borrow().clone() else { return };
        let offer = Offer {
            basic: config.rtsp.auth == "basic",
            sha256: config.rtsp.auth == "sha256",
            ..Offer::usual(Door::Rtsp)
        };
        server.keeper.set_offer(Door::Rtsp, offer);
        server.set(settings(config));
    }

    fn stop(&self) {
        let (listeners, server) = (self.listeners.take(), self.server.take());
        drop((listeners, server));
    }

    fn is_on(&self) -> bool {
        self.server.borrow().is_some()
    }

    fn serves(&self) -> bool {
        !self.listeners.borrow().is_empty()
    }
}

/// How groups are made; none, with a sentence, if what is configured is no group.
fn multicast(program: &Program, config: &Config) -> Option<Multicast> {
    let text = config.rtsp.multicast_address.trim();
    let address = match text.parse::<Ipv4Addr>() {
        _ if text.is_empty() => None,
        Ok(address) if address.is_multicast() => Some(address),
        _ => {
            let sentence = format!(
                "rtsp.multicast_address: {} is no group: expected an address from 224.0.0.0 to \
                 239.255.255.255, best one of 239.255; nothing is sent by multicast",
                Quoted(text)
            );
            program.fault("rtsp", sentence);
            return None;
        }
    };
    let ttl = u8::try_from(config.rtsp.multicast_ttl).unwrap_or(u8::MAX);
    Some(Multicast { ttl, address, port: config.rtsp.multicast_port & !1 })
}

fn settings(config: &Config) -> Settings {
    let aliases = config.streams.iter().flat_map(|s| s.aliases.iter().map(|a| (a.clone(), s.name.clone())));
    Settings {
        default_query: config.rtsp.default_query.clone(),
        packet_size: config.rtsp.pkt_size,
        coalesce: config.rtsp.coalesce,
        local_auth: config.rtsp.local_auth,
        aliases: aliases.collect(),
    }
}
