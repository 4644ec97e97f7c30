//! A scenario's folder and ports: the driver checks both before it starts anything.
//!
//! Every scenario starts in an empty folder `<log_dir>/<name in lower case with dashes>/`.
//! The driver removes what an earlier run left there. It touches only names that belong to
//! this project. If a data directory holds any other file, the driver leaves it and fails,
//! because a replica would start from it.

use super::verdict;
use multipaxos::config::{Config, cause};
use multipaxos::storage::data_dir::is_data_file;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

/// The folder that holds a scenario's files.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder if there is none, and checks that files can be made in it.
    pub fn open(log_dir: &Path, name: &str) -> Result<Folder, String> {
        let path = log_dir.join(name);
        let fail =
            |e: io::Error| format!("--log_dir {}: cannot write: {}", log_dir.display(), cause(&e));
        fs::create_dir_all(&path).map_err(fail)?;
        let probe = path.join("driver.probe");
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(fail)?;
        Ok(Folder { path })
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself, as an option's value.
    pub fn as_arg(&self) -> String {
        self.path.display().to_string()
    }

    /// A replica's chat log.
    pub fn chat_log(&self, replica: usize) -> PathBuf {
        self.path(&verdict::file_name(replica))
    }

    /// Removes the files that an earlier run left here.
    pub fn clear(&self) -> Result<(), String> {
        let fail =
            |path: &Path, e: io::Error| format!("cannot remove {}: {}", path.display(), cause(&e));
        let entries = fs::read_dir(&self.path).map_err(|e| fail(&self.path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| fail(&self.path, e))?;
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                continue;
            };
            let kind = entry.file_type().map_err(|e| fail(&path, e))?;
            if kind.is_file() && is_own_file(name) {
                fs::remove_file(&path).map_err(|e| fail(&path, e))?;
            } else if kind.is_dir() && numbered(name, "replica", "").is_some() {
                clear_data(&path)?;
            }
        }
        Ok(())
    }
}

fn is_own_file(name: &str) -> bool {
    let kinds = [
        ("learner", ".txt"),
        ("replica", ".err"),
        ("client", ".err"),
        ("replica", ".trace"),
        ("replica", ".trace.1"),
        ("client", ".trace"),
        ("client", ".trace.1"),
    ];
    kinds.iter().any(|(before, after)| numbered(name, before, after).is_some())
}

/// The number between `before` and `after`, if `name` consists of these three.
pub fn numbered(name: &str, before: &str, after: &str) -> Option<usize> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let canonical = digits == "0" || !digits.starts_with('0');
    if plain && canonical { digits.parse().ok() } else { None }
}

/// Removes a replica's data directory, unless it holds a file that is not ours.
fn clear_data(path: &Path) -> Result<(), String> {
    let fail =
        |path: &Path, e: io::Error| format!("cannot remove {}: {}", path.display(), cause(&e));
    let mut own = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| fail(path, e))? {
        let entry = entry.map_err(|e| fail(path, e))?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_data_file) {
            let (dir, name) = (path.display(), name.display());
            return Err(format!("{dir} holds {name}, which is not the driver's to remove"));
        }
        own.push(entry.path());
    }
    for file in own {
        fs::remove_file(&file).map_err(|e| fail(&file, e))?;
    }
    fs::remove_dir(path).map_err(|e| fail(path, e))
}

/// Why the driver cannot bind a configured address.
#[derive(Debug)]
pub enum PortFault {
    /// The address is in use, or binding fails in another way. The run fails.
    Taken(String),
    /// The address belongs to another host. The driver starts all replicas on this one.
    Foreign(String),
}

/// Binds every replica's address, and releases it again.
pub fn check_ports(config: &Config, config_path: &Path) -> Result<(), PortFault> {
    for (id, replica) in config.replicas.iter().enumerate() {
        let Err(error) = UdpSocket::bind(replica.address) else {
            continue;
        };
        let address = replica.address;
        return Err(match error.kind() {
            io::ErrorKind::AddrNotAvailable => PortFault::Foreign(format!(
                "{}:{}: {address} is no address of this host, and the driver starts all replicas here",
                config_path.display(),
                replica.line
            )),
            io::ErrorKind::AddrInUse => {
                PortFault::Taken(format!("UDP {address} of replica {id} is in use"))
            }
            _ => PortFault::Taken(format!(
                "UDP {address} of replica {id} cannot be bound: {}",
                cause(&error)
            )),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), "s").unwrap();
        let own = [
            "learner0.txt",
            "learner12.txt",
            "replica3.err",
            "client0.err",
            "replica0.trace",
            "replica0.trace.1",
            "client4.trace",
        ];
        let foreign =
            ["learner.txt", "learner01.txt", "learner0.txt.bak", "notes", "replica+1.err"];
        for name in own.iter().chain(&foreign) {
            fs::write(folder.path(name), b"x").unwrap();
        }
        fs::create_dir(folder.path("replica0")).unwrap();
        folder.clear().unwrap();
        let mut left: Vec<String> = fs::read_dir(&folder.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected: Vec<String> = foreign.iter().map(|name| name.to_string()).collect();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_data_directory_with_something_unknown_stays_and_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), "s").unwrap();
        fs::create_dir(folder.path("replica0")).unwrap();
        fs::write(folder.path("replica0/journal"), b"x").unwrap();
        fs::write(folder.path("replica0/diary"), b"x").unwrap();
        let said = folder.clear().unwrap_err();
        assert!(
            said.ends_with("replica0 holds diary, which is not the driver's to remove"),
            "{said}"
        );
        assert!(folder.path("replica0/diary").exists());
        assert!(folder.path("replica0/journal").exists());
        fs::remove_file(folder.path("replica0/diary")).unwrap();
        folder.clear().unwrap();
        assert!(!folder.path("replica0").exists());
    }
}
