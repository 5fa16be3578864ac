//! The camera as Apple's homes meet it: `hubsim` plays a hub and is strict about everything it sees;
//! aiohomekit is a controller that others wrote. What it takes: node, and the Python environment that
//! `scripts/test` makes.
#![cfg(all(feature = "homekit", feature = "demo"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use streamd::app::state::{Flash, Found, Store};
use streamd::homekit::pairing::book::Book;
use support::*;

const PIN: &str = "031-45-154";

/// A demo camera that is an accessory, and announces recordings too.
fn config(port: u16, mdns: &str, more: &str) -> String {
    format!(
        "api: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"\"}}\nmdns: {{mode: \"{mdns}\"}}\n\
         streams:\n  cam: demo:?width=320&height=180\n\
         homekit:\n  cam: {{pin: {PIN}, port: {port}, motion: api, hksv: true{more}}}\n"
    )
}

/// The port of the accessory.
fn port(streamd: &Streamd) -> u16 {
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    u16::try_from(int(&home, "port")).unwrap()
}

fn hubsim_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hubsim")
}

/// How the simulator is called. Bounds of its own are for a camera that has nothing else to do.
fn call(streamd: &Streamd, part: &str, more: &[&str]) -> Vec<String> {
    let path = |name: &str| streamd.folder.path(name).to_str().unwrap().to_owned();
    let script = hubsim_folder().join("hubsim.mjs").to_str().unwrap().to_owned();
    let mut args = vec![script, part.to_owned(), "--port".into(), port(streamd).to_string()];
    args.extend(["--pin", PIN, "--patience", "10", "--state"].map(str::to_owned));
    args.extend([path("hub.json"), "--out".into(), path("seen.mp4")]);
    args.extend(more.iter().map(|more| (*more).to_owned()));
    args
}

/// One part of the simulator's; its report is kept beside the build.
fn hubsim(streamd: &Streamd, part: &str, more: &[&str]) -> Value {
    let args = call(streamd, part, more);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // a whole life has waits of a minute in it
    let run = long_tool("node", &args, "", PATIENCE * if part == "all" { 8 } else { 2 });
    let name = format!("hubsim-{part}.json");
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &run.out).unwrap();
    let report = match parse(run.out.as_bytes()) {
        Ok(report) => report,
        Err(e) => panic!("{part}: {e}: {}{}", run.out, run.err),
    };
    let failed: Vec<_> = items(&report, "failed").iter().filter_map(Value::as_str).collect();
    assert!(run.code == 0 && failed.is_empty(), "{part}: {failed:?}\n{}", run.err);
    let passed = report.get("summary").map_or(0, |s| int(s, "pass"));
    assert!(passed > 0, "{part}: nothing was checked: {}", run.out);
    report
}

#[test]
fn the_simulator_is_right_about_itself() {
    let script = hubsim_folder().join("selftest.mjs");
    let run = tool("node", &[script.to_str().unwrap(), "--fast"], "");
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
}

/// A bell's whole life: from the box to the wall, everything that a home does with it and that strangers
/// try, a pulled plug, and back into the box.
#[test]
#[cfg(feature = "opus")]
fn a_hub_lives_with_the_camera() {
    let mut streamd = Streamd::start(&config(0, "off", ", speaker: true, category_id: doorbell"));
    // the simulator kills it; we start it again with the same arguments
    let restart = format!("sh {}", streamd.folder.write("restart", restart_script(&streamd)).display());
    let tell = |event: &str| {
        let socket = streamd.socket();
        format!("curl -fsS -m 50 -X POST --unix-socket {} 'http://camera/api/{event}'", socket.display())
    };
    let (ring, moves, rests) = (
        tell("homekit/doorbell?id=cam"),
        tell("events?type=motion&src=cam&on=true"),
        tell("events?type=motion&src=cam&on=false"),
    );
    let second = Second(streamd.folder.path("pid"));
    let more = ["--talkback", "--slow", "--live-seconds", "4", "--no-record", "--settle", "5"];
    let commands = ["--ring", &ring, "--trigger", &moves, "--trigger-off", &rests, "--restart", &restart];
    let report = hubsim(&streamd, "all", &[&more[..], &commands].concat());
    // what the simulator would only have us warned of
    for must in ["bell.once", "live.rtcp-silence", "live.session-closed", "live.second.rtp", "persist.up"] {
        let check = items(&report, "checks").iter().find(|c| text(c, "id") == must);
        assert_eq!(check.map(|c| text(c, "status")), Some("pass"), "{must}: {check:?}");
    }
    let _ = streamd.child.wait();
    drop(second);
    // and a third, which ends in good order, is as it was in the box
    streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    assert_eq!((int(&home, "paired"), text(&home, "setup_code")), (0, PIN));
}

