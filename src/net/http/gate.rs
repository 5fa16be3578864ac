//! Decides on a request's head alone whether it comes in: the route, the other site's page that may
//! not, the user and the role. Pure but for looking up an interface's netmask.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::message::{Head, Method};
use super::response::Response;
use super::router::{Access, Found, Route, Router, forbidden};
use super::settings::Settings;
use crate::media::Time;
use crate::net::auth::{Attempt, Authenticator, Verdict};
use crate::net::socket::Peer;
use crate::net::users::{Role, User, setup_allowed};
use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

pub(crate) struct Gate {
    pub(crate) router: Rc<Router>,
    keeper: Rc<Authenticator>,
    settings: Settings,
    pub(crate) any_origin: Cell<bool>,
    trusted: Rc<User>,
    nobody: Rc<User>,
}

/// A request that may come in.
pub(crate) struct Entry {
    pub(crate) route: Rc<Route>,
    pub(crate) rest: String,
    pub(crate) user: Rc<User>,
    pub(crate) address: Option<IpAddr>,
}

const SHUT: &str = "nobody has a password here yet: set the admin's on the setup page within 15 minutes of the \
                    start, from the same network, or with 'streamd ctl passwd', or write 'open: true'";

impl Gate {
    pub(crate) fn new(router: Rc<Router>, keeper: Rc<Authenticator>, settings: Settings) -> Gate {
        let trusted = Rc::new(User::all_powerful("local", ""));
        Gate {
            router,
            keeper,
            settings,
            any_origin: Cell::new(false),
            trusted,
            nobody: Rc::new(User::nobody()),
        }
    }

    pub(crate) fn admit(&self, head: &Head, peer: &Peer, now: Time) -> Result<Entry, Response> {
        let found = match self.settings.trusted {
            true => self.router.find_inside(head.method, &head.path),
            false => self.router.find(head.method, &head.path),
        };
        let (route, rest) = match found {
            Found::Route(route, rest) => (route, rest),
            Found::OtherMethods(allow) if head.method == Method::Options => {
                return Err(self.options(head, allow));
            }
            Found::OtherMethods(allow) => {
                return Err(Response::error(405, "this path has other methods").header("Allow", allow));
            }
            Found::Nothing => return Err(Response::error(404, "there is nothing at this path")),
        };
        let address = client_address(head, peer);
        let user = self.who(&route, head, peer, address, now)?;
        Ok(Entry { route, rest, user, address })
    }

    /// As whom the request comes in, if it does.
    fn who(
        &self,
        route: &Route,
        head: &Head,
        peer: &Peer,
        address: Option<IpAddr>,
        now: Time,
    ) -> Result<Rc<User>, Response> {
        if self.settings.trusted {
            return Ok(self.trusted.clone());
        }
        if !self.any_origin.get() && !same_site(head) {
            return Err(Response::error(403, "a page of another site may not do this"));
        }
        let role = match route.access {
            Access::Open => return Ok(self.nobody.clone()),
            Access::Setup => Role::Admin,
            Access::Role(role) => role,
        };
        let attempt = Attempt {
            door: self.settings.door,
            method: head.method.name(),
            uri: &head.target,
            authorization: head.fields.get("authorization"),
            address,
            local: is_local(head, peer),
        };
        match self.keeper.check(&attempt, now) {
            Verdict::Allowed(user) if user.roles.has(role) => Ok(user),
            Verdict::Allowed(_) => Err(forbidden(role)),
            Verdict::Shut if route.access == Access::Setup && self.may_set_up(head, peer, address, now) => {
                Ok(self.nobody.clone())
            }
            Verdict::Shut => Err(Response::error(403, SHUT)),
            Verdict::Slow(until) => {
                let seconds = until.since(now).as_secs() + 1;
                Err(Response::error(429, "too many wrong passwords: wait a little")
                    .header("Retry-After", seconds.to_string()))
            }
            Verdict::Denied { stale, tried } => {
                let sentence = if tried {
                    "this name and password are wrong"
                } else {
                    "this needs a name and a password"
                };
                let mut response = Response::error(401, sentence);
                for challenge in self.keeper.challenges(self.settings.door, address, stale, now) {
                    response = response.header("WWW-Authenticate", challenge);
                }
                Err(response)
            }
        }
    }

