//! Another machine: a network namespace with a cable to ours, which ends with the test.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process that keeps the namespace.
pub struct Neighbour(Child);

impl Neighbour {
    /// A machine without a cable yet.
    #[allow(clippy::disallowed_methods)] // no reactor here
    pub fn new() -> Neighbour {
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        while std::fs::read_link(format!("/proc/{}/ns/net", child.id())).is_ok_and(|theirs| theirs == ours) {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(10));
        }
        let neighbour = Neighbour(child);
        assert!(neighbour.command("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        neighbour
    }

    /// A program that will run there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-n", "-t", &self.0.id().to_string(), program]);
        command
    }

    /// Lays a cable: our end and theirs get these addresses, where given.
    pub fn cable(&self, name: &str, ours: Option<&str>, theirs: Option<&str>) {
        let pid = self.0.id();
        sh(&format!("ip link add {name} type veth peer name {name} netns {pid}"));
        let up = |nsenter: &str, address: Option<&str>| {
            if let Some(address) = address {
                sh(&format!("{nsenter} ip addr add {address} dev {name}"));
            }
            sh(&format!("{nsenter} ip link set {name} up"));
        };
        up(&format!("nsenter -n -t {pid}"), theirs);
        up("", ours);
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs what must not fail.
pub fn sh(command: &str) {
    let out = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
}
