//! Names of hosts to addresses, as the system's files say: /etc/hosts first, then the servers of
//! /etc/resolv.conf, asked by UDP for IPv4 and IPv6 at once. It waits on the loop and needs no thread;
//! the libc's own resolver would take 25 KB of flash for the same answer, and a thread that waits.
//!
//! Text of files, a name and bytes from servers go in, a few addresses come out. It keeps nothing: a
//! name is looked up again for each connection, as names of cameras move. No mDNS, no TCP: of an answer
//! that was cut the part that came is used.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::quoted::io_error;
use super::reactor::{Async, Timer};
use futures_lite::future;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Addresses of one name that are kept.
pub const ADDRESSES: usize = 8;
/// Servers that are asked, as everywhere.
const SERVERS: usize = 3;
/// Endings that are tried behind a short name.
const SEARCHED: usize = 6;
/// Bytes read of each file.
const FILE: u64 = 64 * 1024;
/// Longest name that fits into a question.
const LONGEST: usize = 253;
/// A question or an answer without extensions.
const DATAGRAM: usize = 512;

/// Where and how names are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lines of /etc/hosts.
    pub hosts: String,
    /// Servers in order.
    pub servers: Vec<SocketAddr>,
    /// Endings for names with few dots.
    pub search: Vec<String>,
    /// A name with so many dots is tried as it is first.
    pub dots: usize,
    /// How long one round of questions waits.
    pub wait: Duration,
    /// Rounds.
    pub rounds: u32,
}

fn file(path: &str) -> String {
    let mut text = Vec::new();
    // A file that is not there says nothing.
    let _ = File::open(path).and_then(|file| file.take(FILE).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

impl Settings {
    /// What the system's files say now.
    pub fn of_system() -> Settings {
        Settings::read(file("/etc/hosts"), &file("/etc/resolv.conf"))
    }

    /// Reads the two files' texts.
    pub fn read(hosts: String, resolv: &str) -> Settings {
        let mut found = Settings {
            hosts,
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            wait: Duration::from_secs(5),
            rounds: 2,
        };
        for line in resolv.lines() {
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    if let Some(server) = words.next().and_then(server)
                        && found.servers.len() < SERVERS
                    {
                        found.servers.push(server);
                    }
                }
                Some("search" | "domain") => {
                    found.search.clear();
                    for word in words.take(SEARCHED) {
                        found.search.push(word.to_owned());
                    }
                }
                Some("options") => words.for_each(|word| found.option(word)),
                _ => {}
            }
        }
        if found.servers.is_empty() {
            found.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        found
    }

    fn option(&mut self, word: &str) {
        let Some((key, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match key {
            "ndots" => self.dots = value.min(15) as usize,
            "timeout" => self.wait = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.rounds = value.clamp(1, 5),
            _ => {}
        }
    }

    /// Full names to ask for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let mut list = Vec::new();
        for end in &self.search {
            list.push([name, ".", end.trim_matches('.')].concat());
        }
        let has_dots = name.bytes().filter(|b| *b == b'.').count() >= self.dots;
        list.insert(if has_dots { 0 } else { list.len() }, name.to_owned());
        list
    }

    /// Addresses that /etc/hosts gives a name.
    fn listed(&self, name: &str) -> Vec<IpAddr> {
        let name = name.trim_end_matches('.');
        let mut found = Vec::new();
        for line in self.hosts.lines() {
            let line = line.split('#').next().unwrap_or("");
            let mut words = line.split_ascii_whitespace();
            if let Some(Ok(address)) = words.next().map(str::parse)
                && words.any(|word| word.eq_ignore_ascii_case(name))
                && found.len() < ADDRESSES
            {
                found.push(address);
            }
        }
        if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
            found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        found
    }
}

const PORT: u16 = 53;

/// `192.0.2.1`, `fe80::1` or `fe80::1%2` (a number; names of interfaces are not known here).
fn server(word: &str) -> Option<SocketAddr> {
    let (address, scope) = word.split_once('%').unwrap_or((word, "0"));
    let mut found = SocketAddr::new(address.parse().ok()?, PORT);
    if let SocketAddr::V6(v6) = &mut found {
        v6.set_scope_id(scope.parse().ok()?);
    }
    Some(found)
}

/// The addresses of a host; at least one. `random` makes questions that nobody else can answer.
pub async fn look_up(host: &str, settings: &Settings, random: [u8; 4]) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host.is_empty() || host.len() > LONGEST || host.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(io_error(io::ErrorKind::InvalidInput, "this is not a host's name"));
    }
    let mut found = settings.listed(host);
    let mut silent = false;
    for name in settings.candidates(host) {
        if !found.is_empty() {
            break;
        }
        match ask(&name, settings, random).await {
            Ok(addresses) => found = addresses,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => silent = true,
            Err(error) => return Err(error),
        }
    }
    if found.is_empty() {
        return Err(if silent {
            io_error(io::ErrorKind::TimedOut, "no name server answers")
        } else {
            io_error(io::ErrorKind::NotFound, "no such host")
        });
    }
    // IPv6 first, where there is a way to it.
    let first = found.iter().copied().find(IpAddr::is_ipv6);
    let way = |to| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?.connect(SocketAddr::new(to, PORT));
    let prefer = first.is_some_and(|to| way(to).is_ok());
    let mut sorted = Vec::new();
    for v6 in [prefer, !prefer] {
        sorted.extend(found.iter().filter(|a| a.is_ipv6() == v6));
    }
    Ok(sorted)
}

