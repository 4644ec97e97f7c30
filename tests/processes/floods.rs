//! A flood, for as long as a client needs for its lines. `make test-floods` measures longer ones of
//! all kinds; here it only matters that everything goes on.

use crate::support::*;
use multipaxos::net::frame::{CLIENT_MESSAGE_BYTES_MIN, MAGIC, OVERHEAD_BYTES, VERSION};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// How many lines the client says.
const LINES: usize = 200;

/// A thread that sends frames with wrong tags without a pause.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Flood {
    fn start(replicas: Vec<SocketAddr>) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, socket) = (stop.clone(), UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let thread = thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                for (id, replica) in replicas.iter().enumerate() {
                    let frame = forged(id as u8, replicas.len() as u8, sent);
                    // What the kernel does not take is lost.
                    sent += u64::from(socket.send_to(&frame, replica).is_ok());
                }
            }
            sent
        });
        Flood { stop, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// A frame for this replica, in the name of a client and of another replica in turn. A bit of its
/// kind says that it has a tag.
fn forged(id: u8, n: u8, number: u64) -> Vec<u8> {
    let mut frame = vec![0; OVERHEAD_BYTES + CLIENT_MESSAGE_BYTES_MIN];
    let sender = if number.is_multiple_of(2) { 255 } else { (id + 1) % n };
    frame[..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&[VERSION, n, sender, id]);
    (frame[24], frame[25]) = (0x81, 1);
    let at = frame.len() - 8;
    frame[at..].copy_from_slice(&number.to_le_bytes());
    frame
}

#[test]
fn during_a_flood_every_line_completes_and_strangers_write_no_log() {
    let place = Place::new(1);
    let key = place.key("key");
    let cluster = place.cluster_with(&["--key_file", &key]);
    let lines = place.lines();
    let at = lines.iter().map(|line| line.replace(' ', ":").parse().expect("an address"));
    let flood = Flood::start(at.collect());
    // A client that nobody has heard before the flood.
    let lines: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
    let ran = place.say(&["--client_id", "7", "--key_file", &key], lines.as_bytes());
    let sent = flood.stop();
    assert_eq!(completions(&ran).len(), LINES, "{sent} sent: {}", text(&ran.stderr));
    let logs = place.logs_of(&[0, 1, 2], LINES);
    assert!(logs.iter().all(|log| *log == logs[0]));
    for mut replica in cluster {
        replica.process.signal("-TERM");
        let (_, said) = replica.process.end();
        let told: Vec<_> = said.iter().filter(|line| line.contains("--key_file")).collect();
        // In a replica's name there may be one a minute.
        assert!(told.len() <= 1, "{told:#?}");
    }
}
