//! Old and lean systems: calls that a kernel of 3.10 does not have, or that somebody left out of his;
//! no IPv6; a clock that begins with the start of the machine. Pictures are served.
#![cfg(all(feature = "rtsp", feature = "demo", target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]
#![allow(unsafe_code)]

mod support;

use nix::libc;
use std::os::unix::process::CommandExt;
use std::process::Command;
use support::rtsp::{Viewer, datagrams};
use support::*;

/// What the system says to a call that it does not have.
#[derive(Clone, Copy)]
enum Lack {
    /// The call.
    Call(libc::c_long),
    /// Every call of at least this number: those that came later.
    From(libc::c_long),
    /// A socket of this family.
    Family(libc::c_int),
    /// This option of a socket.
    Option(libc::c_int, libc::c_int),
}

/// A filter that the kernel asks at each call of the process.
fn filter(lacks: &[Lack]) -> Vec<libc::sock_filter> {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    let line = |code: u32, k: u32, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let number = line(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0);
    // the lower half of an argument
    let argument = |n: u32| line(BPF_LD | BPF_W | BPF_ABS, 16 + 8 * n, 0, 0);
    let equals = |value: u32, otherwise: u8| line(BPF_JMP | BPF_JEQ | BPF_K, value, 0, otherwise);
    let answer = |error: i32| line(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0);
    let mut all = Vec::new();
    for lack in lacks {
        all.push(number);
        match *lack {
            Lack::Call(call) => all.extend([equals(call as u32, 1), answer(libc::ENOSYS)]),
            Lack::From(call) => {
                all.extend([line(BPF_JMP | BPF_JGE | BPF_K, call as u32, 0, 1), answer(libc::ENOSYS)])
            }
            Lack::Family(family) => all.extend([
                equals(libc::SYS_socket as u32, 3),
                argument(0),
                equals(family as u32, 1),
                answer(libc::EAFNOSUPPORT),
            ]),
            Lack::Option(level, option) => all.extend([
                equals(libc::SYS_setsockopt as u32, 5),
                argument(1),
                equals(level as u32, 3),
                argument(2),
                equals(option as u32, 1),
                answer(libc::ENOPROTOOPT),
            ]),
        }
    }
    all.push(line(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    all
}

/// Has the command run on a system that lacks these.
fn lacking(command: &mut Command, lacks: &[Lack]) {
    let filter = filter(lacks);
    let begin = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        // SAFETY: both calls read their arguments only, and the filter outlives them
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing
    unsafe { command.pre_exec(begin) };
}

const CONFIG: &str = "api: {listen: \":0\"}\nrtsp: {listen: \":0\"}\nusers: [{name: anna, password: geheim}]\n\
                      streams:\n  cam: demo:sub?audio=alaw\n";

fn start(config: &str, how: impl FnOnce(&mut Command)) -> Streamd {
    let folder = Folder::new();
    folder.write("streamd.yaml", head(&folder) + config);
    Streamd::start_as(folder, how)
}

/// Its API answers, and pictures come by TCP and by UDP.
fn serves(it: &Streamd) {
    assert_eq!(it.local("GET", "/api/streams", "").status, 200);
    let url = format!("{}/cam", it.rtsp());
    let mut viewer = Viewer::new(&url);
    viewer.play().unwrap();
    viewer.pictures(3);
    let mut viewer = Viewer::new(&url);
    let [rtp, _rtcp] = viewer.play_udp();
    datagrams(&rtp, 3);
}

/// Calls that came after Linux 3.10, and some that a kernel may be built without.
const CALLS: [(&str, libc::c_long); 20] = [
    ("getrandom", libc::SYS_getrandom),
    ("memfd_create", libc::SYS_memfd_create),
    ("statx", libc::SYS_statx),
    ("renameat2", libc::SYS_renameat2),
    ("copy_file_range", libc::SYS_copy_file_range),
    ("preadv2", libc::SYS_preadv2),
    ("pwritev2", libc::SYS_pwritev2),
    ("membarrier", libc::SYS_membarrier),
    ("rseq", libc::SYS_rseq),
    ("clone3", libc::SYS_clone3),
    ("close_range", libc::SYS_close_range),
    ("openat2", libc::SYS_openat2),
    ("faccessat2", libc::SYS_faccessat2),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("epoll_pwait2", libc::SYS_epoll_pwait2),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("timerfd_create", libc::SYS_timerfd_create),
    ("signalfd4", libc::SYS_signalfd4),
    ("recvmmsg", libc::SYS_recvmmsg),
    ("prlimit64", libc::SYS_prlimit64),
];
/// A socket's option that has the system cut what is sent (Linux 4.18).
const SEGMENT: Lack = Lack::Option(libc::SOL_UDP, libc::UDP_SEGMENT);

#[test]
fn each_call_that_an_old_kernel_lacks_can_be_missing() {
    let here = "rtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  cam: demo:sub?audio=alaw\n";
    let begun: Vec<_> = CALLS.iter().map(|&(name, call)| (name, Lack::Call(call))).collect();
    for (name, lack) in begun.into_iter().chain([("UDP_SEGMENT", SEGMENT)]) {
        let it = start(here, |command| lacking(command, &[lack]));
        println!("without {name}");
        serves(&it);
    }
}

/// As a camera of 2013 has it, without IPv6.
#[test]
fn a_kernel_of_3_10_is_enough() {
    // kcmp and finit_module were its last
    let lacks = [Lack::From(314), SEGMENT, Lack::Family(libc::AF_INET6), Lack::Call(libc::SYS_inotify_init1)];
    let mut it = start(CONFIG, |command| lacking(command, &lacks));
    let open = "open: true\napi: {listen: \":0\"}\nrtsp: {listen: \":0\"}\nstreams:\n  cam: demo:sub\n";
    let url = it.url("/api/streams");
    let seen = curl(&["--digest", "-u", "anna:geheim", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!(seen.out, "200", "{}", seen.err);
    // a file that is written, a reload, an end by a signal
    let put = it.local("PUT", "/api/streams?name=two&src=demo:sub", "");
    assert_eq!(put.status, 200, "{}", put.text());
    assert!(it.file().contains("two"), "{}", it.file());
    it.set_file(open);
    it.signal("-HUP");
    let url = format!("{}/cam", it.rtsp());
    wait_until("the reload", || Viewer::new(&url).request("DESCRIBE", "", "").0 == 200);
    serves(&it);
    it.signal("-TERM");
    assert_eq!(it.ended(), 0);
}

/// Our own clock begins with the machine: nothing may go back before that.
#[test]
fn it_starts_in_the_first_second_of_the_machine() {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let back = uptime.split('.').next().unwrap();
    let namespaces = format!("-T --monotonic -{back} --boottime -{back}");
    if !alone("it_starts_in_the_first_second_of_the_machine", &namespaces, "true") {
        return;
    }
    let it = start("rtsp: {listen: \"127.0.0.1:0\"}\nstreams:\n  cam: demo:sub?audio=alaw\n", |_| {});
    serves(&it);
}
