//! The server over real sockets, with limits short enough to watch them pass. Clients are blocking
//! threads; nothing here depends on how fast they are.
use super::*;
use crate::media::Time;
use crate::net::http::{Access, Group, Method, Route, client, handler, now};
use crate::net::users::Door;
use crate::net::users::{User, Users};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{JoinHandle, spawn};

const BIG: usize = 3_000_000;

fn clock() -> Time {
    Time::ZERO + Duration::from_secs(1_000_000)
}

fn routes(router: &Rc<Router>) -> Group {
    let g = router.group();
    g.on(Method::Get, "/hi", Access::Open, now(|_| Response::text("hello")));
    g.on(
        Method::Post,
        "/echo",
        Access::Open,
        handler(|r: Request| async move { Response::bytes("x/y", r.body) }),
    );
    g.on(Method::Get, "/digits", Access::Open, now(|_| Response::bytes("x/y", &b"0123456789"[..])));
    g.on(Method::Get, "/big", Access::Open, now(|_| Response::bytes("x/y", vec![7; BIG])));
    g.on(
        Method::Get,
        "/stream",
        Access::Open,
        now(|_| {
            Response::stream("x/y", |mut w| async move {
                for i in 0..3u8 {
                    if !w.push(&[b"part", &[b'0' + i], b""])? {
                        w.flush().await?;
                    }
                }
                w.write(&[b'x'; 200_000]).await
            })
        }),
    );
    g.on(
        Method::Get,
        "/cut",
        Access::Open,
        now(|_| {
            Response::stream("x/y", |mut w| async move {
                w.write(b"some").await?;
                Err(ErrorKind::Other.into())
            })
        }),
    );
    g.on(
        Method::Get,
        "/upgrade",
        Access::Open,
        now(|_| {
            Response::upgrade("echo", |t| async move {
                let mut got = t.unread.clone();
                let mut buf = [0; 64];
                while got.len() < 8 {
                    let n = t.socket().read(&mut buf).await.unwrap_or(0);
                    got.extend_from_slice(&buf[..n]);
                }
                t.socket().try_write(&[IoSlice::new(&got)]).unwrap();
            })
        }),
    );
    g.add(
        Route::new(
            Method::Post,
            "/push",
            Access::Open,
            now(|_| {
                Response::take_over(|mut t| async move {
                    let mut all = Vec::new();
                    while t.read_body(&mut all).await.unwrap_or(0) > 0 {}
                    t.socket().try_write(&[IoSlice::new(&all)]).unwrap();
                })
            }),
        )
        .unread_body(),
    );
    g.on(
        Method::Get,
        "/secret",
        Access::Role(crate::net::users::Role::View),
        now(|r| Response::text(r.user.name.clone())),
    );
    g.on(
        Method::Post,
        "/secret",
        Access::Role(crate::net::users::Role::View),
        handler(|r: Request| async move { Response::bytes("x/y", r.body) }),
    );
    g
}

/// Runs a server until `test`, in a thread, is done with it.
fn with_server<T: Send + 'static>(
    limits: Limits,
    test: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> (T, Stats) {
    let executor = Rc::new(LocalExecutor::new());
    let router = Router::new();
    let _routes = routes(&router);
    let mut users = Users::new();
    users.add(User::all_powerful("ann", "pw"));
    let keeper = Rc::new(Authenticator::new([3; 32], users));
    keeper.set_local_auth(true);
    let settings = Settings { door: Door::Api, trusted: false, clock, started: clock(), limits };
    let server = Server::new(executor.clone(), router, keeper, settings);
    let listener = Listener::tcp("127.0.0.1:0").unwrap();
    let address = listener.local_address().unwrap();
    let _listening = server.serve(listener);
    let thread: JoinHandle<T> = spawn(move || test(address));
    let guard = Instant::now();
    crate::net::reactor::block_on(executor.run(async {
        while !thread.is_finished() {
            Timer::after(Duration::from_millis(2)).await;
            assert!(guard.elapsed() < Duration::from_secs(120), "stuck");
        }
    }));
    (thread.join().unwrap(), server.stats())
}

fn connect(a: SocketAddr) -> TcpStream {
    let s = TcpStream::connect(a).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    s
}

