//! Who may do what. One list serves every door (web, RTSP, ONVIF); a door may have one user of its
//! own, as the predecessor's files do. Holds secrets: nothing here prints a password.

use super::limits::{SETUP_TIME, USERS};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// What a user may do. Each stands alone, except that an admin may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Watch and listen.
    View = 1,
    /// Send sound to the speaker.
    Talk = 2,
    /// Push a stream in.
    Publish = 4,
    /// Move, ring, switch; change streams.
    Control = 8,
    /// Everything: configuration, users, restart.
    Admin = 16,
}

impl Role {
    /// All roles and their names in a configuration.
    pub const NAMES: [(&'static str, Role); 5] = [
        ("view", Role::View),
        ("talk", Role::Talk),
        ("publish", Role::Publish),
        ("control", Role::Control),
        ("admin", Role::Admin),
    ];

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::NAMES.iter().find(|(n, _)| *n == name).map(|(_, r)| *r)
    }

    /// The name in a configuration.
    pub fn name(self) -> &'static str {
        Role::NAMES.iter().find(|(_, r)| *r == self).map_or("", |(n, _)| n)
    }
}

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Roles = Roles(0);
    /// Every one.
    pub const ALL: Roles = Roles(31);

    /// These and one more.
    pub const fn with(self, role: Role) -> Roles {
        Roles(self.0 | role as u8)
    }

    /// Whether the role is among them, or an admin is.
    pub const fn has(self, role: Role) -> bool {
        self.0 & (role as u8 | Role::Admin as u8) != 0
    }
}

/// One who has a name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name, as sent by clients.
    pub name: String,
    /// The password. In clear, because digests are made from it.
    pub password: String,
    /// What the user may do.
    pub roles: Roles,
    /// The streams it may do it with; all if none are named.
    pub streams: Option<Vec<String>>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl User {
    /// One who may do everything: the user of a door, or whoever needs no password.
    pub fn all_powerful(name: &str, password: &str) -> User {
        User { name: name.into(), password: password.into(), roles: Roles::ALL, streams: None }
    }

    /// One who may do nothing: a visitor of an open route.
    pub fn nobody() -> User {
        User { name: String::new(), password: String::new(), roles: Roles::NONE, streams: None }
    }

    /// Whether the user may do that with that stream. Without a stream it asks about the role alone.
    pub fn may(&self, role: Role, stream: Option<&str>) -> bool {
        self.roles.has(role)
            && match (&self.streams, stream) {
                (Some(streams), Some(stream)) => streams.iter().any(|s| s == stream),
                _ => true,
            }
    }
}

/// Where somebody asks to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The HTTP API and pages.
    Api,
    /// RTSP, also inside HTTP.
    Rtsp,
    /// ONVIF's services.
    Onvif,
}

/// Everybody who has a key, and whether one is needed.
#[derive(Clone, Default)]
pub struct Users {
    list: Vec<Rc<User>>,
    doors: [Option<Rc<User>>; 3],
    open: bool,
}

impl Users {
    /// Nobody, and the doors shut.
    pub fn new() -> Users {
        Users::default()
    }

    /// Adds one to the list that serves every door; false if there are too many, the name is empty,
    /// taken, or has a colon or a control character (Basic could not carry it).
    pub fn add(&mut self, user: User) -> bool {
        let sound = !user.name.is_empty() && !user.name.contains(|c: char| c == ':' || c.is_control());
        if !sound || self.list.len() >= USERS || self.list.iter().any(|u| u.name == user.name) {
            return false;
        }
        self.list.push(Rc::new(user));
        true
    }

    /// Sets the user of one door (`api.username`, `api.password`); may do everything there.
    pub fn set_door(&mut self, door: Door, name: &str, password: &str) {
        if let Some(slot) = self.doors.get_mut(door as usize) {
            *slot = Some(Rc::new(User::all_powerful(name, password)));
        }
    }

    /// `open: true`: while a door has no user, everybody may come in by it.
    pub fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Whether everybody may come in by that door.
    pub fn is_open(&self, door: Door) -> bool {
        self.open && !self.is_configured(door)
    }

    /// Whether somebody has a key to that door.
    pub fn is_configured(&self, door: Door) -> bool {
        !self.list.is_empty() || self.door(door).is_some()
    }

    fn door(&self, door: Door) -> Option<&Rc<User>> {
        self.doors.get(door as usize).and_then(Option::as_ref)
    }

    /// Those of that name at that door: the list's, and the door's own.
    pub fn named<'a>(&'a self, door: Door, name: &'a str) -> impl Iterator<Item = &'a Rc<User>> {
        self.list.iter().chain(self.door(door)).filter(move |u| u.name == name)
    }

