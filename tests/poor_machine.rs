//! Machines that lack something: a root that cannot be written, a disk that is full, an interface or an
//! address that comes only later. Each in namespaces of the test's own.
#![cfg(all(feature = "rtsp", feature = "demo", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use support::rtsp::{Viewer, datagrams};
use support::*;

fn sh(script: &str) {
    let run = tool("sh", &["-c", script], "");
    assert_eq!(run.code, 0, "{script}: {}", run.err);
}

fn plays(it: &Streamd) {
    let mut viewer = Viewer::new(&format!("{}/cam", it.rtsp()));
    viewer.play().unwrap();
    viewer.pictures(3);
}

/// Everything but a small place in memory is as the firmware's image has it.
#[test]
fn a_root_that_cannot_be_written() {
    let script = "mount --make-rprivate / && mount -t tmpfs none /mnt && mount -o remount,ro,bind / && \
                  export TMPDIR=/mnt HOME=/root && cd /";
    if !alone("a_root_that_cannot_be_written", "-m", script) {
        return;
    }
    assert!(std::fs::write("/here", "").is_err(), "the root can be written all the same");
    let (folder, etc) = (Folder::new(), Folder::new());
    let text = "log: {output: \"file:/var/log/streamd\"}\napi: {listen: \"127.0.0.1:0\"}\n\
                rtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  cam: demo:sub\n";
    let text = head(&folder) + text;
    let file = etc.write("streamd.yaml", &text);
    std::os::unix::fs::symlink(&file, folder.path("streamd.yaml")).unwrap();
    let path = etc.0.display();
    sh(&format!("mount --bind {path} {path} && mount -o remount,ro,bind {path}"));
    let it = Streamd::start_in(folder, &[]);
    plays(&it);
    let put = it.local("PUT", "/api/streams?name=two&src=demo:sub", "");
    assert!(put.status >= 500, "{} {}", put.status, put.text());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    plays(&it);
    sh(&format!("umount {path}"));
}

/// What does not fit is told, what was there stays whole, and once there is room it is written.
#[test]
fn a_full_disk() {
    if !alone("a_full_disk", "-m", "mount --make-rprivate /") {
        return;
    }
    let folder = Folder::new();
    sh(&format!("mount -t tmpfs -o size=64k none {}", folder.0.display()));
    let text = format!(
        "log: {{output: \"file:{}\"}}\napi: {{listen: \"127.0.0.1:0\"}}\nrtsp: {{listen: \"127.0.0.1:0\"}}\n\
         streams:\n  cam: demo:sub\n",
        folder.path("own.log").display()
    );
    folder.write("streamd.yaml", head(&folder) + &text);
    let it = Streamd::start_in(folder, &[]);
    plays(&it);
    let before = it.file();
    let stuffing = it.folder.path("stuffing");
    while std::fs::File::options().create(true).append(true).open(&stuffing).is_ok_and(|mut f| {
        use std::io::Write;
        f.write(&[7; 4096]).is_ok_and(|n| n > 0)
    }) {}
    let put = it.local("PUT", "/api/streams?name=two&src=demo:sub", "");
    assert!(put.status >= 500, "{} {}", put.status, put.text());
    assert_eq!(it.file(), before, "the file was touched");
    // it may be noisy, and goes on
    for _ in 0..300 {
        it.local("PUT", "/api/streams?name=&src=", "");
    }
    plays(&it);
    std::fs::remove_file(stuffing).unwrap();
    let put = it.local("PUT", "/api/streams?name=two&src=demo:sub", "");
    assert_eq!(put.status, 200, "{}", put.text());
    assert!(it.file().contains("two"), "{}", it.file());
    let folder = it.folder.0.display().to_string();
    drop(it);
    sh(&format!("umount -l {folder} || true"));
}

/// The program starts before the network is there: it listens at an address that nobody has yet, and
/// sends to groups as soon as there is a way.
#[test]
fn an_interface_that_comes_later() {
    if !alone("an_interface_that_comes_later", "-n", "ip link set lo up") {
        return;
    }
    let it = Streamd::start(
        "open: true\napi: {listen: \"10.77.0.1:8080\"}\nrtsp: {listen: \"127.0.0.1:0\"}\n\
         streams:\n  cam: demo:sub\n",
    );
    let mut viewer = Viewer::new(&format!("{}/cam", it.rtsp()));
    let (group, port) = viewer.play_group();
    // packets that nobody can carry are no reason to end
    pause(500);
    plays(&it);
    sh("ip link add v0 type veth peer name v1 && ip link set v1 up && ip addr add 10.77.0.1/24 dev v0 && \
        ip link set v0 up multicast on && ip route add 224.0.0.0/4 dev v0");
    let receiver = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    receiver.join_multicast_v4(&group.parse().unwrap(), &Ipv4Addr::new(10, 77, 0, 1)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    datagrams(&receiver, 3);
    let seen = curl(&["-o", "/dev/null", "-w", "%{http_code}", "http://10.77.0.1:8080/api"]);
    assert_eq!(seen.out, "200", "{}\n{}", seen.err, it.log());
}

/// No address of IPv6, on an interface or at all.
#[test]
fn ipv6_is_switched_off() {
    let script = "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && ip link set lo up";
    if !alone("ipv6_is_switched_off", "-n", script) {
        return;
    }
    let it = Streamd::start(
        "api: {listen: \":0\"}\nrtsp: {listen: \":0\"}\nopen: true\nstreams:\n  cam: demo:sub\n",
    );
    assert_eq!(it.ask("GET", "/api/streams", "").status, 200);
    plays(&it);
    let mut viewer = Viewer::new(&format!("{}/cam", it.rtsp()));
    let [rtp, _rtcp] = viewer.play_udp();
    datagrams(&rtp, 3);
}