/// Asks all servers for one full name; no address and no error if there is no such name.
async fn ask(name: &str, settings: &Settings, random: [u8; 4]) -> io::Result<Vec<IpAddr>> {
    let [a, b, c, d] = random;
    // Both questions from one port, told apart by their numbers.
    let ids = [u16::from_be_bytes([a, b]), u16::from_be_bytes([a, b]) ^ (u16::from_be_bytes([c, d]) | 1)];
    let mut questions = Vec::new();
    for (id, kind) in ids.into_iter().zip([A, AAAA]) {
        // A name that fits in no question is no name.
        let Some(question) = question(id, name, kind) else { return Ok(Vec::new()) };
        questions.push(question);
    }
    let six = settings.servers.iter().all(SocketAddr::is_ipv6);
    let any = if six { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = Async::new(UdpSocket::bind((any, 0))?)?;
    let servers = || settings.servers.iter().filter(|server| server.is_ipv6() == six);
    let mut found = Vec::new();
    let mut open = vec![true; questions.len()];
    for _ in 0..settings.rounds {
        for server in servers() {
            for (question, _) in questions.iter().zip(&open).filter(|(_, open)| **open) {
                // A server that cannot be reached is one that does not answer.
                let _ = socket.get_ref().send_to(question, *server);
            }
        }
        let mut timer = Timer::after(settings.wait / settings.rounds.max(1));
        while open.contains(&true) {
            let mut buffer = [0; DATAGRAM];
            let come = async { Some(socket.recv_from(&mut buffer).await) };
            let late = async {
                (&mut timer).await;
                None
            };
            let Some(come) = future::or(come, late).await else { break };
            // An error here is what a server's host said; others may still answer.
            let Ok((len, from)) = come else { continue };
            if !servers().any(|server| server.ip() == from.ip() && server.port() == from.port()) {
                continue;
            }
            let bytes = buffer.get(..len).unwrap_or(&[]);
            for (question, open) in questions.iter().zip(&mut open) {
                if let Some(answer) = answer(bytes, question)
                    && *open
                {
                    *open = false;
                    found.extend(answer);
                }
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found.truncate(ADDRESSES);
    if found.is_empty() && open.contains(&true) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(found)
}

const A: u16 = 1;
const AAAA: u16 = 28;
const HEADER: usize = 12;

/// The bytes of a question; none for a name that cannot be written as one.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(HEADER + name.len() + 6);
    out.extend(id.to_be_bytes());
    // recursion desired; one question
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..64).contains(len))?;
        out.push(len);
        out.extend(label.bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    (name.len() <= LONGEST).then_some(out)
}

/// What a datagram answers to a question: addresses, or none for "no such name". `None` if it is no
/// answer to it, or one that says that the server could not find out.
fn answer(bytes: &[u8], question: &[u8]) -> Option<Vec<IpAddr>> {
    let byte = |at: usize| bytes.get(at).copied();
    let word = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let asked = bytes.get(HEADER..question.len())?;
    let same = asked.eq_ignore_ascii_case(question.get(HEADER..)?) && bytes.get(..2) == question.get(..2);
    // a response to a standard query, with one question
    if !same || byte(2)? & 0xf8 != 0x80 || word(4)? != 1 {
        return None;
    }
    match byte(3)? & 0xf {
        0 => {}
        3 => return Some(Vec::new()),
        _ => return None,
    }
    let kind = question.get(question.len().checked_sub(4)?..)?;
    let mut found = Vec::new();
    let mut at = question.len();
    for _ in 0..word(6)? {
        // The owner is not compared: the server has followed the aliases for us.
        let Some(after) = skip_name(bytes, at) else { break };
        let (Some(len), Some(head)) = (word(after + 8), bytes.get(after..after + 4)) else { break };
        let data = bytes.get(after + 10..after + 10 + usize::from(len)).unwrap_or(&[]);
        if head == kind {
            if let Ok(four) = <[u8; 4]>::try_from(data) {
                found.push(IpAddr::from(four));
            } else if let Ok(sixteen) = <[u8; 16]>::try_from(data) {
                found.push(IpAddr::from(sixteen));
            }
        }
        at = after + 10 + usize::from(len);
    }
    Some(found)
}

/// Where a name in an answer ends.
fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            label => at += 1 + usize::from(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::reactor::block_on;

    fn settings(resolv: &str) -> Settings {
        let hosts = "127.0.0.1 localhost\n192.0.2.7\tcam camera.lan # the door\n::1 localhost ip6-localhost\nbad line\n";
        Settings::read(hosts.to_owned(), resolv)
    }

    /// A server that answers each datagram with what `reply` makes of it, as long as the test lives.
    fn serve(reply: impl Fn(usize, &[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            for turn in 0.. {
                let mut buffer = [0; 512];
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                let _ = socket.send_to(&reply(turn, &buffer[..len]), from);
            }
        });
        address
    }

    fn kind(question: &[u8]) -> u16 {
        u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]])
    }

    /// The header and question of an answer with `count` records.
    fn head(question: &[u8], code: u8, count: u8) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2] = 0x81;
        out[3] = 0x80 | code;
        out[7] = count;
        out
    }

    fn record(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0xc0, 12];
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        out.extend(data);
        out
    }

    fn ask_of(server: SocketAddr, name: &str, wait: Duration) -> io::Result<Vec<IpAddr>> {
        let settings = Settings { servers: vec![server], wait, rounds: 30, ..settings("") };
        block_on(look_up(name, &settings, [1, 2, 3, 4]))
    }

    #[test]
    fn the_systems_files_are_read_as_they_stand_on_cameras() {
        let found = settings(
            "# dhcp\nnameserver 192.0.2.1\nnameserver fe80::1%2\nnameserver bad\ndomain lan\nsearch a.example b.example. # two\noptions ndots:2 timeout:3 attempts:9 edns0\n",
        );
        assert_eq!(
            found.servers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.1:53", "[fe80::1%2]:53"]
        );
        assert_eq!((found.dots, found.wait.as_secs(), found.rounds), (2, 3, 5));
        assert_eq!(found.candidates("cam.x"), ["cam.x.a.example", "cam.x.b.example", "cam.x"]);
        assert_eq!(found.candidates("cam.x.y"), ["cam.x.y", "cam.x.y.a.example", "cam.x.y.b.example"]);
        assert_eq!(found.candidates("cam."), ["cam"]);
        assert_eq!(settings("").servers, [SocketAddr::from(([127, 0, 0, 1], 53))]);
    }

    #[test]
    fn names_of_the_hosts_file_need_no_server() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let of = |name: &str| ask_of(nobody, name, Duration::from_millis(2)).map(|list| list[0].to_string());
        assert_eq!(of("CAM").unwrap(), "192.0.2.7");
        assert_eq!(of("camera.lan.").unwrap(), "192.0.2.7");
        assert_eq!(of("192.0.2.9").unwrap(), "192.0.2.9");
        assert!(of("localhost").is_ok());
        assert_eq!(of("door").unwrap_err().to_string(), "no name server answers");
        for bad in ["", "a b", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert!(of(bad).is_err(), "{bad}");
        }
        let bare = Settings { hosts: String::new(), ..settings("") };
        assert_eq!(block_on(look_up("localhost", &bare, [0; 4])).unwrap(), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn both_families_are_asked_and_aliases_followed() {
        let server = serve(|_, question| {
            let mut out = head(question, 0, 2);
            out.extend(record(5, b"\x04real\xc0\x0c"));
            out.extend(if kind(question) == A {
                record(A, &[192, 0, 2, 5])
            } else {
                record(AAAA, &[0x20; 16])
            });
            out
        });
        let mut found = ask_of(server, "cam.example", Duration::from_secs(60)).unwrap();
        found.sort();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 5]), IpAddr::from([0x20; 16])]);
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_and_a_stranger_is_not_believed() {
        let server = serve(|turn, question| {
            if turn < 2 {
                // somebody who guesses: another number
                let mut out = head(question, 0, 1);
                out[0] ^= 0x55;
                out.extend(record(A, &[6, 6, 6, 6]));
                return out;
            }
            let mut out = head(question, 0, u8::from(kind(question) == A));
            if kind(question) == A {
                out.extend(record(A, &[192, 0, 2, 5]));
            }
            out
        });
        let found = ask_of(server, "cam.example", Duration::from_secs(30)).unwrap();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 5])]);
    }

    #[test]
    fn a_name_that_does_not_exist_is_told_at_once() {
        let server = serve(|_, question| head(question, 3, 0));
        let error = ask_of(server, "nobody.example", Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.to_string(), "no such host");
    }

    #[test]
    fn short_names_find_their_ending() {
        let server = serve(|_, question| {
            assert!(question[12..].starts_with(b"\x04yard\x03lan\x00"), "{question:?}");
            let mut out = head(question, 0, 1);
            out.extend(record(A, &[192, 0, 2, 8]));
            out
        });
        let settings =
            Settings { servers: vec![server], wait: Duration::from_secs(60), ..settings("search lan\n") };
        let found = block_on(look_up("yard", &settings, [9, 9, 9, 9])).unwrap();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 8])]);
    }

    #[test]
    fn cut_and_mutated_answers_never_panic() {
        let question = question(7, "cam.example", A).unwrap();
        let mut whole = head(&question, 0, 2);
        whole.extend(record(A, &[192, 0, 2, 5]));
        whole.extend(record(A, &[192, 0, 2, 6]));
        assert_eq!(answer(&whole, &question).unwrap().len(), 2);
        for cut in 0..whole.len() {
            let found = answer(&whole[..cut], &question);
            assert_eq!(found.is_some(), cut >= question.len(), "{cut}");
            assert!(found.unwrap_or_default().len() < 2);
        }
        let mut state = 1_u32;
        let mut roll = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as usize
        };
        for _ in 0..100_000 {
            let mut bytes = whole.clone();
            for _ in 0..roll() % 4 {
                let at = roll() % bytes.len();
                bytes[at] = roll() as u8;
            }
            bytes.truncate(roll() % (bytes.len() + 1));
            let _ = answer(&bytes, &question);
        }
    }
}