/// What a camera does not do it does not announce, and the rest is whole.
#[test]
fn a_camera_that_shows_records_or_both_is_one() {
    for (shape, keys) in
        [("shows", "hksv: false"), ("records", "hksv: true, live: false"), ("both", "hksv: true")]
    {
        let streamd = Streamd::start(&config(0, "off", "").replace("hksv: true", keys));
        for part in ["pair", "db", "chars", "pairings"] {
            hubsim(&streamd, part, &["--shape", shape]);
        }
    }
}

/// The number of the table rises when the camera becomes another, and only then.
#[test]
fn a_home_is_told_that_the_camera_has_changed() {
    let number =
        |streamd: &Streamd| int(&streamd.local("GET", "/api/homekit?id=cam", "").json(), "config_number");
    let mut streamd = Streamd::start(&config(0, "off", ""));
    assert_eq!(number(&streamd), 1);
    let (device, first) = {
        let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
        (text(&home, "device_id").to_owned(), port(&streamd))
    };
    for (keys, expected) in
        [("", 1), (", speaker: true", 2), (", speaker: true", 2), (", category_id: doorbell", 3)]
    {
        streamd.set_file(&config(0, "off", keys));
        streamd.signal("-TERM");
        assert_eq!(streamd.ended(), 0);
        streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
        let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
        assert_eq!(
            (int(&home, "config_number"), text(&home, "device_id")),
            (expected, device.as_str()),
            "{keys}"
        );
        assert_eq!(port(&streamd), first, "it is found where it was");
    }
    // and while it runs
    streamd.set_file(&config(0, "off", ", status_light: true"));
    assert_eq!(streamd.local("POST", "/api/reload", "").status, 200);
    assert_eq!(number(&streamd), 4);
}

/// The book as it is on flash.
fn book(streamd: &Streamd) -> Option<Book> {
    let folder = streamd.folder.path("streamd.d");
    let names = std::fs::read_dir(&folder).ok()?.flatten().map(|e| e.file_name().into_string().unwrap());
    let name = names.into_iter().find(|n| n.starts_with("homekit-cam"))?;
    match Store::with_disk(&folder, Flash).read(&name) {
        Found::Value { version, bytes } => Book::decode(version, &bytes).ok(),
        other => panic!("{other:?}"),
    }
}

/// A value as it is on flash.
fn kept(streamd: &Streamd, iid: u16) -> Option<Vec<u8>> {
    Some(book(streamd)?.value(iid)?.to_vec())
}

/// The streams that nobody shall see, as they are on flash.
fn private(streamd: &Streamd) -> Vec<u8> {
    match Store::with_disk(&streamd.folder.path("streamd.d"), Flash).read("privacy") {
        Found::Value { bytes, .. } => bytes,
        _ => Vec::new(),
    }
}

