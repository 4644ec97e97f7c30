//! The beginning of a run: the seed decides its shape and its first events.

use super::beside::Plan;
use super::*;
use crate::beginning::Beginning;
use crate::bounds::Bounds;
use multipaxos::machine::Host;
use multipaxos::net::guard::key::KEY_BYTES;
use seeds::stream;
use std::sync::Arc;

/// One gentle run in so many begins with a chat log.
const BEGUN_ONE_IN: u8 = 12;

/// One run with datagrams in so many has keys, and an attacker.
const KEYS_ONE_IN: u8 = 3;

impl World {
    /// Prepares the run of `seed`.
    pub fn new(seed: u64, options: Options) -> Self {
        World::hosting(seed, options, None)
    }

    /// The same where commands change a machine of the user, in the gentle world.
    pub fn hosting(seed: u64, options: Options, hosting: Option<Hosting>) -> Self {
        let host = hosting.as_ref().map_or(Host::CHAT, |hosting| hosting.host.clone());
        let stream = |name: &str| stream(seed, name);
        let mut setup = stream("setup");
        let drawn = [3, 3, 3, 5, 5, 7][setup.usize(..6)];
        let n = options.replicas.unwrap_or(drawn);
        let mut profile = Profile::draw(options.switches, &mut setup);
        let mut options = options;
        if options.partition.is_some() {
            profile = Profile::CALM;
        } else {
            let shortest = options.safety_us / 2;
            options.safety_us = shortest + setup.u64(0..=shortest.max(1));
        }
        let small = setup.u8(0..3) == 0;
        // Strangers need real datagrams, and are told from replicas by their files alone.
        let is_gentle = options.partition.is_none() && options.place.is_none();
        let strangers = match options.switches.strangers && is_gentle {
            true => Strangers::draw(n, &mut stream("strangers")),
            false => Strangers::default(),
        };
        // A copy of a data directory that runs beside the original is noticed within a second. Until
        // then it may do harm, so all else is calm, and hosts hear each other.
        let beside = match options.switches.strangers && is_gentle && !strangers.any() {
            true => Plan::draw(n, &mut stream("beside")),
            false => None,
        };
        if beside.is_some() {
            profile = profile.without_deaths();
        }
        // Some runs send real datagrams.
        let mut wired = setup.u8(0..100) < options.wire_percent && options.partition.is_none()
            || strangers.any();
        // Short election waits make leaders change all the time.
        let hasty = options.partition.is_none() && setup.u8(0..5) == 0 && beside.is_none();
        let mut settings = Settings {
            id: ReplicaId(0),
            n,
            places: n,
            boot: BootId(0),
            // Small payloads split messages that would rarely be split otherwise.
            payload_bytes: match (wired, small) {
                (true, _) => payload_bytes(DATAGRAM_BYTES_MIN),
                (false, true) => 120,
                (false, false) => 1_300,
            },
            heartbeat_us: if hasty { 4_000 } else { 50_000 },
            election_min_us: if hasty { 12_000 } else { 300_000 },
            election_max_us: if hasty { 40_000 } else { 600_000 },
            checkpoint_slots: if setup.bool() { setup.u64(1..=20) } else { 4_096 },
            skip_slot: profile.skip_slot.map(Slot),
            limits: match small {
                true => Limits { promise_spans: 2, ..Limits::DEFAULT },
                false => Limits::DEFAULT,
            },
        };
        let mut session_window_slots = SESSION_WINDOW_SLOTS;
        let environment = options.place.map(|place| {
            let mut draws = stream("environment");
            let environment = Environment::draw(place, &mut draws);
            profile = Profile::draw_among_numbers(options.switches, &mut draws);
            options.safety_us = environment.safety_us(options.safety_us);
            wired = true;
            settings = Settings {
                payload_bytes: payload_bytes(environment.datagram_max),
                heartbeat_us: environment.heartbeat_us,
                election_min_us: environment.election_us.0,
                election_max_us: environment.election_us.1,
                skip_slot: profile.skip_slot.map(Slot),
                ..settings
            };
            // Half of the runs come up to bounds that others are far from.
            let mut draws = stream("bounds");
            if draws.bool() {
                let Settings { limits, checkpoint_slots, .. } = settings;
                let bounds = Bounds { limits, checkpoint_slots, session_window_slots };
                let bounds = bounds.draw(environment.workload, &mut draws);
                settings.limits = bounds.limits;
                settings.checkpoint_slots = bounds.checkpoint_slots;
                session_window_slots = bounds.session_window_slots;
            }
            environment
        });
        // Half of the runs have checkpoints in several parts, of which the first may be empty.
        let mut draws = stream("parts");
        if draws.bool() {
            settings.limits.part_sessions = draws.usize(..4);
        }
        let short_window = (setup.u8(0..10) == 0).then(|| setup.u64(1..20));
        // Some runs use the real storage code, on simulated disks.
        let sectors = setup.u8(0..100) < options.sectors_percent
            && options.partition.is_none()
            && strangers.leftovers == 0
            && beside.is_none();
        if sectors {
            // The real storage code knows the real window only.
            session_window_slots = SESSION_WINDOW_SLOTS;
        } else if let Some(slots) = short_window.filter(|_| environment.is_none()) {
            session_window_slots = slots;
        }
        // Only records can be changed so that all fits.
        if is_gentle && !sectors && beside.is_none() && host.is_chat() {
            profile.draw_alteration(options.switches, &mut stream("alterations"));
        }
        if beside.is_none() && options.partition.is_none() {
            profile.draw_departures(options.switches, &mut stream("departures"));
        }
        if sectors {
            profile.draw_strikes(options.switches, &mut stream("strikes"));
        }
        let beginning = {
            let mut draws = stream("beginning");
            // A chat log names the sessions that the real window makes of it.
            let is_plain = is_gentle
                && strangers.leftovers == 0
                && session_window_slots == SESSION_WINDOW_SLOTS;
            // Its lines are no commands of a machine.
            let begins = is_plain && draws.u8(0..BEGUN_ONE_IN) == 0 && host.is_chat();
            begins.then(|| Arc::new(Beginning::draw(&mut draws)))
        };
        let seal = {
            let mut draws = stream("keys");
            let has_keys = wired && is_gentle && options.switches.strangers;
            let has_keys = has_keys && draws.u8(..KEYS_ONE_IN) == 0;
            let mut secret = [0; KEY_BYTES];
            draws.fill(&mut secret);
            has_keys.then(|| Seal::new(secret))
        };
        let changes = match options.partition.is_none() && beside.is_none() {
            true => Changes::draw(seed, options.switches, options.safety_us),
            false => None,
        };
        if changes.is_some() {
            // The operator sees to it that a quorum keeps what it has.
            profile = Profile { wipe_after_us: 0, copy_after_us: 0, alter_after_us: 0, ..profile };
        }
        let places = match changes.is_some() && !strangers.any() {
            true => Changes::places(seed, n),
            false => n,
        };
        settings.places = places;
        let slow = setup.usize(..n);
        let nodes: Vec<Node> = (0..places)
            .map(|index| {
                let id = ReplicaId(index as u8);
                let directory = DirectoryId(setup.u64(1..));
                let empty = match sectors {
                    true => Store::sectors(directory, stream(&format!("disk {id}"))),
                    false => Store::records(directory, session_window_slots),
                }
                .hosting(&host);
                Node {
                    id,
                    settings: Settings { id, ..settings },
                    store: match &beginning {
                        Some(beginning) => empty.beginning_with(beginning.clone()),
                        None => empty,
                    },
                    wire: None,
                    started: false,
                    flipped: false,
                    process: None,
                    life: 0,
                    paused_until: None,
                    backlog: VecDeque::new(),
                    put_off: Vec::new(),
                    slow_us: if index == slow { profile.slow_us } else { 0 },
                }
            })
            .collect();
        if let Some(PowerCut { replica, call }) = options.power_cut {
            let disk = nodes.get(replica.index()).and_then(|node| node.store.disk());
            let disk = disk.expect("the power of a replica with a disk is cut");
            disk.cut_at(call, stream(&format!("tear {call}")).usize(..TEAR_BYTES_MAX));
        }
        World {
            seed,
            options,
            profile,
            now: Time(0),
            queue: Queue::default(),
            nodes,
            links: Links::new(places),
            strangers,
            strays: Vec::new(),
            attacker: seal.as_ref().map(|_| Attacker::new(stream("the attacker's doings"))),
            seal,
            operator: is_gentle.then(|| Operator::draw(seed, places)).flatten(),
            reader: (is_gentle && sectors).then(|| Reader::draw(seed, (n, places))).flatten(),
            reads: Reads::draw(seed),
            beside: beside.map(Beside::new),
            moves: changes.as_ref().and_then(|_| Moves::draw(seed, places)),
            changes,
            out: vec![false; places],
            // Who has no vote in the beginning is as one that has lost its disk.
            wiped: (0..places).map(|place| place >= n).collect(),
            altered: None,
            altered_before: None,
            struck: None,
            copy: None,
            clients: Vec::new(),
            wired,
            datagram_max: environment.as_ref().map_or(DATAGRAM_BYTES_MIN, |it| it.datagram_max),
            kernels: options
                .place
                .filter(|place| place.has_faulty_kernels(&mut stream("offload")))
                .map(|_| Kernels::new(seed, places, options.safety_us)),
            terrain: environment.clone().map(|it| Terrain::new(seed, it)),
            environment,
            hosting,
            cost: Cost::new(),
            kinds: Kinds::default(),
            recording: (options.record || options.trace)
                .then(|| Box::new(Recording::new((n, places), options.record))),
            checker: Checker::new(places, session_window_slots).hosting(&host),
            reach: Reach::default(),
            disk_calls: Vec::new(),
            hash: TraceHash::default(),
            events: 0,
            lines: 0,
            leader_changes: 0,
            leader: None,
            streams: Streams {
                network: stream("network"),
                crashes: stream("crashes"),
                disk: stream("disk"),
                workload: stream("workload"),
                roles: stream("roles"),
                schedule: stream("schedule"),
                strangers: stream("their doings"),
                strikes: stream("whose chat log"),
                departures: stream("who is told to end"),
                beside: stream("the copy's doings"),
                commands: stream("commands"),
            },
            faults_on: true,
            waiting_since: None,
            completed_at: Time(0),
            gap_us: 0,
            ballot_before: 0,
            ballot_rise: 0,
        }
    }

