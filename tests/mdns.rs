//! The mDNS responder as strangers meet it: python-zeroconf and avahi on the other side of a cable,
//! beside it on the same machine, or both. Each test lives in namespaces of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "support/neighbour.rs"]
mod neighbour;
#[path = "support/unshare.rs"]
mod unshare;

use neighbour::{Neighbour, sh};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use streamd::net::executor::LocalExecutor;
use streamd::net::mdns::{Mode, Responder, Service, Settings};

/// How long something may take that has to happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one test again where nobody else is: network, mounts and processes of its own; true inside.
fn alone(test: &str) -> bool {
    if std::env::var_os("ALONE_IN_A_NETWORK").is_some() {
        return true;
    }
    let script = "mount -t tmpfs none /run && mkdir -p /run/avahi-daemon /run/dbus /run/services && \
                  if [ -d /etc/avahi/services ]; then mount --bind /run/services /etc/avahi/services; fi && \
                  ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture";
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "300"]);
    unshare::begin(&mut command, "-nmpf --kill-child --mount-proc", script);
    let out = command.arg(me).arg(test).env("ALONE_IN_A_NETWORK", "1").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    false
}

/// A program that tells what happens, line by line.
struct Watch {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Watch {
    fn new(mut command: Command) -> Watch {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Watch { child, stdin, lines, heard: Vec::new() }
    }

    /// Waits for a line that has all of these in it; lines before it are passed over.
    fn wait(&mut self, what: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if what.iter().all(|w| line.contains(w)) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what:?} in {:#?}", self.heard),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended before {what:?}: {:#?}", self.heard),
            }
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What else runs on another machine here.
trait Runs {
    /// python-zeroconf that looks for cameras, and says what it sees of them.
    fn browse(&self, v6: bool) -> Watch;
    /// avahi with a bus of its own.
    fn avahi(&self) -> Avahi;
}

impl Runs for Neighbour {
    fn browse(&self, v6: bool) -> Watch {
        let mut command = self.command("/usr/bin/python3");
        command.args(["-uc", BROWSE, if v6 { "6" } else { "4" }]);
        Watch::new(command)
    }