/// Switched off in the Home app, the camera shows others what its owner says; with a hand before its
/// eye, nobody sees anything.
#[test]
fn a_camera_that_is_off_shows_nothing() {
    let sees = |streamd: &Streamd| streamd.local("GET", "/api/frame.jpeg?src=cam", "").status == 200;
    let third = |report: &Value| report.get("info").map(|info| int(info, "thirdParty"));
    let privacy = |streamd: &Streamd, on: bool| {
        streamd.local("POST", &format!("/api/events?type=privacy&src=cam&on={on}"), "").status
    };
    let keys = ", third_party: false";
    let mut streamd = Streamd::start(&config(0, "off", keys));
    hubsim(&streamd, "pair", &[]);
    assert!(sees(&streamd));
    assert_eq!(third(&hubsim(&streamd, "switch", &["--active", "0"])), Some(0));
    assert!(!sees(&streamd), "third_party: false");
    // it stays off where the plug is pulled, and others go on once they may
    wait_until("the switch to be kept", || kept(&streamd, 65) == Some(vec![0]));
    streamd.child.kill().unwrap();
    streamd.ended();
    streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
    assert!(!sees(&streamd));
    streamd.set_file(&config(0, "off", ""));
    assert_eq!(streamd.local("POST", "/api/reload", "").status, 200);
    assert!(sees(&streamd));
    assert_eq!(third(&hubsim(&streamd, "switch", &["--active", "0"])), Some(1));
    assert!(sees(&streamd));
    hubsim(&streamd, "switch", &["--active", "1"]);
    // whoever puts a hand before it
    assert_eq!(privacy(&streamd, true), 200);
    assert!(!sees(&streamd));
    assert_eq!(streamd.local("POST", "/api/reload", "").status, 200);
    assert!(!sees(&streamd), "a reload opens no eyes");
    wait_until("privacy to be kept", || private(&streamd) == b"cam");
    streamd.child.kill().unwrap();
    streamd.ended();
    streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
    assert!(!sees(&streamd), "nor does a pulled plug");
    assert_eq!(privacy(&streamd, false), 200);
    assert!(sees(&streamd));
    hubsim(&streamd, "snapshot", &[]);
}

/// What the simulator remembers.
fn hub(streamd: &Streamd) -> Option<Value> {
    parse(&std::fs::read(streamd.folder.path("hub.json")).unwrap_or_default()).ok()
}

/// Whether the simulator believes to be paired.
fn hub_is_paired(streamd: &Streamd) -> bool {
    hub(streamd).is_some_and(|state| state.get("pairing").is_some_and(|p| !p.members().is_empty()))
}

/// The simulator's name among controllers.
fn hub_name(streamd: &Streamd) -> Option<String> {
    Some(text(hub(streamd)?.get("controller")?, "id").to_owned())
}

/// The plug is pulled thirty times while somebody pairs, shares or removes: whoever was told to be in is
/// in, whoever was told to be out is out, nobody is half in, and the camera can always be reached.
#[test]
fn a_pulled_plug_leaves_every_pairing_whole_or_absent() {
    let mut streamd = Streamd::start(&config(0, "off", ""));
    let mut random = 0x9e37_79b9u32;
    // scripts/soak pulls it more often
    let rounds = std::env::var("PLUG_PULLS").map_or(30, |times| times.parse().unwrap());
    for round in 0..rounds {
        let paired = hub_is_paired(&streamd);
        let name = hub_name(&streamd);
        let part = match (paired, round % 3) {
            (false, _) => "pair",
            (true, 2) => "unpair",
            (true, _) => "pairings",
        };
        let mut hub = Command::new("node");
        hub.args(call(&streamd, part, &[]));
        hub.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut hub = Guard(hub.spawn().unwrap());
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        pause(u64::from(100 + random % 1200));
        streamd.child.kill().unwrap();
        streamd.ended();
        wait_until("the simulator to give up", || hub.0.try_wait().unwrap().is_some());
        streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
        let there = int(&streamd.local("GET", "/api/homekit?id=cam", "").json(), "paired");
        assert!(!streamd.log().contains("paired anew"), "round {round}, {part}: the book is damaged");
        match (part, hub_is_paired(&streamd)) {
            ("pairings", _) => assert!((1..=16).contains(&there), "round {round}: {there}"),
            ("pair", true) => assert_eq!(there, 1, "round {round}"),
            // it was not told any more that it is in, or that it is out
            ("pair", false) => assert!(there <= 1, "round {round}: {there}"),
            (_, true) => assert!(there <= 16, "round {round}: {there}"),
            // it was told that it is out; a share whose plug was pulled may have left another admin
            (_, false) => {
                let pairings = book(&streamd).map(|book| book.pairings).unwrap_or_default();
                assert_eq!(pairings.len() as i64, there, "round {round}");
                assert!(pairings.is_empty() || pairings.iter().any(|p| p.admin), "round {round}");
                assert!(!pairings.iter().any(|p| Some(&p.id[..]) == name.as_ref().map(|n| n.as_bytes())));
            }
        }
        if hub_is_paired(&streamd) && there > 0 {
            hubsim(&streamd, "verify", &[]);
        } else {
            streamd.local("DELETE", "/api/homekit?id=cam", "");
            let _ = std::fs::remove_file(streamd.folder.path("hub.json"));
        }
    }
}

