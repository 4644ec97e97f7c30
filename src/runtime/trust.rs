//! Whom a process believes: the files that keys are in, and what a process without a key may do.
//!
//! A key file is text, one key a line, and `#` begins a comment:
//!
//! ```text
//! multipaxos-key 64 hexadecimal digits
//! multipaxos-client-key 7 64 hexadecimal digits
//! ```
//!
//! The first kind is a cluster's, for replicas. There may be two while a key is changed: the
//! first is used, both are taken. The second kind is a client's, with its number; the file has
//! one. A file that anybody but its owner can read is refused, since a secret that others have
//! read is none.
//!
//! Without a key whoever can send a datagram can write, so a process takes part in a cluster on
//! loopback addresses only, unless it is told that it may be insecure.
//!
//! **Does not** read a key file again while the process runs: to change keys, the replicas are
//! restarted one after the other.

use crate::config::{Config, cause};
use crate::net::guard::key::{KEY_BYTES, KEYS_MAX, Keys, OPERATOR, Secret};
use crate::runtime::process::entropy;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The first word of a line with a cluster's key, and with a client's.
const CLUSTER_WORD: &str = "multipaxos-key";
const CLIENT_WORD: &str = "multipaxos-client-key";

/// A key file has a few lines. More bytes than these are something else.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What the owner of a key file may do with it, and nobody else.
const MODE: u32 = 0o600;

/// Whom a process believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Everybody, in a cluster on loopback addresses. With others it does not begin.
    #[default]
    Loopback,
    /// Whoever has a key that fits the one in this file.
    KeyFile(PathBuf),
    /// Everybody, anywhere.
    Insecure,
}

/// Why a process may not take part, as one line. It names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl Trust {
    /// What the options `--key_file` and `--insecure` say.
    ///
    /// # Errors
    ///
    /// If they contradict each other.
    pub fn of_options(key_file: Option<&Path>, insecure: bool) -> Result<Self, Refused> {
        match (key_file, insecure) {
            (Some(_), true) => Err(Refused("--insecure: not with --key_file: choose one".into())),
            (Some(file), false) => Ok(Trust::KeyFile(file.to_owned())),
            (None, true) => Ok(Trust::Insecure),
            (None, false) => Ok(Trust::Loopback),
        }
    }

    /// The keys of a replica of this cluster; none if it believes everybody.
    ///
    /// # Errors
    ///
    /// If the file cannot be used, or is a client's, or there is none and the cluster has an
    /// address that is no loopback address.
    pub fn replica_keys(&self, config: &Config) -> Result<Option<Keys>, Refused> {
        match self.keys(config)? {
            Some(Keys::Client { .. }) => {
                let Trust::KeyFile(file) = self else { unreachable!("it was read") };
                let file = file.display();
                Err(Refused(format!("{file}: a client's key: this needs the cluster's")))
            }
            keys => Ok(keys),
        }
    }

    /// The key of a client of this cluster; none if it believes everybody. Out of the cluster's
    /// key it makes one of its own.
    ///
    /// # Errors
    ///
    /// See [`Trust::replica_keys`].
    pub fn client_keys(&self, config: &Config) -> Result<Option<Keys>, Refused> {
        let Some(keys) = self.keys(config)? else { return Ok(None) };
        Ok(Some(keys.for_client(client_number()?)))
    }

    /// The same of an operator, who changes the members.
    ///
    /// # Errors
    ///
    /// See [`Trust::replica_keys`].
    pub fn operator_keys(&self, config: &Config) -> Result<Option<Keys>, Refused> {
        Ok(self.replica_keys(config)?.map(|keys| keys.for_client(OPERATOR)))
    }

    fn keys(&self, config: &Config) -> Result<Option<Keys>, Refused> {
        match self {
            Trust::KeyFile(file) => read(file).map(Some),
            Trust::Insecure => Ok(None),
            Trust::Loopback => match config.beyond_loopback() {
                None => Ok(None),
                Some(replica) => Err(Refused(format!(
                    "{}: not a loopback address, so there must be a key, or everybody could write: \
                     give all replicas and clients the same --key_file (replica --make_key FILE \
                     makes one), or say --insecure",
                    replica.host
                ))),
            },
        }
    }
}