    pub(crate) fn begin(&mut self) -> Step {
        self.begin_strangers();
        self.plan_copy();
        let Settings { limits, checkpoint_slots, .. } = self.nodes[0].settings;
        self.trace(|| match limits == Limits::DEFAULT {
            true => format!("checkpoints every {checkpoint_slots} slots"),
            false => format!("checkpoints every {checkpoint_slots} slots, {limits:?}"),
        });
        if let Some(environment) = &self.environment {
            self.trace(|| format!("{environment:?}"));
        }
        if let Some(beginning) = self.nodes[0].store.beginning.clone() {
            self.reach.count(Situation::Begun);
            self.trace(|| format!("the cluster begins with {}", beginning.origin));
            self.checker.begins_with(&beginning.values);
            for node in &self.nodes {
                self.checker.begins_at(node.id, beginning.origin.end);
            }
        }
        for index in 0..self.nodes.len() {
            let id = ReplicaId(index as u8);
            self.begin_life(id)?;
        }
        let (clients, every_us) = match &self.environment {
            Some(environment) => (environment.workload.clients, environment.workload.pause_us),
            None if self.hosting.as_ref().is_some_and(Hosting::is_by_hand) => (0, 0),
            None => {
                let clients = match self.options.partition {
                    Some(_) => 2,
                    None => self.streams.workload.usize(1..=4),
                };
                // All clients together send about ten lines a second.
                (clients, 100_000 * clients as u64)
            }
        };
        let together = self.clients_of_a_process(clients);
        for client in 0..clients {
            let n = (self.founders(), self.nodes.len());
            let mut visitor = Visitor::new(ClientId(client as u64), clients, n, every_us);
            let first = client - client % together;
            visitor.process = (first, together.min(clients - first));
            self.clients.push(visitor);
            if first == client {
                self.wire_client(client);
            }
            self.submit_later(client);
        }
        if self.operator.is_some() {
            self.queue.add(self.now, Event::Operate);
        }
        self.begin_to_read();
        self.begin_reads();
        let Profile { crash_every_us, pause_every_us, partition_every_us, client_every_us, .. } =
            self.profile;
        self.fault_later(crash_every_us, Fault::Crash);
        self.fault_later(pause_every_us, Fault::Pause);
        self.fault_later(self.profile.terminate_every_us, Fault::Terminate);
        self.fault_later(partition_every_us, Fault::Partition);
        self.fault_later(client_every_us, Fault::ClientDies);
        self.fault_later(self.profile.wipe_after_us, Fault::Wipe);
        self.fault_later(self.profile.copy_after_us, Fault::Copy);
        self.fault_later(self.profile.alter_after_us, Fault::Alter);
        self.strike_later();
        self.change_members_later();
        Ok(())
    }
}
