//! Who gets through which door.
use super::super::router::now as at_once;
use super::super::server::Limits;
use super::*;
use crate::net::users::{Door, Roles, Users};
use std::time::Duration;

struct House {
    gate: Gate,
    _routes: super::super::router::Group,
}

fn house(users: Users) -> House {
    let router = Router::new();
    let routes = router.group();
    let ok = || at_once(|_| Response::empty(204));
    routes.on(Method::Get, "/open", Access::Open, ok());
    routes.on(Method::Post, "/setup", Access::Setup, ok());
    routes.on(Method::Get, "/api", Access::Role(Role::View), ok());
    routes.on(Method::Post, "/api", Access::Role(Role::Control), ok());
    let keeper = Rc::new(Authenticator::new([1; 32], users));
    let settings = Settings {
        door: Door::Api,
        trusted: false,
        clock: || Time::ZERO,
        started: Time::ZERO,
        limits: Limits::default(),
    };
    House { gate: Gate::new(router, keeper, settings), _routes: routes }
}

fn viewer() -> Users {
    let mut users = Users::new();
    users.add(User {
        name: "v".into(),
        password: "p".into(),
        roles: Roles::NONE.with(Role::View),
        streams: None,
    });
    users
}

const AUTH: &str = "Authorization: Basic djpw\r\n";

fn ask_at(h: &House, line: &str, fields: &str, from: &str, now: Time) -> Response {
    let host = if fields.starts_with("Host:") { "" } else { "Host: 192.168.1.9:1984\r\n" };
    let head = Head::parse(format!("{line} HTTP/1.1\r\n{host}{fields}\r\n").as_bytes()).unwrap();
    let peer = Peer {
        remote: from.parse().ok().map(|ip: IpAddr| (ip, 5000).into()),
        local: from.parse().ok().map(|ip: IpAddr| (ip, 1984).into()),
    };
    match h.gate.admit(&head, &peer, now) {
        Ok(_) => Response::empty(200),
        Err(response) => response,
    }
}

fn ask(h: &House, line: &str, fields: &str, from: &str) -> u16 {
    ask_at(h, line, fields, from, Time::ZERO).status
}

#[test]
fn a_role_opens_its_routes_and_no_other() {
    let h = house(viewer());
    assert_eq!(ask(&h, "GET /api", "", "10.0.0.1"), 401);
    assert_eq!(ask(&h, "GET /api", AUTH, "10.0.0.1"), 200);
    assert_eq!(ask(&h, "HEAD /api", AUTH, "10.0.0.1"), 200);
    assert_eq!(ask(&h, "POST /api", AUTH, "10.0.0.1"), 403);
    assert_eq!(ask(&h, "DELETE /api", AUTH, "10.0.0.1"), 405);
    assert_eq!(ask(&h, "GET /nothing", AUTH, "10.0.0.1"), 404);
    assert_eq!(ask(&h, "GET /open", "", "10.0.0.1"), 200);
    assert_eq!(
        ask(&h, "POST /setup", AUTH, "10.0.0.1"),
        403,
        "once there is a user, setting up is an admin's"
    );
    let challenge = ask_at(&h, "GET /api", "", "10.0.0.1", Time::ZERO);
    let names: Vec<_> =
        challenge.headers.iter().filter(|(n, _)| *n == "WWW-Authenticate").map(|(_, v)| &v[..6]).collect();
    assert_eq!(names, ["Digest", "Basic "]);
}

#[test]
fn a_proxy_on_this_machine_does_not_make_everybody_local() {
    let h = house(viewer());
    assert_eq!(ask(&h, "GET /api", "", "127.0.0.1"), 200);
    assert_eq!(ask(&h, "GET /api", "", "::1"), 200);
    assert_eq!(ask(&h, "GET /api", "", "a unix socket"), 200);
    for fields in [
        "X-Forwarded-For: 8.8.8.8\r\n",
        "Forwarded: for=8.8.8.8\r\n",
        "X-Real-IP: 8.8.8.8\r\n",
        "Via: 1.1 p\r\n",
    ] {
        assert_eq!(ask(&h, "GET /api", fields, "127.0.0.1"), 401, "{fields}");
        assert_eq!(ask(&h, "GET /api", fields, "a unix socket"), 401, "{fields}");
    }
    assert_eq!(ask(&h, "GET /api", "Host: evil.com\r\n", "127.0.0.1"), 401, "a rebound name");
    assert_eq!(ask(&h, "GET /api", "X-Forwarded-For: 127.0.0.1\r\n", "10.0.0.1"), 401);
}