/// Whoever the owner removes is gone when he is told so, whatever happens to the camera then.
#[test]
fn no_pulled_plug_brings_back_whom_the_owner_removed() {
    let mut streamd = Streamd::start(&config(0, "off", ""));
    for round in 0..4 {
        hubsim(&streamd, "pair", &[]);
        assert_eq!(streamd.local("DELETE", "/api/homekit?id=cam", "").status, 200);
        streamd.child.kill().unwrap();
        streamd.ended();
        streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
        let there = int(&streamd.local("GET", "/api/homekit?id=cam", "").json(), "paired");
        assert_eq!(there, 0, "round {round}");
        std::fs::remove_file(streamd.folder.path("hub.json")).unwrap();
    }
}

/// Started by the simulator; told to end when dropped.
struct Second(PathBuf);

impl Drop for Second {
    fn drop(&mut self) {
        let Ok(pid) = std::fs::read_to_string(&self.0) else { return };
        let _ = Command::new("kill").arg(pid.trim()).status();
        wait_until("the second one to end", || !Path::new("/proc").join(pid.trim()).exists());
    }
}

/// A flood of strangers is shut out, and whoever is known is not.
#[test]
fn strangers_give_way() {
    let streamd = Streamd::start(&config(0, "off", ""));
    hubsim(&streamd, "pair", &[]);
    let port = port(&streamd);
    let half_open: Vec<_> = (0..500).map(|_| connect(port)).collect();
    hubsim(&streamd, "verify", &[]);
    drop(half_open);
    hubsim(&streamd, "verify", &[]);
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    assert!(items(&home, "connections").len() <= 32);
}

#[test]
fn an_owner_sees_what_to_type_and_nobody_else_does() {
    let users = "users: [{name: eve, password: secret, roles: [view]}]\n";
    let config = config(0, "off", ", category_id: doorbell") + users;
    let streamd = Streamd::start(&config.replace("api: {", "api: {local_auth: true, "));
    let home = streamd.local("GET", "/api/homekit", "").json();
    let home = home.get("cam").unwrap();
    assert_eq!((text(home, "setup_code"), text(home, "category_id")), (PIN, "18"));
    assert!(text(home, "setup_uri").starts_with("X-HM://"));
    let eve = [("Authorization", "Basic ZXZlOnNlY3JldA==")];
    let seen = streamd.ask_with("GET", "/api/homekit", &eve, "");
    assert_eq!(seen.status, 200, "{}", seen.text());
    assert!(!seen.text().contains(PIN) && !seen.text().contains("X-HM"), "{}", seen.text());
    assert_eq!(streamd.ask_with("GET", "/api/homekit/qr.svg?id=cam", &eve, "").status, 403);
    let qr = streamd.local("GET", "/api/homekit/qr.svg?id=cam", "");
    assert!(qr.status == 200 && qr.text().starts_with("<svg"), "{}", qr.text());
    assert_eq!(streamd.local("POST", "/api/homekit/doorbell?id=cam", "").status, 200);
    assert_eq!(streamd.local("POST", "/api/homekit/doorbell?id=nobody", "").status, 404);
    let said = streamd.ctl(&["homekit"]);
    assert!(said.code == 0 && said.out.contains(PIN) && said.out.contains('█'), "{said:?}");
    assert!(!streamd.log().contains(PIN), "the code is no business of the log");
}

/// Runs one test again where nobody else is: in a network of its own; true inside.
fn alone(test: &str) -> bool {
    if std::env::var_os("ALONE_IN_A_NETWORK").is_some() {
        return true;
    }
    let script = "ip link set lo up && ip link add cable type veth peer name wall && \
                  ip addr add 192.0.2.1/24 dev cable && ip link set cable up && ip link set wall up && \
                  exec \"$0\" --exact \"$1\" --nocapture";
    let me = std::env::current_exe().unwrap();
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "300"]);
    unshare::begin(&mut command, "-nmpf --kill-child --mount-proc", script);
    // processes have small numbers there, and name their folders by them
    let folder = Folder::new();
    command.env("ALONE_IN_A_NETWORK", "1").env("TMPDIR", &folder.0);
    let out = command.arg(me).arg(test).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let good = out.status.success() && said.contains("1 passed");
    assert!(good, "{said}{}", String::from_utf8_lossy(&out.stderr));
    false
}