/// Makes a new key for a cluster, in a file that is not there yet.
///
/// # Errors
///
/// If the file is there or cannot be written, or the system gives no random bytes.
pub fn make_key(file: &Path) -> Result<(), Refused> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Refused(format!("the system gives no random bytes: {error}")))?;
    write(file, &format!("{CLUSTER_WORD} {}\n", hex(&bytes)))
}

/// Makes a new client's key out of the cluster's in `cluster`, in a file that is not there yet.
///
/// # Errors
///
/// If `cluster` is no cluster's key, the file is there or cannot be written, or the system gives
/// no random bytes.
pub fn make_client_key(cluster: &Path, file: &Path) -> Result<(), Refused> {
    let Keys::Cluster(secrets) = read(cluster)? else {
        let cluster = cluster.display();
        return Err(Refused(format!(
            "{cluster}: a client's key: others are made of the cluster's"
        )));
    };
    let number = client_number()?;
    let secret = secrets[0].of_client(number);
    write(file, &format!("{CLIENT_WORD} {number} {}\n", hex(secret.bytes())))
}

/// A number for a client's key, which is nobody else's.
fn client_number() -> Result<u32, Refused> {
    let drawn = entropy().map_err(|error| Refused(error.to_string()))? as u32;
    Ok(drawn.clamp(1, OPERATOR - 1))
}

fn write(file: &Path, text: &str) -> Result<(), Refused> {
    let cannot = |error: io::Error| Refused(format!("{}: {}", file.display(), cause(&error)));
    let mut into =
        OpenOptions::new().write(true).create_new(true).mode(MODE).open(file).map_err(cannot)?;
    into.write_all(text.as_bytes()).and_then(|()| into.sync_all()).map_err(cannot)
}

/// Reads a key file.
///
/// # Errors
///
/// If it cannot be read, others can read it, or it is no key file.
pub fn read(path: &Path) -> Result<Keys, Refused> {
    let named = path.display();
    let cannot = |error: io::Error| Refused(format!("{named}: {}", cause(&error)));
    let file = File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Refused(format!(
            "{named}: others than its owner may read or change it: chmod 600 {named}"
        )));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    parse(&text).map_err(|(line, what)| Refused(format!("{named}:{line}: {what}")))
}

