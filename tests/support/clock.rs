//! A time of day that a test sets, for the program under test alone.

use super::{Folder, tool};
use std::path::PathBuf;
use std::process::Command;

/// Stands before the system's clocks: moves them by what a file says, a number of seconds for the time
/// of day.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long long *moved(void)
{
    static volatile long long *at;
    if (!at) {
        static long long none;
        const char *path = getenv("CLOCK_FILE");
        int fd = path ? open(path, O_RDONLY) : -1;
        void *map = fd < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
        at = map == MAP_FAILED ? &none : map;
        if (fd >= 0)
            close(fd);
    }
    return at;
}
int clock_gettime(clockid_t which, struct timespec *out)
{
    long code = syscall(SYS_clock_gettime, which, out);
    if (!code && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        out->tv_sec += *moved();
    return code;
}
int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// The time of day as the program under test has it.
pub struct Clock {
    file: PathBuf,
    shim: PathBuf,
}

impl Clock {
    /// A clock that stands there; its files are in that folder.
    pub fn new(folder: &Folder, seconds: u64) -> Clock {
        let source = folder.write("shim.c", SHIM);
        let clock = Clock { file: folder.path("clock"), shim: folder.path("shim.so") };
        let paths = [&clock.shim, &source].map(|p| p.to_str().unwrap());
        let made = tool("cc", &["-shared", "-fPIC", "-O1", "-o", paths[0], paths[1]], "");
        assert_eq!(made.code, 0, "{}", made.err);
        clock.set(seconds);
        clock
    }

    /// Has a program live by it, unless it is one without the system's libc.
    pub fn on(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.shim).env("CLOCK_FILE", &self.file);
    }

    /// Seconds since 1970 that it shows from now on.
    pub fn set(&self, seconds: u64) {
        use std::os::unix::fs::FileExt;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let file =
            std::fs::File::options().write(true).create(true).truncate(false).open(&self.file).unwrap();
        file.write_all_at(&(seconds.wrapping_sub(now)).to_ne_bytes(), 0).unwrap();
    }
}