    /// The path as the routes know it.
    pub(crate) fn inner_path(&self, path: &str) -> String {
        if self.settings.trusted { path.to_owned() } else { self.router.inner_path(path) }
    }

    fn may_set_up(&self, head: &Head, peer: &Peer, address: Option<IpAddr>, now: Time) -> bool {
        // Behind a proxy nobody knows whose neighbour the visitor is; and a page that made its own
        // name point here is told from our own by the name it asks for.
        let direct = address == peer.address() && !forwarded(head);
        direct
            && own_name(&head.host)
            && setup_allowed(address, peer.network(), now.since(self.settings.started))
    }

    fn options(&self, head: &Head, allow: String) -> Response {
        let response = Response::empty(204);
        if !self.any_origin.get() || head.fields.get("access-control-request-method").is_none() {
            return response.header("Allow", allow);
        }
        response
            .header("Access-Control-Allow-Methods", allow)
            .header("Access-Control-Allow-Headers", "Authorization, Content-Type, Range")
            .header("Access-Control-Max-Age", "600")
    }
}

fn forwarded(head: &Head) -> bool {
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"]
        .iter()
        .any(|name| head.fields.all(name).next().is_some())
}

/// Whether the request is from this machine: not through a proxy on it, and not from a page that
/// made its own name point here.
pub(crate) fn is_local(head: &Head, peer: &Peer) -> bool {
    let unix = peer.remote.is_none();
    peer.is_here() && !forwarded(head) && (unix || own_name(&head.host))
}

/// Where the request comes from. A proxy on this machine is believed in what it says last.
fn client_address(head: &Head, peer: &Peer) -> Option<IpAddr> {
    let said = || {
        let last = head.fields.all("x-forwarded-for").last()?;
        let last = std::str::from_utf8(last).ok()?.rsplit(',').next()?.trim();
        last.parse::<IpAddr>().ok().map(|a| a.to_canonical())
    };
    if peer.is_here() { said().or(peer.address()) } else { peer.address() }
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').and_then(|end| host.get(..=end)).unwrap_or(host);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// Whether a Host is a name that only this network can have given us: an address, a bare name, or
/// one that no public name server answers for.
fn own_name(host: &str) -> bool {
    let name = without_port(host);
    let v6 = || {
        name.strip_prefix('[')
            .and_then(|n| n.strip_suffix(']'))
            .is_some_and(|n| n.parse::<Ipv6Addr>().is_ok())
    };
    let dots = name.trim_end_matches('.');
    !dots.contains('.') && !dots.starts_with('[')
        || name.parse::<IpAddr>().is_ok()
        || v6()
        || [".local", ".lan", ".home.arpa", ".internal", ".localhost"].iter().any(|end| dots.ends_with(end))
}

/// Whether a request that changes something, or opens a socket, comes from our own page or from no
/// page at all. A browser adds passwords by itself, so a foreign page must not get this far.
fn same_site(head: &Head) -> bool {
    if head.method.is_safe() && head.fields.get("upgrade").is_none() {
        return true;
    }
    let mut origins = head.fields.all("origin");
    let Some(origin) = origins.next() else {
        return head.fields.get("sec-fetch-site").is_none_or(|s| s != "cross-site");
    };
    let host = std::str::from_utf8(origin).ok().and_then(|o| o.split_once("://")).map(|(_, host)| host);
    let Some(host) = host.filter(|_| origins.next().is_none()) else { return false };
    let host = without_port(host).to_ascii_lowercase();
    // A page cannot add this field to a request to us; a proxy that changed the Host does.
    let outer = head.fields.get("x-forwarded-host").map(|h| without_port(h).to_ascii_lowercase());
    host == without_port(&head.host) || outer == Some(host)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
