//! A network namespace: a host with interfaces, addresses and counters of its own.
//!
//! A namespace lives as long as a process or a thread is in it. A holder process keeps it: a
//! `cat` that ends with its stdin, which is a pipe from this process. So when this process
//! ends in any way, the holder ends, and with it the namespace and every interface in it.
//! Nothing has a name in the file system, and there is nothing to clean up.
//!
//! [`Namespace::enter`] moves the calling thread. What the thread starts from then on, and
//! every socket that it opens, belongs to the namespace.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

/// A host of the tests' own.
pub struct Namespace {
    holder: Child,
    link: File,
}

/// What an interface has sent since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes, with the headers of IP and of the link.
    pub bytes: u64,
    /// Packets. A batch that the kernel did not cut counts as one.
    pub packets: u64,
}

impl Namespace {
    /// A new namespace, whose loopback is up.
    pub fn new() -> Result<Namespace, String> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start unshare: {error}"))?;
        // The holder prints a line once it is in its namespace.
        let mut line = String::new();
        let stdout = holder.stdout.take().map(BufReader::new);
        let ready = stdout.is_some_and(|mut out| out.read_line(&mut line).is_ok());
        let link = File::open(format!("/proc/{}/ns/net", holder.id()));
        if !ready || line.is_empty() || link.is_err() {
            let _ = holder.kill();
            let _ = holder.wait();
            return Err("unshare --net makes no network namespace".into());
        }
        let link = link.map_err(|error| format!("cannot open a namespace: {error}"))?;
        let made = Namespace { holder, link };
        made.run("ip", &["link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// The process that holds it. `ip` takes this number in place of a name.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Moves the calling thread into the namespace.
    pub fn enter(&self) -> Result<(), String> {
        move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| format!("cannot enter a network namespace: {error}"))
    }

    /// Runs a program in the namespace until it ends well, and returns what it printed.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        self.enter()?;
        let shown = || format!("{program} {}", args.join(" "));
        let output = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", shown()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("{}: {said}", shown()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writes a setting of the namespace, named by its path below `/proc/sys/net`.
    pub fn set(&self, setting: &str, value: &str) -> Result<(), String> {
        self.enter()?;
        let path = format!("/proc/sys/net/{setting}");
        fs::write(&path, value).map_err(|error| format!("cannot write {path}: {error}"))
    }

    /// What an interface has sent so far.
    pub fn sent(&self, interface: &str) -> Result<Sent, String> {
        self.enter()?;
        let path = "/proc/thread-self/net/dev";
        let table =
            fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
        sent_in(&table, interface).ok_or_else(|| format!("{path} has no {interface}"))
    }

    /// How many packets the queue of an interface has dropped so far.
    pub fn dropped(&self, interface: &str) -> Result<u64, String> {
        let text = self.run("tc", &["-s", "qdisc", "show", "dev", interface])?;
        Ok(dropped_in(&text))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The counters of an interface in the text of `/proc/net/dev`: behind its name eight numbers of
/// what it received, then bytes and packets sent.
fn sent_in(table: &str, interface: &str) -> Option<Sent> {
    let row = table.lines().find_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        (name.trim() == interface).then_some(numbers)
    })?;
    let mut numbers = row.split_whitespace().skip(8).map(str::parse);
    Some(Sent { bytes: numbers.next()?.ok()?, packets: numbers.next()?.ok()? })
}

/// The sum of what the queues in the output of `tc -s qdisc` have dropped: each has a line
/// `Sent … (dropped 7, overlimits …`.
fn dropped_in(text: &str) -> u64 {
    let number = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<u64>().unwrap_or(0)
    };
    text.split("(dropped ").skip(1).map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_interface_that_is_named() {
        let table = "Inter-|   Receive                  |  Transmit\n \
            face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs\n    \
            lo:     100       2    0    0    0     0          0         0      100       2    0\n  \
            eth0: 5 6 0 0 0 0 0 0 70000 81 0 0 0 0 0 0\n";
        assert_eq!(sent_in(table, "eth0"), Some(Sent { bytes: 70_000, packets: 81 }));
        assert_eq!(sent_in(table, "lo"), Some(Sent { bytes: 100, packets: 2 }));
        assert_eq!(sent_in(table, "eth1"), None);
    }

    #[test]
    fn drops_of_all_queues_are_added() {
        let text = "qdisc tbf 8001: root refcnt 2 rate 10Mbit\n \
            Sent 12 bytes 1 pkt (dropped 7, overlimits 0 requeues 0)\nqdisc bfifo 1: parent\n \
            Sent 12 bytes 1 pkt (dropped 30, overlimits 0 requeues 0)\n";
        assert_eq!(dropped_in(text), 37);
        assert_eq!(dropped_in("qdisc noqueue 0: root refcnt 2\n Sent 0 bytes"), 0);
    }
}