fn say(a: SocketAddr, text: &str) -> String {
    let mut s = connect(a);
    s.write_all(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    let _ = s.read_to_end(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

const CLOSE: &str = "Connection: close\r\n";

#[test]
fn many_requests_at_once_are_answered_in_order() {
    let (out, stats) = with_server(Limits::default(), |a| {
        let mut all = String::new();
        for i in 0..50 {
            all += &format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nn{i:03}");
            all += &format!(
                "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nc{}\r\n0\r\nX: y\r\n\r\n",
                i % 10
            );
        }
        say(a, &(all + &get("/hi", CLOSE)))
    });
    assert_eq!(out.matches("HTTP/1.1 200 OK").count(), 101);
    let at = |t: &str| out.find(t).unwrap();
    assert!(at("n000") < at("c0HTTP") && at("n001") < at("n049") && out.ends_with("hello"));
    assert_eq!((stats.requests, stats.accepted), (101, 1));
}

#[test]
fn ranges_heads_streams_and_errors() {
    with_server(Limits::default(), |a| {
        let r = say(a, &get("/digits", "Range: bytes=2-4\r\nConnection: close\r\n"));
        assert!(
            r.starts_with("HTTP/1.1 206 ")
                && r.contains("Content-Range: bytes 2-4/10\r\n")
                && r.ends_with("\r\n\r\n234")
        );
        let r = say(a, &get("/digits", "Range: bytes=10-\r\nConnection: close\r\n"));
        assert!(r.starts_with("HTTP/1.1 416 ") && r.contains("Content-Range: bytes */10\r\n"));
        let r = say(a, &get("/digits", CLOSE).replace("GET", "HEAD"));
        assert!(r.contains("Content-Length: 10\r\n") && r.ends_with("\r\n\r\n"));
        let r = say(a, &get("/stream", CLOSE));
        assert!(r.contains("Transfer-Encoding: chunked\r\n") && r.contains("5\r\npart0\r\n5\r\npart1\r\n"));
        assert!(r.contains("\r\n30d40\r\nxxx") && r.ends_with("xxx\r\n0\r\n\r\n"));
        let r = say(a, &get("/stream", CLOSE).replace("HTTP/1.1", "HTTP/1.0"));
        assert!(!r.contains("chunked") && r.contains("\r\n\r\npart0part1part2xxx") && r.ends_with('x'));
        let r = say(a, &get("/cut", ""));
        assert!(r.ends_with("4\r\nsome\r\n"), "a body that failed does not look whole");
        let r = say(
            a,
            &get("/hi", "").replace("GET", "PUT").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
        );
        assert!(r.starts_with("HTTP/1.1 405 ") && r.contains("Allow: OPTIONS, GET, HEAD\r\n"));
        assert!(say(a, &get("/none", CLOSE)).starts_with("HTTP/1.1 404 "));
        assert!(say(a, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 501 "));
        assert!(say(a, "GET / HTTP/3.0\r\n\r\n").starts_with("HTTP/1.1 505 "));
        assert!(say(a, "\x16\x03\x01\x02").starts_with("HTTP/1.1 400 "));
        let r = say(a, "GET /hi HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /hi HTTP/1.0\r\n\r\n");
        assert!(r.matches("hello").count() == 2 && r.contains("Connection: keep-alive"));
        let r = say(a, &format!("{}12345678", get("/upgrade", "Connection: Upgrade\r\nUpgrade: echo\r\n")));
        assert!(
            r.starts_with("HTTP/1.1 101 ")
                && r.contains("Upgrade: echo\r\nX-")
                && r.ends_with("\r\n\r\n12345678")
        );
        let r = say(
            a,
            "POST /push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        );
        assert_eq!(r, "abcde");
    });
}

#[test]
fn bodies_beyond_their_bound_and_expectations() {
    with_server(Limits::default(), |a| {
        let r =
            say(a, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n");
        assert!(r.starts_with("HTTP/1.1 413 "));
        let chunks = "8000\r\n".to_string() + &"x".repeat(0x8000) + "\r\n";
        let r = say(
            a,
            &("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_string()
                + &chunks.repeat(3)),
        );
        assert!(r.starts_with("HTTP/1.1 413 "), "{r}");
        let mut s = connect(a);
        s.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n").unwrap();
        let mut first = [0; 25];
        s.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
        s.write_all(b"ok").unwrap();
        let mut rest = String::new();
        s.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\r\n\r\nok"));
        let r = say(a, "GET /hi HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n");
        assert!(r.starts_with("HTTP/1.1 417 "));
        // A refused request with a body keeps its connection for the client's second try.
        let wrong = "POST /secret HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
        let right = "POST /secret HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YW5uOnB3\r\nConnection: close\r\nContent-Length: 5\r\n\r\nagain";
        let r = say(a, &format!("{wrong}{right}"));
        assert!(
            r.starts_with("HTTP/1.1 401 ") && r.contains("WWW-Authenticate: Digest ") && r.ends_with("again")
        );
    });
}

#[test]
fn a_hundred_stuck_clients_beside_a_good_one() {
    let limits = Limits { connections: 110, connections_peer: 110, ..Limits::default() };
    let ((), stats) = with_server(limits, |a| {
        let mut stuck = Vec::new();
        for i in 0..100 {
            let mut s = connect(a);
            let text = match i % 4 {
                0 => String::new(),
                1 => "GET /hi HT".into(),
                2 => "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nhalf".into(),
                _ => get("/big", ""),
            };
            s.write_all(text.as_bytes()).unwrap();
            stuck.push(s);
        }
        for _ in 0..20 {
            let answer = client::tcp(&a.to_string(), "GET", "/hi", b"").unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
        }
        let big = client::tcp(&a.to_string(), "GET", "/big", b"").unwrap();
        assert_eq!(big.body.len(), BIG);
        // More than fit: the longest idle ones make room for the good.
        for _ in 0..50 {
            stuck.push(connect(a));
        }
        assert_eq!(client::tcp(&a.to_string(), "GET", "/hi", b"").unwrap().status, 200);
    });
    assert!(stats.crowded >= 40, "{stats:?}");
}

#[test]
fn the_slow_run_out_of_time() {
    let short = Duration::from_millis(60);
    let limits = Limits {
        head_time: short,
        body_time: short,
        idle_time: short,
        write_time: short,
        linger_time: short,
        ..Limits::default()
    };
    let (_, stats) = with_server(limits, |a| {
        assert_eq!(say(a, ""), "", "silence is answered with silence");
        assert!(say(a, "GET /hi HTTP/1.1\r\nHos").starts_with("HTTP/1.1 408 "));
        assert!(
            say(a, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
                .starts_with("HTTP/1.1 408 ")
        );
        let r = say(a, &get("/hi", ""));
        assert!(r.ends_with("hello"), "kept until it is idle, then closed without a word: {r}");
        // One byte at a time does not stretch the time.
        let mut s = connect(a);
        let mut answer = Vec::new();
        for c in get("/hi", &"X: y\r\n".repeat(60)).bytes().cycle() {
            if s.write_all(&[c]).is_err() {
                break;
            }
            s.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            let mut buf = [0; 512];
            match s.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&buf[..n]),
                Err(_) => {}
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 408 "));
        // One that asks for much and reads nothing is cut off.
        let mut s = connect(a);
        s.write_all(get("/big", "").repeat(4).as_bytes()).unwrap();
        crate::net::reactor::block_on(Timer::after(Duration::from_millis(1500)));
        let mut out = Vec::new();
        let _ = s.read_to_end(&mut out);
        assert!(out.len() < 4 * BIG);
    });
    assert!(stats.refused >= 3);
}

#[test]
fn the_control_socket_trusts_whoever_may_open_it() {
    let path = std::env::temp_dir().join(format!("streamd-http-{}", std::process::id()));
    let executor = Rc::new(LocalExecutor::new());
    let router = Router::new();
    let _routes = routes(&router);
    let keeper = Rc::new(Authenticator::new([3; 32], Users::new()));
    let settings =
        Settings { door: Door::Api, trusted: true, clock, started: clock(), limits: Limits::default() };
    let server = Server::new(executor.clone(), router, keeper, settings);
    let listening = server.serve(Listener::unix(&path).unwrap());
    let thread = {
        let path = path.clone();
        spawn(move || {
            let answer = client::unix(&path, "GET", "/secret", b"").unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"local"[..]));
            assert_eq!(client::unix(&path, "POST", "/echo", b"123").unwrap().body, b"123");
            assert!(client::unix(&path, "GET", "/a b", b"").is_err());
            assert_eq!(client::unix(&path, "GET", "/stream", b"").unwrap().body.len(), 200_015);
        })
    };
    crate::net::reactor::block_on(executor.run(async {
        while !thread.is_finished() {
            Timer::after(Duration::from_millis(2)).await;
        }
    }));
    thread.join().unwrap();
    drop(listening);
    while executor.try_tick() {}
    assert!(!path.exists(), "the file goes with its listener");
}
