//! Programs of the root package, for tests of other packages. Cargo builds them for a
//! `cargo test` of everything, but not for a test of one package.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The sources of the root package's programs, relative to a package in `crates`.
const SOURCES: [&str; 3] = ["../../src", "../durable/src", "../interleavings/src"];

/// Makes sure that the program `name` is in the folder of `own` and is as new as its sources.
/// So no test runs an old program.
#[track_caller]
pub(crate) fn assert_fresh_beside(own: &str, name: &str) {
    let program = Path::new(own).with_file_name(name);
    let shown = program.display();
    let Ok(found) = fs::metadata(&program) else {
        panic!("{shown} is missing: `cargo build` first, or `cargo test` without a package");
    };
    let built = found.modified().expect("a time");
    for folder in SOURCES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        if let Some(source) = newer(&folder, name, built) {
            let source = source.display();
            panic!(
                "{shown} is older than {source}: `cargo build` first, or `cargo test` without a \
                 package"
            );
        }
    }
}

/// A source of the program `name` that is newer than `built`.
fn newer(folder: &Path, name: &str, built: SystemTime) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    entries.map(|entry| entry.expect("an entry").path()).find_map(|path| {
        if path.is_dir() {
            return newer(&path, name, built);
        }
        let changed = path.metadata().and_then(|found| found.modified()).expect("a time");
        let another_program = folder.ends_with("bin") && path.file_stem() != Some(name.as_ref());
        let tests_alone = || {
            let text = fs::read_to_string(&path).expect("a source");
            path.ends_with("tests.rs") || text.contains("\n#![cfg(test)]\n")
        };
        (changed > built && !another_program && !tests_alone()).then_some(path)
    })
}