#[test]
fn a_hub_finds_the_camera() {
    if !alone("a_hub_finds_the_camera") {
        return;
    }
    let streamd = Streamd::start(&config(0, "own", ""));
    let find = |more: &[&str]| {
        let mut args = vec!["--host", "192.0.2.1", "--iface", "192.0.2.1"];
        args.extend(more);
        hubsim(&streamd, "discover", &args)
    };
    // the name is tried before it is told, which takes a second
    wait_until("the name to be told", || {
        let browse = "import sys,time\nfrom zeroconf import Zeroconf,ServiceBrowser\n\
                      class L:\n def add_service(s,z,t,n): print(n); sys.stdout.flush()\n \
                      def update_service(s,*a): pass\n def remove_service(s,*a): pass\n\
                      z=Zeroconf(['192.0.2.1']); ServiceBrowser(z,'_hap._tcp.local.',L()); time.sleep(2)";
        tool(peers().to_str().unwrap(), &["-c", browse], "").out.contains("cam._hap._tcp")
    });
    find(&[]);
    hubsim(&streamd, "pair", &["--host", "192.0.2.1"]);
    let report = find(&[]);
    let txt = report.get("info").and_then(|i| i.get("txt")).unwrap();
    assert_eq!((text(txt, "sf"), text(txt, "ci"), text(txt, "pv")), ("0", "17", "1.1"));
}

/// What else the camera serves is found as well, where others reach it.
#[test]
fn rtsp_and_the_web_are_found() {
    if !alone("rtsp_and_the_web_are_found") {
        return;
    }
    let config = config(0, "own", "").replace("127.0.0.1:0", ":0");
    let streamd = Streamd::start(&config.replace("rtsp: {listen: \"\"}", "rtsp: {listen: \":0\"}"));
    let browse = r#"
import queue
from zeroconf import ServiceBrowser, Zeroconf
z, seen = Zeroconf(["192.0.2.1"]), queue.Queue()
class Listener:
    def add_service(self, z, kind, name): seen.put((True, kind, z.get_service_info(kind, name, 20000)))
    def update_service(self, *a): pass
    def remove_service(self, z, kind, name): seen.put((False, kind, None))
kinds = ["_rtsp._tcp.local.", "_http._tcp.local.", "_hap._tcp.local."]
browser, there = ServiceBrowser(z, kinds, Listener()), {}
while len(there) < 3:
    on, kind, info = seen.get(timeout=50)
    there[kind] = (info.port, info.properties.get(b"path", b"").decode())
for kind in kinds[:2]: print(kind, *there[kind])
"#;
    let run = tool(peers().to_str().unwrap(), &["-uc", browse], "");
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    let status = streamd.local("GET", "/api/status", "").json();
    let port = |scheme: &str| {
        let all = items(&status, "listening").iter().filter_map(Value::as_str);
        let url = all
            .map(str::to_owned)
            .find_map(|l| Some(l.split_once(scheme)?.1.trim_end_matches('/').to_owned()));
        url.unwrap().rsplit(':').next().unwrap().to_owned()
    };
    let expected =
        format!("_rtsp._tcp.local. {} /cam\n_http._tcp.local. {} /\n", port("rtsp://"), port("http://"));
    assert_eq!(run.out, expected);
}

/// The Python that has the clients which others wrote.
fn peers() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/peers/bin/python");
    assert!(python.exists(), "{} is made by scripts/test", python.display());
    python
}

/// Finds, pairs, reads, listens, looks, goes.
const CONTROLLER: &str = r#"
import asyncio, sys, urllib.request
from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf
from aiohomekit.characteristic_cache import CharacteristicCacheMemory
from aiohomekit.controller.ip.controller import IpController
from aiohomekit.zeroconf import ZeroconfServiceListener

device, pin, api = sys.argv[1:]

def moves(on):
    url = f"{api}/api/events?type=motion&src=cam&on={on}"
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=50).read()

