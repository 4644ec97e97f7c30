//! What a world needs of the host, and whether the host has it.
//!
//! Each need is tried once, in a namespace of its own. A row whose world needs something that is
//! missing is skipped, and one word says what. Whatever else goes wrong in a row is an error.

use crate::namespace::Namespace;
use crate::quota;
use crate::world::{FRAGMENTS_LEAST, Ground, Mtu, System, World};
use std::process::{Command, Stdio};

/// What the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tools {
    namespaces: bool,
    switch: bool,
    tbf: bool,
    settings: bool,
    strace: bool,
    quotas: bool,
}

impl Tools {
    /// Tries everything.
    pub fn find() -> Tools {
        let Ok(namespace) = Namespace::new() else { return Tools::default() };
        let works = |program: &str, args: &str| {
            namespace.run(program, &args.split(' ').collect::<Vec<_>>()).is_ok()
        };
        Tools {
            namespaces: true,
            switch: works("ip", "link add switch type bridge")
                && works("ip", "link add port0 type veth peer name port1"),
            tbf: works("tc", "qdisc add dev lo root tbf rate 1mbit burst 3000 latency 50ms"),
            settings: namespace.set(FRAGMENTS_LEAST, "0").is_ok(),
            strace: traces(),
            quotas: quota::works(),
        }
    }

    /// The first thing that a world needs and that is missing, in one word.
    pub fn missing(&self, world: &World) -> Option<&'static str> {
        let hosts = matches!(world.ground, Ground::Hosts(_));
        let no_fragments = matches!(world.ground, Ground::Hosts(Mtu::WithoutFragments(_)));
        let needs = [
            (true, self.namespaces, "namespaces"),
            (hosts, self.switch, "bridge"),
            (no_fragments, self.settings, "sysctl"),
            (world.bucket.is_some(), self.tbf, "tbf"),
            (world.system != System::Honest, self.strace, "strace"),
            (world.quota.is_some(), self.quotas, "cgroup"),
        ];
        needs.into_iter().find(|(needed, there, _)| *needed && !there).map(|(.., word)| word)
    }
}

/// Whether strace can put something in place of a call, as the replicas are started.
fn traces() -> bool {
    let tried = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"])
        .args(["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=1", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;
    use crate::rows::TABLE;

    #[test]
    fn a_row_is_skipped_for_the_first_thing_that_is_missing() {
        let all = Tools {
            namespaces: true,
            switch: true,
            tbf: true,
            settings: true,
            strace: true,
            quotas: true,
        };
        assert!(TABLE.iter().all(|row| all.missing(&row.world).is_none()));
        let none = |row: &Row| Tools::default().missing(&row.world);
        assert!(TABLE.iter().all(|row| none(row) == Some("namespaces")));
        let row = |name| TABLE.iter().find(|row| row.name.starts_with(name)).expect("a row");
        let without = |tools: Tools, name| tools.missing(&row(name).world);
        assert_eq!(without(Tools { strace: false, ..all }, "slow-disk"), Some("strace"));
        assert_eq!(without(Tools { tbf: false, ..all }, "goodput"), Some("tbf"));
        assert_eq!(without(Tools { switch: false, ..all }, "mtu"), Some("bridge"));
        assert_eq!(without(Tools { settings: false, ..all }, "mtu"), Some("sysctl"));
        assert_eq!(without(Tools { quotas: false, ..all }, "quota"), Some("cgroup"));
        assert_eq!(without(Tools { switch: false, ..all }, "switch"), Some("bridge"));
        assert_eq!(without(Tools { quotas: false, ..all }, "mtu"), None);
    }
}
