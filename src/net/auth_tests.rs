//! Keys that fit, keys that do not, and keys that were stolen.
use super::*;
use crate::net::base64;
use crate::net::users::Roles;

const DAY: Duration = Duration::from_secs(86_400);

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn keeper() -> Authenticator {
    let mut users = Users::new();
    let roles = Roles::NONE.with(crate::net::users::Role::View);
    assert!(users.add(User { name: "ann".into(), password: "päss:1".into(), roles, streams: None }));
    users.set_door(Door::Rtsp, "cam", "rtsp-only");
    Authenticator::new([7; 32], users)
}

fn at(seconds: u64) -> Time {
    Time::ZERO + DAY + Duration::from_secs(seconds)
}

fn try_key(keeper: &Authenticator, key: Option<&str>, from: &str, now: Time) -> Verdict {
    let attempt = Attempt {
        door: Door::Api,
        method: "GET",
        uri: "/api?x=1",
        authorization: key,
        address: ip(from),
        local: false,
    };
    keeper.check(&attempt, now)
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", base64::encode(format!("{name}:{password}").as_bytes()))
}

fn nonce_of(challenge: &str) -> String {
    challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn answer(nonce: &str, password: &str, nc: u32, algorithm: Algorithm) -> String {
    let a = Answer {
        username: "ann".into(),
        realm: REALM.into(),
        nonce: nonce.into(),
        uri: "/api?x=1".into(),
        cnonce: "c".into(),
        qop: if nc > 0 { "auth".into() } else { String::new() },
        nc: format!("{nc:08x}"),
        ..Answer::default()
    };
    let response = a.expected(algorithm, "GET", password);
    let tail = if nc > 0 { format!(", qop=auth, cnonce=\"c\", nc={nc:08x}") } else { String::new() };
    format!(
        "Digest username=\"ann\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"/api?x=1\", response=\"{response}\"{tail}"
    )
}

fn allowed(v: &Verdict) -> bool {
    matches!(v, Verdict::Allowed(_))
}

const STALE: Verdict = Verdict::Denied { stale: true, tried: true };
const WRONG: Verdict = Verdict::Denied { stale: false, tried: true };

#[test]
fn basic_lets_in_who_has_the_password_and_only_by_that_door() {
    let k = keeper();
    let Verdict::Allowed(user) = try_key(&k, Some(&basic("ann", "päss:1")), "10.0.0.1", at(0)) else {
        panic!()
    };
    assert_eq!(user.name, "ann");
    assert_eq!(try_key(&k, None, "10.0.0.1", at(0)), Verdict::Denied { stale: false, tried: false });
    assert_eq!(try_key(&k, Some(&basic("ann", "päss:")), "10.0.0.1", at(0)), WRONG);
    assert_eq!(try_key(&k, Some(&basic("cam", "rtsp-only")), "10.0.0.1", at(0)), WRONG);
    assert_eq!(try_key(&k, Some("Bearer x"), "10.0.0.1", at(0)), WRONG);
}

#[test]
fn digest_from_challenge_to_expiry() {
    let k = keeper();
    k.set_offer(Door::Api, Offer { basic: true, sha256: true, qop: true });
    let challenges = k.challenges(Door::Api, ip("10.0.0.1"), false, at(0));
    assert_eq!(challenges.len(), 3);
    assert!(challenges[2].starts_with("Basic "));
    for (challenge, algorithm) in challenges.iter().zip([Algorithm::Sha256, Algorithm::Md5]) {
        let n = nonce_of(challenge);
        assert!(challenge.contains(algorithm.name()));
        let key = answer(&n, "päss:1", 1, algorithm);
        assert!(allowed(&try_key(&k, Some(&key), "10.0.0.1", at(1))), "the hash is the nonce's, unsaid");
        assert_eq!(try_key(&k, Some(&key), "10.0.0.1", at(1)), STALE, "overheard and sent again");
        assert!(allowed(&try_key(&k, Some(&answer(&n, "päss:1", 3, algorithm)), "10.0.0.1", at(1))));
        assert!(
            allowed(&try_key(&k, Some(&answer(&n, "päss:1", 2, algorithm)), "10.0.0.1", at(1))),
            "overtaken"
        );
        assert_eq!(try_key(&k, Some(&answer(&n, "päss:1", 3, algorithm)), "10.0.0.1", at(1)), STALE);
        assert!(allowed(&try_key(&k, Some(&answer(&n, "päss:1", 500, algorithm)), "10.0.0.1", at(1))));
        assert_eq!(try_key(&k, Some(&answer(&n, "päss:1", 400, algorithm)), "10.0.0.1", at(1)), STALE);
        assert!(
            allowed(&try_key(&k, Some(&answer(&n, "päss:1", 0, algorithm)), "10.0.0.1", at(300))),
            "short form"
        );
        assert_eq!(try_key(&k, Some(&answer(&n, "päss:1", 501, algorithm)), "10.0.0.1", at(301)), STALE);
        assert_eq!(
            try_key(&k, Some(&answer(&n, "päss:1", 501, algorithm)), "10.0.0.2", at(2)),
            STALE,
            "stolen"
        );
        assert_eq!(try_key(&k, Some(&answer(&n, "wrong", 502, algorithm)), "10.0.0.9", at(2)), WRONG);
    }
    assert_eq!(try_key(&k, Some(&answer("made up", "päss:1", 1, Algorithm::Md5)), "10.0.0.1", at(1)), STALE);
    let again = k.challenges(Door::Api, ip("10.0.0.1"), true, at(400));
    assert!(again[0].contains("stale=true") && nonce_of(&again[0]) != nonce_of(&challenges[0]));
    // Two failures, both from the one who had the wrong password: stale never counts as wrong.
    let counts: Vec<u32> = k.failures.borrow().iter().map(|f| f.count).collect();
    assert_eq!(counts, [2, 1]);
}

#[test]
fn an_answer_for_another_request_or_door_is_none() {
    let k = keeper();
    let n = nonce_of(&k.challenges(Door::Api, ip("10.0.0.1"), false, at(0))[0]);
    let key = answer(&n, "päss:1", 1, Algorithm::Md5);
    let attempt = |door, method, uri| {
        k.check(
            &Attempt { door, method, uri, authorization: Some(&key), address: ip("10.0.0.1"), local: false },
            at(1),
        )
    };
    assert_eq!(attempt(Door::Api, "POST", "/api?x=1"), WRONG);
    assert_eq!(attempt(Door::Api, "GET", "/api?x=2"), WRONG);
    assert_eq!(attempt(Door::Onvif, "GET", "/api?x=1"), STALE);
    assert!(allowed(&attempt(Door::Api, "GET", "http://host:1984/api?x=1")));
}

#[test]
fn the_counters_of_few_nonces_are_kept_and_the_rest_is_stale() {
    let k = keeper();
    let nonces: Vec<String> =
        (0..200).map(|_| nonce_of(&k.challenges(Door::Api, ip("10.0.0.1"), false, at(0))[0])).collect();
    for n in &nonces {
        assert!(allowed(&try_key(&k, Some(&answer(n, "päss:1", 1, Algorithm::Md5)), "10.0.0.1", at(1))));
    }
    assert_eq!(k.used.borrow().len(), NONCES);
    for n in &nonces {
        assert_eq!(try_key(&k, Some(&answer(n, "päss:1", 1, Algorithm::Md5)), "10.0.0.1", at(2)), STALE);
    }
}

#[test]
fn guessing_is_slow_for_the_guesser_alone() {
    let k = keeper();
    let (wrong, right) = (basic("ann", "x"), basic("ann", "päss:1"));
    for _ in 0..4 {
        assert_eq!(try_key(&k, Some(&wrong), "10.0.0.1", at(0)), WRONG);
    }
    assert!(allowed(&try_key(&k, Some(&right), "10.0.0.1", at(0))), "a few typing errors cost nothing");
    for _ in 0..5 {
        assert_eq!(try_key(&k, Some(&wrong), "10.0.0.1", at(0)), WRONG);
    }
    assert_eq!(try_key(&k, Some(&right), "10.0.0.1", at(0)), Verdict::Slow(at(1)));
    assert!(allowed(&try_key(&k, Some(&right), "10.0.0.2", at(0))), "another address does not notice");
    let mut now = at(0);
    let mut tries = 0;
    while now < at(3600) {
        match try_key(&k, Some(&wrong), "10.0.0.1", now) {
            Verdict::Slow(until) => {
                assert!(until.since(now) <= FAILURE_DELAY);
                now = until;
            }
            v => {
                assert_eq!(v, WRONG);
                tries += 1;
            }
        }
    }
    assert!(tries < 130, "{tries} guesses in an hour");
    assert!(allowed(&try_key(&k, Some(&right), "10.0.0.1", at(3700))), "and it ends");
}

#[test]
fn guessing_names_is_slow_too_and_bounded() {
    let k = keeper();
    let mut slow = 0;
    for i in 0..1000 {
        let v = try_key(&k, Some(&basic(&format!("user{i}"), "x")), "10.0.0.1", at(0));
        slow += u32::from(matches!(v, Verdict::Slow(_)));
    }
    assert!(slow > 960);
    for i in 0..1000 {
        try_key(&k, Some(&basic("ann", "x")), &format!("10.1.{}.{}", i / 250, i % 250), at(0));
    }
    assert_eq!(k.failures.borrow().len(), FAILURES);
    // A /64 is one address: nobody gets more tries by owning many.
    for i in 0..5 {
        try_key(&k, Some(&basic("ann", "x")), &format!("2001:db8::{i}"), at(0));
    }
    assert!(matches!(try_key(&k, Some(&basic("ann", "x")), "2001:db8::99", at(0)), Verdict::Slow(_)));
}

#[test]
fn at_home_open_and_shut() {
    let k = keeper();
    let attempt = |door, local| Attempt {
        door,
        method: "GET",
        uri: "/",
        authorization: None,
        address: ip("127.0.0.1"),
        local,
    };
    assert!(allowed(&k.check(&attempt(Door::Api, true), at(0))));
    k.set_local_auth(true);
    assert!(!allowed(&k.check(&attempt(Door::Api, true), at(0))));
    let mut users = Users::new();
    k.set_users(users.clone());
    assert_eq!(k.check(&attempt(Door::Api, false), at(0)), Verdict::Shut);
    users.set_open(true);
    k.set_users(users.clone());
    assert!(allowed(&k.check(&attempt(Door::Api, false), at(0))));
    users.add(User::all_powerful("admin", "x"));
    k.set_users(users);
    assert!(!allowed(&k.check(&attempt(Door::Api, false), at(0))), "a key shuts an open door");
}

#[test]
fn rtsp_clients_sign_odd_addresses() {
    for (signed, asked) in [
        ("rtsp://a/door", "rtsp://a:8554/door/trackID=0"),
        ("/door", "rtsp://a/door"),
        ("rtsp://a/door/", "rtsp://a/door"),
        ("rtsp://a/door", "rtsp://a/door/"),
        ("rtsp://a/door", "rtsp://a/door?video"),
        ("rtsp://a", "rtsp://a/"),
    ] {
        assert!(same_target(Door::Rtsp, signed, asked), "{signed} for {asked}");
    }
    for (signed, asked) in [("/door", "/doors"), ("/", "/door"), ("", "/door"), ("/door/a", "/door")] {
        assert!(!same_target(Door::Rtsp, signed, asked), "{signed} for {asked}");
    }
    let k = keeper();
    let challenge = k.challenges(Door::Rtsp, ip("10.0.0.1"), false, at(0));
    assert_eq!(challenge.len(), 1, "one challenge in the short form suits every RTSP client");
    assert!(!challenge[0].contains("qop") && !challenge[0].contains("algorithm"));
}