    /// The list, without the users of single doors.
    pub fn list(&self) -> &[Rc<User>] {
        &self.list
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0u8, |d, (x, y)| d | (x ^ y));
    std::hint::black_box(differ) == 0 && a.len() == b.len()
}

/// Whether `a` and `b` agree in their first `prefix` bits. A network wider than /8 is none.
pub fn same_subnet(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let (a, b, width) = match (a.to_canonical(), b.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), 128),
        _ => return false,
    };
    (8..=width).contains(&prefix) && (a ^ b) >> (width - prefix) == 0
}

/// Whether a visitor may set the admin while nobody is configured: it is at the machine itself, or
/// of the same subnet (`prefix` is that of the address it came in by) soon after the start.
pub fn setup_allowed(peer: Option<IpAddr>, local: Option<(IpAddr, u8)>, uptime: Duration) -> bool {
    match (peer, local) {
        (None, _) => true,
        (Some(peer), _) if peer.to_canonical().is_loopback() => true,
        (Some(peer), Some((local, prefix))) => uptime < SETUP_TIME && same_subnet(peer, local, prefix),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_stand_alone_and_admin_is_all() {
        let viewer = Roles::NONE.with(Role::View);
        assert!(viewer.has(Role::View) && !viewer.has(Role::Talk) && !viewer.has(Role::Admin));
        let admin = Roles::NONE.with(Role::Admin);
        for (name, role) in Role::NAMES {
            assert!(admin.has(role));
            assert_eq!(Role::parse(name), Some(role));
            assert_eq!(role.name(), name);
        }
        assert_eq!(Role::parse("Admin"), None);
    }

    #[test]
    fn a_user_of_one_stream_sees_no_other() {
        let mut user = User::all_powerful("a", "secret");
        user.streams = Some(vec!["door".into()]);
        assert!(user.may(Role::View, Some("door")) && user.may(Role::View, None));
        assert!(!user.may(Role::View, Some("garden")));
        assert!(!User::nobody().may(Role::View, Some("door")));
        assert!(!format!("{user:?}").contains("secret"));
    }

    #[test]
    fn a_door_has_its_own_user_and_open_ends_with_the_first_key() {
        let mut users = Users::new();
        assert!(!users.is_open(Door::Api));
        users.set_open(true);
        users.set_door(Door::Rtsp, "cam", "x");
        assert!(users.is_open(Door::Api) && !users.is_open(Door::Rtsp));
        assert_eq!(users.named(Door::Rtsp, "cam").count(), 1);
        assert_eq!(users.named(Door::Api, "cam").count(), 0);
        assert!(users.add(User::all_powerful("admin", "x")));
        for bad in ["admin", "", "a:b", "a\n"] {
            assert!(!users.add(User::all_powerful(bad, "y")), "{bad:?}");
        }
        assert!(!users.is_open(Door::Api) && users.is_configured(Door::Onvif));
    }

    #[test]
    fn secrets() {
        assert!(same_secret(b"abc", b"abc") && same_secret(b"", b""));
        assert!(!same_secret(b"abc", b"abd") && !same_secret(b"abc", b"ab") && !same_secret(b"", b"a"));
    }

    #[test]
    fn only_a_neighbour_sets_the_admin_and_only_soon() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let soon = Duration::from_secs(60);
        let ours = Some((ip("192.168.1.9"), 24));
        assert!(setup_allowed(Some(ip("192.168.1.77")), ours, soon));
        assert!(setup_allowed(Some(ip("::ffff:192.168.1.77")), ours, soon));
        assert!(!setup_allowed(Some(ip("192.168.2.77")), ours, soon));
        assert!(!setup_allowed(Some(ip("8.8.8.8")), ours, soon));
        assert!(!setup_allowed(Some(ip("192.168.1.77")), ours, SETUP_TIME));
        assert!(!setup_allowed(Some(ip("192.168.1.77")), None, soon));
        assert!(
            !setup_allowed(Some(ip("8.8.8.8")), Some((ip("192.168.1.9"), 0)), soon),
            "no mask is no network"
        );
        assert!(setup_allowed(Some(ip("fe80::1")), Some((ip("fe80::2"), 64)), soon));
        assert!(!setup_allowed(Some(ip("fd00:0:0:1::1")), Some((ip("fd00::2"), 64)), soon));
        assert!(
            setup_allowed(None, None, SETUP_TIME) && setup_allowed(Some(ip("127.0.0.1")), None, SETUP_TIME)
        );
        assert!(same_subnet(ip("10.0.0.1"), ip("10.0.0.1"), 32) && same_subnet(ip("::1"), ip("::1"), 128));
    }
}