#[test]
fn while_nobody_has_a_key_only_a_neighbour_may_set_one() {
    let h = house(Users::new());
    assert_eq!(ask(&h, "GET /api", "", "10.0.0.1"), 403);
    assert_eq!(ask(&h, "GET /open", "", "10.0.0.1"), 200);
    assert_eq!(ask(&h, "POST /setup", "", "10.254.254.254"), 403, "no interface of ours has that network");
    h.gate.keeper.set_local_auth(true);
    assert_eq!(ask(&h, "POST /setup", "", "127.0.0.1"), 200);
    assert_eq!(ask(&h, "POST /setup", "Host: evil.com\r\n", "127.0.0.1"), 403);
    assert_eq!(ask(&h, "POST /setup", "X-Forwarded-For: 8.8.8.8\r\n", "127.0.0.1"), 403);
    assert_eq!(ask(&h, "GET /api", "", "127.0.0.1"), 403);
}

#[test]
fn guessing_gets_a_time_to_wait() {
    let h = house(viewer());
    let now = Time::ZERO + Duration::from_secs(100);
    for _ in 0..5 {
        assert_eq!(ask_at(&h, "GET /api", "Authorization: Basic djp4\r\n", "10.0.0.1", now).status, 401);
    }
    let slow = ask_at(&h, "GET /api", AUTH, "10.0.0.1", now);
    assert_eq!(slow.status, 429);
    assert!(slow.headers.iter().any(|(n, v)| *n == "Retry-After" && v == "2"));
    assert_eq!(ask_at(&h, "GET /api", AUTH, "10.0.0.2", now).status, 200);
}

#[test]
fn a_page_of_another_site_controls_nothing() {
    let h = house({
        let mut users = Users::new();
        users.set_open(true);
        users
    });
    let post = |fields: &str| ask(&h, "POST /api", fields, "10.0.0.1");
    assert_eq!(post(""), 200, "no browser, no page");
    assert_eq!(post("Origin: http://192.168.1.9\r\n"), 200, "our own page");
    assert_eq!(post("Host: CAM.local:1984\r\nOrigin: https://cam.local\r\n"), 200);
    assert_eq!(post("Host: [fe80::1]:1984\r\nOrigin: http://[fe80::1]:1984\r\n"), 200);
    assert_eq!(post("Origin: https://cam.example.org\r\nX-Forwarded-Host: cam.example.org\r\n"), 200);
    for fields in [
        "Origin: http://evil.com\r\n",
        "Origin: null\r\n",
        "Origin:\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: http://192.168.1.9.evil.com\r\n",
        "Origin: http://192.168.1.9\r\nOrigin: http://evil.com\r\n",
    ] {
        assert_eq!(post(fields), 403, "{fields}");
    }
    assert_eq!(ask(&h, "GET /api", "Origin: http://evil.com\r\n", "10.0.0.1"), 200);
    let ws = "Origin: http://evil.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(ask(&h, "GET /api", ws, "10.0.0.1"), 403);
    assert_eq!(ask(&h, "OPTIONS /api", "Origin: http://evil.com\r\n", "10.0.0.1"), 204);
    h.gate.any_origin.set(true);
    assert_eq!(post("Origin: http://evil.com\r\n"), 200);
    let preflight = "Origin: http://evil.com\r\nAccess-Control-Request-Method: POST\r\n";
    let answer = ask_at(&h, "OPTIONS /api", preflight, "10.0.0.1", Time::ZERO);
    assert!(answer.headers.iter().any(|(n, v)| *n == "Access-Control-Allow-Methods" && v.contains("POST")));
}

#[test]
fn names_that_no_stranger_can_own() {
    for own in [
        "",
        "localhost:1984",
        "127.0.0.1",
        "192.168.1.9:80",
        "[fe80::1]:80",
        "cam",
        "cam.local:1984",
        "cam.lan",
    ] {
        assert!(own_name(own), "{own}");
    }
    for foreign in ["evil.com", "evil.com:1984", "127.0.0.1.evil.com", "local.com", "[evil.com]"] {
        assert!(!own_name(foreign), "{foreign}");
    }
}