/// Reads the text of a key file. An error has the number of its line, from 1.
fn parse(text: &str) -> Result<Keys, (usize, &'static str)> {
    let mut cluster = Vec::new();
    let mut client = None;
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
        match words[..] {
            [] => {}
            [CLUSTER_WORD, digits] => {
                let bytes = unhex(digits).ok_or((at, "a key has 64 hexadecimal digits"))?;
                cluster.push(Secret::new(bytes));
            }
            [CLIENT_WORD, number, digits] => {
                let bytes = unhex(digits).ok_or((at, "a key has 64 hexadecimal digits"))?;
                let number = number.parse().ok().filter(|number: &u32| *number > 0);
                let number = number.ok_or((at, "a client's key has a number from 1 on"))?;
                let secret = Secret::new(bytes);
                if client.replace(Keys::Client { number, secret }).is_some() {
                    return Err((at, "a client has one key"));
                }
            }
            _ => return Err((at, "not a key: replica --make_key FILE makes a file with one")),
        }
        if cluster.len() > KEYS_MAX {
            return Err((at, "a third key: the one in use and a new one are the most"));
        }
    }
    match (client, cluster.is_empty()) {
        (None, true) => Err((1, "no key: replica --make_key FILE makes a file with one")),
        (None, false) => Ok(Keys::Cluster(cluster)),
        (Some(client), true) => Ok(client),
        (Some(_), false) => Err((1, "a cluster's key and a client's: a file has one kind")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<[u8; KEY_BYTES]> {
    let mut bytes = [0; KEY_BYTES];
    if digits.len() != 2 * KEY_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn hosts(text: &str) -> Config {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config.txt");
        fs::write(&file, text).expect("it is written");
        Config::load(&file, None, None).expect("a cluster")
    }

    #[test]
    fn a_key_that_is_made_is_read_by_its_owner_and_by_nobody_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let [key, client, other] = ["key", "client", "other"].map(|name| dir.path().join(name));
        make_key(&key).expect("it is made");
        assert_eq!(fs::metadata(&key).expect("it is there").permissions().mode() & 0o777, MODE);
        let Keys::Cluster(secrets) = read(&key).expect("a key") else { panic!("a cluster's") };
        let again = make_key(&key).expect_err("it is there").to_string();
        assert!(again.ends_with("key: File exists"), "{again}");
        make_client_key(&key, &client).expect("it is made");
        let Keys::Client { number, secret } = read(&client).expect("a key") else { panic!() };
        assert_eq!(secrets[0].of_client(number), secret, "replicas know it");
        let made = make_client_key(&client, &other).expect_err("it is a client's");
        assert!(made.to_string().contains("made of the cluster's"), "{made}");
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("it is ours");
            let refused = read(&key).expect_err("others can read it").to_string();
            assert!(refused.ends_with(&format!("chmod 600 {}", key.display())), "{refused}");
        }
    }

    #[test]
    fn a_file_says_what_is_wrong_with_it_and_where() {
        let key = |byte: &str| format!("{CLUSTER_WORD} {}\n", byte.repeat(KEY_BYTES));
        let client = format!("{CLIENT_WORD} 7 {}", "0f".repeat(KEY_BYTES));
        for (text, line, what) in [
            (String::new(), 1, "no key"),
            ("# nothing\n\n".into(), 1, "no key"),
            ("a key\n".into(), 1, "not a key"),
            (format!("\n{CLUSTER_WORD} 0123\n"), 2, "64 hexadecimal"),
            (format!("{CLUSTER_WORD} {}\n", "+f".repeat(KEY_BYTES)), 1, "64 hexadecimal"),
            ([key("00"), key("01"), key("02")].concat(), 3, "a third key"),
            (client.replace(" 7 ", " 0 "), 1, "from 1 on"),
            (format!("{client}\n{client}\n"), 2, "one key"),
            (format!("{client}\n{}", key("01")), 1, "one kind"),
        ] {
            let (at, said) = parse(&text).expect_err(&text);
            assert!(at == line && said.contains(what), "{text}: {at}: {said}");
        }
        let two = parse(&format!("# old and new\n{}{}", key("a0"), key("B1"))).expect("two keys");
        let bytes = [0xa0, 0xb1].map(|byte| Secret::new([byte; KEY_BYTES]));
        assert_eq!(two, Keys::Cluster(bytes.to_vec()));
    }

    #[test]
    fn without_a_key_only_loopback_addresses_are_taken_unless_the_user_says_so() {
        let local = hosts("127.0.0.1 7001\n127.0.0.2 7002\n127.0.0.1 7003\n");
        let open = hosts("127.0.0.1 7001\n10.0.0.2 7002\n127.0.0.1 7003\n");
        assert_eq!(Trust::Loopback.replica_keys(&local), Ok(None));
        assert_eq!(Trust::Insecure.client_keys(&open), Ok(None));
        for refused in [Trust::Loopback.replica_keys(&open), Trust::Loopback.client_keys(&open)] {
            let said = refused.expect_err("it is open to others").to_string();
            assert!(said.starts_with("10.0.0.2: ") && said.ends_with("--insecure"), "{said}");
            assert!(said.contains("--key_file"), "{said}");
        }
        let both = Trust::of_options(Some(Path::new("key")), true);
        assert!(both.is_err_and(|said| said.to_string().contains("choose one")));
    }
}
