//! Processor time for a process, by a control group of the kernel, of either version.
//!
//! A group is a folder that stays when its processes have ended. [`sweep`] removes those of this
//! run and of runs that were killed. It finds them by the prefix of their names.

use crate::world::Quota;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// Where groups of version 1 and of version 2 are, with the file that shows it.
const ROOTS: [(&str, &str); 2] =
    [("/sys/fs/cgroup/cpu", "cpu.shares"), ("/sys/fs/cgroup", "cgroup.subtree_control")];

/// How the names of our groups begin.
const PREFIX: &str = "multipaxos-hosts-";

/// The folder of groups, if this system has one for processor time.
fn root() -> Option<PathBuf> {
    let found = ROOTS.iter().find(|(root, file)| {
        Path::new(root).join(file).exists()
            && (*file == "cpu.shares"
                || fs::read_to_string(Path::new(root).join(file))
                    .is_ok_and(|on| on.split_whitespace().any(|name| name == "cpu")))
    });
    found.map(|(root, _)| PathBuf::from(root))
}

/// Whether groups can be made here.
pub fn works() -> bool {
    let Some(root) = root() else { return false };
    let probe = root.join(format!("{PREFIX}{}-probe", process::id()));
    let made = fs::create_dir(&probe).is_ok();
    made && fs::remove_dir(&probe).is_ok()
}

/// From now on the process, and what it starts, has so much processor time.
pub fn limit(pid: u32, quota: Quota) -> Result<(), String> {
    let root = root().ok_or("there are no control groups")?;
    let group = root.join(format!("{PREFIX}{}-{pid}", process::id()));
    let write = |file: &str, value: String| {
        let path = group.join(file);
        fs::write(&path, value).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir(&group).map_err(|error| format!("cannot make {}: {error}", group.display()))?;
    let (us, of_us) = (quota.ms * 1_000, quota.of_ms * 1_000);
    if group.join("cpu.max").exists() {
        write("cpu.max", format!("{us} {of_us}"))?;
    } else {
        write("cpu.cfs_period_us", of_us.to_string())?;
        write("cpu.cfs_quota_us", us.to_string())?;
    }
    write("cgroup.procs", pid.to_string())
}

/// Removes the groups in which no process is any more: ours, and those of runs that were
/// killed. The kernel refuses to remove the others.
pub fn sweep() {
    let Some(root) = root() else { return };
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