async def main():
    zeroconf = AsyncZeroconf(interfaces=["192.0.2.1"])
    browser = AsyncServiceBrowser(zeroconf.zeroconf, ["_hap._tcp.local."], listener=ZeroconfServiceListener())
    async with IpController(CharacteristicCacheMemory(), zeroconf) as controller:
        discovery = await controller.async_find(device.lower(), 50)
        print("found", discovery.description.name, discovery.paired)
        finish = await discovery.async_start_pairing("cam")
        pairing = await finish(pin)
        print("paired")
        (accessory,) = await pairing.list_accessories_and_characteristics()
        chars = {c["type"].lower(): c for s in accessory["services"] for c in s["characteristics"]}
        of = lambda kind: next(c for t, c in chars.items() if t.startswith(f"000000{kind}-"))
        print("serial", of("30")["value"], "services", len(accessory["services"]))
        motion = (1, of("22")["iid"])
        heard = asyncio.Queue()
        pairing.dispatcher_connect(heard.put_nowait)
        await pairing.subscribe({motion})
        print("value", (await pairing.get_characteristics([motion]))[motion]["value"])
        await asyncio.to_thread(moves, "true")
        while not (await heard.get()).get(motion, {}).get("value"):
            pass
        print("motion")
        picture = await pairing.image(1, 640, 480)
        print("picture", picture[:2].hex())
        pairings = await pairing.list_pairings()
        print("pairings", len(pairings), pairings[0]["permissions"])
        await pairing.remove_pairing(pairing.pairing_data["iOSPairingId"])
        await pairing.close()
        print("gone")
    await browser.async_cancel()
    await zeroconf.async_close()

asyncio.run(asyncio.wait_for(main(), 55))
"#;

#[test]
fn a_controller_of_others_comes_and_goes() {
    if !alone("a_controller_of_others_comes_and_goes") {
        return;
    }
    let streamd = Streamd::start(&config(0, "own", ", serial: S-0001"));
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    let device = text(&home, "device_id");
    let api = format!("http://127.0.0.1:{}", streamd.port);
    let run = tool(peers().to_str().unwrap(), &["-uc", CONTROLLER, device, PIN, &api], "");
    let said: Vec<&str> = run.out.lines().collect();
    let expected = [
        "found cam False",
        "paired",
        "serial S-0001 services 9",
        "value False",
        "motion",
        "picture ffd8",
        "pairings 1 1",
        "gone",
    ];
    assert_eq!((run.code, &said[..]), (0, &expected[..]), "{}", run.err);
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    assert_eq!(int(&home, "paired"), 0);
}

/// Where npm has put what `scripts/test` asks it for.
fn packages() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/peers/node_modules");
    assert!(folder.join("hap-controller").exists(), "{} is made by scripts/test", folder.display());
    folder
}

/// Finds, pairs, reads, listens, switches, looks, goes.
const OTHER_CONTROLLER: &str = r#"
const [folder, device, pin, api] = process.argv.slice(1);
const { HttpClient, IPDiscovery } = require(folder + '/hap-controller');
const short = type => type.replace(/-0000-1000-8000-0026BB765291$/i, '').replace(/^0+/, '').toUpperCase();
const late = setTimeout(() => { console.log('late'); process.exit(1); }, 55000);

async function main() {
  const service = await new Promise(found => {
    const discovery = new IPDiscovery('cable');
    discovery.on('serviceUp', s => { if (s.id === device) { discovery.stop(); found(s); } });
    discovery.start();
  });
  console.log('found', service.name, service.availableToPair);
  const client = new HttpClient(service.id, service.address, service.port);
  await client.pairSetup(pin);
  console.log('paired');
  const { accessories: [accessory] } = await client.getAccessories();
  const of = kind => accessory.services.flatMap(s => s.characteristics).find(c => short(c.type) === kind);
  console.log('serial', of('30').value, 'services', accessory.services.length);
  const events = [];
  let rung;
  client.on('event', e => { events.push(...e.characteristics); rung?.(); });
  const [motion, bell, active] = ['22', '73', '21B'].map(kind => `1.${of(kind).iid}`);
  await client.subscribeCharacteristics([motion, bell]);
  const post = path => fetch(`${api}/api/${path}`, { method: 'POST' });
  const heard = async test => { while (!events.some(test)) await new Promise(ring => { rung = ring; }); };
  await post('events?type=motion&src=cam&on=true');
  await heard(e => `1.${e.iid}` === motion && e.value);
  await post('homekit/doorbell?id=cam');
  await heard(e => `1.${e.iid}` === bell && e.value === 0);
  console.log('heard');
  await client.setCharacteristics({ [active]: 0 });
  await heard(e => `1.${e.iid}` === motion && !e.value);
  await client.setCharacteristics({ [active]: 1 });
  const { characteristics: [read] } = await client.getCharacteristics([active]);
  console.log('on again', read.value);
  console.log('picture', (await client.getImage(640, 480)).subarray(0, 2).toString('hex'));
  await client.removePairing(client.getLongTermData().iOSDevicePairingID);
  await client.close();
  console.log('gone');
}
main().then(() => { clearTimeout(late); process.exit(0); }, e => { console.log('failed', e.stack); process.exit(1); });
"#;

