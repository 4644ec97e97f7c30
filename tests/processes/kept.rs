//! What earlier builds have written, kept in `tests/data`: this build goes on with it, or refuses it
//! in words.

use crate::support::*;
use std::fs::{self, File};
use std::path::Path;

/// How long a segment of the acceptor's log is made when it is begun.
const SEGMENT_BYTES: u64 = 4 << 20;

/// Copies the kept log directory of a cluster of one.
fn put(place: &Place) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/directory_1");
    let to = place.logs().join("replica0");
    fs::create_dir_all(&to).expect("a folder");
    let copy = |from: &Path, to: &Path| {
        fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()))
    };
    copy(&kept.join("learner0.txt"), &place.logs().join("learner0.txt"));
    let segment = "acceptor-0000000000000000";
    for name in ["identity", "checkpoint", "journal", "asides", segment] {
        copy(&kept.join("replica0").join(name), &to.join(name));
    }
    let segment = File::options().write(true).open(to.join(segment)).expect("the segment");
    segment.set_len(SEGMENT_BYTES).expect("zeros");
}

#[test]
fn a_data_directory_of_an_earlier_build_goes_on_where_it_was() {
    let place = Place::new(0);
    put(&place);
    let mut replica = place.restarted(0, &[]);
    let ran = place.say(&["--client_id", "7"], b"again\n");
    assert_eq!(completions(&ran), [(7, 4, 4)], "{}", text(&ran.stderr));
    replica.process.signal("-TERM");
    let (status, said) = replica.process.end();
    assert_eq!(status.code(), Some(0), "{said:#?}");
    let log =
        "0 7 0 hello\n1 7 1 back\\\\slash \\u{9}tab caf\u{e9}\n2 7 2 \n3 7 3 last\n4 7 4 again\n";
    assert_eq!(place.log(0), log);
}

#[test]
fn a_data_directory_of_an_unknown_format_is_refused_in_words_and_left_as_it_was() {
    for (name, at) in [("identity", 7), ("checkpoint", 7)] {
        let place = Place::new(0);
        put(&place);
        let file = place.logs().join("replica0").join(name);
        let mut bytes = fs::read(&file).expect("it is there");
        bytes[at] = b'9';
        fs::write(&file, &bytes).expect("it is written");
        let (status, said) = place.replica(0).process.end();
        assert!(!status.success(), "{name}: {said:#?}");
        let says = said.iter().any(|line| line.contains(name) && line.contains("version"));
        assert!(says, "{name}: {said:#?}");
        assert_eq!(fs::read(&file).expect("it is there"), bytes, "{name}");
    }
}