    fn avahi(&self) -> Avahi {
        Avahi::start(|program| self.command(program))
    }
}

const BROWSE: &str = r#"
import sys, time
from zeroconf import IPVersion, ServiceBrowser, Zeroconf
class Listener:
    def tell(self, what, z, kind, name):
        i = z.get_service_info(kind, name, 20000)
        if i is None:
            print(what, name, "unresolved")
        else:
            print(what, name, i.server, i.port, *sorted(i.parsed_addresses()), *sorted(i.properties.items()))
    def add_service(self, z, kind, name): self.tell("add", z, kind, name)
    def update_service(self, z, kind, name): self.tell("update", z, kind, name)
    def remove_service(self, z, kind, name): print("remove", name)
z = Zeroconf(ip_version=IPVersion.V6Only if sys.argv[1] == "6" else IPVersion.V4Only)
b = ServiceBrowser(z, "_hap._tcp.local.", Listener())
time.sleep(1000)
"#;

struct Avahi {
    _bus: Watch,
    daemon: Child,
}

impl Avahi {
    fn start(command: impl Fn(&str) -> Command) -> Avahi {
        let bus = "<busconfig><type>custom</type><listen>unix:path=/run/dbus/system_bus_socket</listen>\
                   <auth>EXTERNAL</auth><policy context='default'><allow send_destination='*' eavesdrop='true'/>\
                   <allow eavesdrop='true'/><allow own='*'/><allow user='*'/></policy></busconfig>";
        std::fs::write("/run/bus.conf", bus).unwrap();
        std::fs::write("/run/avahi.conf", "[server]\nhost-name=neighbour\nallow-interfaces=cable\n").unwrap();
        let mut daemon = command("dbus-daemon");
        daemon.args(["--config-file=/run/bus.conf", "--nofork", "--print-address=1"]);
        let mut bus = Watch::new(daemon);
        bus.wait(&["unix:path"]);
        let mut daemon = command("avahi-daemon");
        daemon.args(["-f", "/run/avahi.conf", "--no-drop-root", "--no-chroot", "--no-rlimits"]);
        let avahi = Avahi { _bus: bus, daemon: daemon.stderr(Stdio::null()).spawn().unwrap() };
        let end = Instant::now() + PATIENCE;
        while !Command::new("avahi-daemon").arg("--check").status().unwrap().success() {
            assert!(Instant::now() < end, "avahi-daemon does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        avahi
    }

    /// Looks until it has found a service of which one line holds all of these.
    fn find(&self, what: &[&str]) -> String {
        let (end, mut all) = (Instant::now() + PATIENCE, String::new());
        while Instant::now() < end {
            let out =
                Command::new("timeout").args(["20", "avahi-browse", "-rpt", "_hap._tcp"]).output().unwrap();
            all = String::from_utf8_lossy(&out.stdout).into_owned();
            let found = all.lines().find(|l| l.starts_with('=') && what.iter().all(|w| l.contains(w)));
            if let Some(line) = found {
                return line.into();
            }
        }
        panic!("no {what:?} in {all}");
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Not a test of its own: the camera of the tests, a process that does what its input says.
#[test]
fn camera() {
    let Ok(settings) = std::env::var("CAMERA") else { return };
    let (mode, host) = settings.split_once(' ').unwrap();
    let mode = if mode == "files" { Mode::Files } else { Mode::Own };
    let settings = Settings { mode, host: host.into(), directory: "/etc/avahi/services".into() };
    let (send, receive) = async_channel::bounded(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            drop(send.send_blocking(line));
        }
    });
    let executor = LocalExecutor::new();
    let responder = Responder::new(&executor, settings);
    let mut services = Vec::new();
    executor.block_on(async {
        while let Ok(line) = receive.recv().await {
            let mut words = line.split(';');
            match words.next().unwrap() {
                "add" => {
                    let (name, port) = (words.next().unwrap().into(), words.next().unwrap().parse().unwrap());
                    let txt = words.map(str::to_owned).collect();
                    let service = Service { kind: "_hap._tcp".into(), name, port, txt };
                    services.push(responder.register(service).unwrap());
                }
                "txt" => services.last().unwrap().set_txt(words.map(str::to_owned).collect()).unwrap(),
                "drop" => drop(services.pop()),
                "name" => println!("\nname {} host {}", services.last().unwrap().name(), responder.host()),
                _ => break,
            }
        }
    });
    drop(responder);
}

fn camera_of(mut command: Command, mode: &str, host: &str) -> Watch {
    command.args(["--exact", "camera", "--nocapture"]);
    command.env("CAMERA", format!("{mode} {host}"));
    Watch::new(command)
}

/// A camera on our machine.
fn here(mode: &str, host: &str) -> Watch {
    camera_of(Command::new(std::env::current_exe().unwrap()), mode, host)
}

/// A camera on the neighbour's machine.
fn there(neighbour: &Neighbour, host: &str) -> Watch {
    camera_of(neighbour.command(std::env::current_exe().unwrap().to_str().unwrap()), "own", host)
}

const OURS: Option<&str> = Some("192.0.2.1/24");
const THEIRS: Option<&str> = Some("192.0.2.2/24");

#[test]
fn zeroconf_finds_a_camera_and_sees_it_change_and_go() {
    if !alone("zeroconf_finds_a_camera_and_sees_it_change_and_go") {
        return;
    }
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let mut camera = here("own", "cam");
    camera.tell("add;Front door;5001;c#=1;sf=1;md=A camera");
    let mut browse = neighbour.browse(false);
    let found = browse.wait(&["add Front door._hap._tcp.local. cam.local. 5001 192.0.2.1"]);
    assert!(found.contains("(b'c#', b'1')") && found.contains("(b'md', b'A camera')"), "{found}");
    camera.tell("txt;c#=2;sf=0");
    browse.wait(&["update Front door", "(b'c#', b'2')", "(b'sf', b'0')"]);
    // a second one at run time
    camera.tell("add;Küche;5002");
    browse.wait(&["add Küche._hap._tcp.local. cam.local. 5002 192.0.2.1"]);
    camera.tell("drop");
    browse.wait(&["remove Küche"]);
    // and the program's end takes the rest
    camera.tell("end");
    browse.wait(&["remove Front door"]);
}

#[test]
fn zeroconf_finds_a_camera_by_ipv6_alone() {
    if !alone("zeroconf_finds_a_camera_by_ipv6_alone") {
        return;
    }
    let neighbour = Neighbour::new();
    // at first the kernel still tries whether our own address is free
    let mut camera = here("own", "cam");
    camera.tell("add;Front door;5001");
    neighbour.cable("cable", Some("2001:db8::1/64"), Some("2001:db8::2/64"));
    let mut browse = neighbour.browse(true);
    let found = browse.wait(&["add Front door._hap._tcp.local. cam.local. 5001"]);
    assert!(found.contains(" 2001:db8::1 ") || found.ends_with(" 2001:db8::1") || found.contains("fe80::"));
}

#[test]
fn a_camera_without_ipv6_is_found() {
    if !alone("a_camera_without_ipv6_is_found") {
        return;
    }
    sh(
        "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6",
    );
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let mut camera = here("own", "cam");
    camera.tell("add;Front door;5001");
    neighbour.browse(false).wait(&["add Front door._hap._tcp.local. cam.local. 5001 192.0.2.1"]);
}

#[test]
fn interfaces_that_come_later_go_and_come_back_are_served() {
    if !alone("interfaces_that_come_later_go_and_come_back_are_served") {
        return;
    }
    let mut camera = here("own", "cam");
    camera.tell("add;Front door;5001");
    camera.tell("name");
    camera.wait(&["name Front door"]);
    let first = Neighbour::new();
    first.cable("first", OURS, THEIRS);
    let mut browse = first.browse(false);
    browse.wait(&["add Front door._hap._tcp.local. cam.local. 5001 192.0.2.1"]);
    let second = Neighbour::new();
    second.cable("second", Some("198.51.100.1/24"), Some("198.51.100.2/24"));
    let mut other = second.browse(false);
    other.wait(&["add Front door._hap._tcp.local. cam.local. 5001 198.51.100.1"]);
    drop(other);
    // an address changes
    sh("ip addr add 198.51.100.9/24 dev second && ip addr del 198.51.100.1/24 dev second");
    sh("ip addr show dev second | grep -q 198.51.100.9 || ip addr add 198.51.100.9/24 dev second");
    second.browse(false).wait(&["Front door._hap._tcp.local. cam.local. 5001", " 198.51.100.9"]);
    // down and up: the group has to be joined still
    sh("ip link set second down && ip link set second up");
    second.browse(false).wait(&["Front door._hap._tcp.local. cam.local. 5001", " 198.51.100.9"]);
    // the cable is pulled out for good, and another one laid
    sh("ip link del second");
    second.cable("second", Some("203.0.113.1/24"), Some("203.0.113.2/24"));
    second.browse(false).wait(&["Front door._hap._tcp.local. cam.local. 5001", " 203.0.113.1"]);
    // who was there all the time saw nothing of it
    camera.tell("end");
    browse.wait(&["remove Front door"]);
    assert!(
        browse.heard.iter().all(|l| !l.contains("198.51.") && !l.contains("203.0.")),
        "{:?}",
        browse.heard
    );
}

#[test]
fn two_cameras_of_one_name_settle() {
    if !alone("two_cameras_of_one_name_settle") {
        return;
    }
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let mut first = here("own", "cam");
    first.tell("add;Front door;5001");
    let mut browse = neighbour.browse(false);
    browse.wait(&["add Front door._hap._tcp.local. cam.local. 5001 192.0.2.1"]);
    let mut second = there(&neighbour, "cam");
    second.tell("add;Front door;5001");
    browse.wait(&["add Front door (2)._hap._tcp.local. cam-2.local. 5001 192.0.2.2"]);
    second.tell("name");
    second.wait(&["name Front door (2) host cam-2"]);
    first.tell("name");
    first.wait(&["name Front door host cam"]);
    // a third beside the first on one machine, where the host is the same
    let mut third = here("own", "cam");
    third.tell("add;Front door;5003");
    browse.wait(&["add Front door (3)._hap._tcp.local. cam.local. 5003 192.0.2.1"]);
}

#[test]
fn avahi_finds_a_camera_and_keeps_its_own_names() {
    if !alone("avahi_finds_a_camera_and_keeps_its_own_names") {
        return;
    }
    let theirs = "<service-group><name>Taken</name><service><type>_hap._tcp</type><port>7</port></service></service-group>";
    std::fs::write("/etc/avahi/services/taken.service", theirs).unwrap();
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let avahi = neighbour.avahi();
    avahi.find(&["Taken", ";7;"]);
    let mut camera = here("own", "cam");
    camera.tell("add;Front;5001;c#=1;md=A camera");
    camera.tell("add;Taken;5002");
    avahi.find(&[";Front;", ";cam.local;", ";5001;", "\"c#=1\"", "\"md=A camera\""]);
    avahi.find(&["Taken\\032\\0402\\041", ";5002;"]);
    camera.tell("name");
    camera.wait(&["name Taken (2)"]);
}

#[test]
fn the_port_is_shared_with_avahi_on_the_same_machine() {
    if !alone("the_port_is_shared_with_avahi_on_the_same_machine") {
        return;
    }
    let theirs = "<service-group><name>Theirs</name><service><type>_hap._tcp</type><port>7</port></service></service-group>";
    std::fs::write("/etc/avahi/services/theirs.service", theirs).unwrap();
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let avahi = Avahi::start(|program| Command::new(program));
    // even the host's name is shared: it is the same machine
    let mut camera = here("own", "neighbour");
    camera.tell("add;Ours;5001");
    avahi.find(&[";Ours;", ";neighbour.local;", ";5001;"]);
    let mut browse = neighbour.browse(false);
    browse.wait(&["add Ours._hap._tcp.local. neighbour.local. 5001 192.0.2.1"]);
    neighbour.browse(false).wait(&["add Theirs._hap._tcp.local. neighbour.local. 7 192.0.2.1"]);
    camera.tell("name");
    camera.wait(&["name Ours host neighbour"]);
}

#[test]
fn avahi_reads_our_file_and_forgets_it() {
    if !alone("avahi_reads_our_file_and_forgets_it") {
        return;
    }
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let _avahi = Avahi::start(|program| Command::new(program));
    let mut camera = here("files", "cam");
    camera.tell("add;<Tür> & \"Tor\";5001;md=a<b&c;c#=1");
    let mut browse = neighbour.browse(false);
    let found = browse.wait(&["add <Tür> & \"Tor\"._hap._tcp.local. neighbour.local. 5001 192.0.2.1"]);
    assert!(found.contains("(b'md', b'a<b&c')"), "{found}");
    camera.tell("txt;c#=2");
    browse.wait(&["(b'c#', b'2')"]);
    camera.tell("end");
    browse.wait(&["remove <Tür>"]);
    assert_eq!(std::fs::read_dir("/etc/avahi/services").unwrap().count(), 0);
}

/// Plain DNS from a port of its own, garbage before it.
const PLAIN: &str = r#"
import os, socket, struct
from zeroconf import DNSIncoming, DNSOutgoing, DNSQuestion
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.2"))
s.settimeout(1)
import random
random.seed(7)
q = DNSOutgoing(0)
q.add_question(DNSQuestion("Front door._hap._tcp.local.", 33, 1))
query = b"\x12\x34" + q.packets()[0][2:]
for n in range(2000):
    bad = bytearray(query)
    for _ in range(4):
        bad[random.randrange(len(bad))] = random.choice([0, 0xc0, 0xff, 12, random.randrange(256)])
    s.sendto(bytes(bad[:random.randrange(len(bad) + 1)]), ("224.0.0.251", 5353))
    s.sendto(os.urandom(random.randrange(9000)), ("224.0.0.251", 5353))
while True:
    s.sendto(query, ("224.0.0.251", 5353))
    try:
        while True:
            data = s.recv(9000)
            m = DNSIncoming(data)
            if data[:2] == b"\x12\x34" and m.questions and m.questions[0].type == 33 and m.answers:
                a = m.answers[0]
                print("srv", a.server, a.port, "ttl", a.ttl)
    except TimeoutError:
        pass
"#;

#[test]
fn plain_dns_is_answered_whatever_came_before() {
    if !alone("plain_dns_is_answered_whatever_came_before") {
        return;
    }
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let mut camera = here("own", "cam");
    camera.tell("add;Front door;5001");
    let mut command = neighbour.command("/usr/bin/python3");
    command.args(["-uc", PLAIN]);
    Watch::new(command).wait(&["srv cam.local. 5001 ttl 10"]);
    camera.tell("name");
    camera.wait(&["name Front door host cam"]);
}

/// How often a process has gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let line = status.lines().find(|l| l.starts_with("voluntary_ctxt_switches")).unwrap();
        sum += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    }
    sum
}

#[test]
fn at_rest_nothing_wakes() {
    if !alone("at_rest_nothing_wakes") {
        return;
    }
    let neighbour = Neighbour::new();
    neighbour.cable("cable", OURS, THEIRS);
    let mut camera = here("own", "cam");
    camera.tell("add;Front door;5001");
    let mut browse = neighbour.browse(false);
    browse.wait(&["add Front door"]);
    drop(browse);
    let end = Instant::now() + PATIENCE;
    loop {
        let before = sleeps(camera.child.id());
        std::thread::sleep(Duration::from_secs(5));
        let woken = sleeps(camera.child.id()) - before;
        if woken <= 5 {
            return;
        }
        assert!(Instant::now() < end, "{woken} times in 5 seconds");
    }
}