#[test]
fn another_controller_of_others_hears_and_switches() {
    if !alone("another_controller_of_others_hears_and_switches") {
        return;
    }
    let streamd = Streamd::start(&config(0, "own", ", serial: S-0002, category_id: doorbell"));
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    let device = text(&home, "device_id");
    let api = format!("http://127.0.0.1:{}", streamd.port);
    let packages = packages();
    let run = tool("node", &["-e", OTHER_CONTROLLER, packages.to_str().unwrap(), device, PIN, &api], "");
    let said: Vec<&str> = run.out.lines().collect();
    let expected = [
        "found cam true",
        "paired",
        "serial S-0002 services 10",
        "heard",
        "on again 1",
        "picture ffd8",
        "gone",
    ];
    assert_eq!((run.code, &said[..]), (0, &expected[..]), "{}", run.err);
    let home = streamd.local("GET", "/api/homekit?id=cam", "").json();
    assert_eq!(int(&home, "paired"), 0);
}

/// Several cameras behind one bridge: paired once, each shown, heard and switched by itself.
#[test]
#[cfg(feature = "opus")]
fn a_bridge_holds_several_cameras() {
    let text = |streams: &str| {
        format!(
            "api: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"\"}}\nmdns: {{mode: \"off\"}}\n\
             streams:\n  porch: demo:?width=320&height=180\n  yard: demo:?width=320&height=180\n  \
             cellar: demo:?width=320&height=180\n\
             homekit:\n  house: {{pin: {PIN}, streams: [{streams}]}}\n  \
             porch: {{category_id: doorbell, speaker: true, motion: api}}\n  cellar: {{name: Alone}}\n"
        )
    };
    let mut streamd = Streamd::start(&text("porch, yard"));
    let all = streamd.local("GET", "/api/homekit", "").json();
    let names: Vec<_> = all.members().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["house", "cellar"]);
    let house = |streamd: &Streamd| streamd.local("GET", "/api/homekit?id=house", "").json();
    let port = int(&house(&streamd), "port").to_string();
    let (number, device) =
        (int(&house(&streamd), "config_number"), self::text(&house(&streamd), "device_id").to_owned());
    let script = hubsim_folder().join("bridge.mjs");
    let state = streamd.folder.path("hub.json");
    let hub = |streamd: &Streamd, what: &str| {
        let socket = streamd.socket();
        let args =
            [script.to_str().unwrap(), what, &port, PIN, state.to_str().unwrap(), socket.to_str().unwrap()];
        let run = tool("node", &args, "");
        assert_eq!(run.code, 0, "{what}: {}{}", run.out, run.err);
        run.out
    };
    let said = hub(&streamd, "pair");
    let expected = "paired\naccessories 3: 2 services, 8 services, 6 services\n\
                    the doorbell rang, the others did not\nmotion in the yard alone\npicture ffd8 ffd8\nbusy nowhere\n";
    // which of the two comes first is their numbers' business
    let alike = |text: &str| text.replace("6 services, 8 services", "8 services, 6 services");
    assert_eq!(alike(&said), expected);
    // what was set stays with the one it was set for, also when there is one more
    wait_until("the values to be kept", || {
        std::fs::read_dir(streamd.folder.path("streamd.d")).unwrap().count() >= 4
    });
    streamd.set_file(&text("porch, yard, cellar"));
    streamd.signal("-TERM");
    assert_eq!(streamd.ended(), 0);
    streamd = Streamd::start_in(std::mem::replace(&mut streamd.folder, Folder::new()), &[]);
    let now = house(&streamd);
    assert_eq!((int(&now, "config_number"), self::text(&now, "device_id")), (number + 1, device.as_str()));
    assert_eq!(hub(&streamd, "again"), "accessories 4\nvolumes kept\n");
}
