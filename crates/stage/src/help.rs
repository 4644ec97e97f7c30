//! The help texts of the commands.

/// The help text of a command.
#[derive(Debug)]
pub struct Help {
    /// Its first word.
    pub verb: &'static str,
    /// Its syntax: `|` separates alternatives, `[]` marks optional parts.
    pub usage: &'static str,
    /// Its effect, in a line.
    pub what: &'static str,
    /// More lines about it.
    pub more: &'static [&'static str],
}

/// Commands of one kind, under a heading.
#[derive(Debug)]
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// The commands.
    pub commands: &'static [Help],
}

const fn help(
    verb: &'static str,
    usage: &'static str,
    what: &'static str,
    more: &'static [&'static str],
) -> Help {
    Help { verb, usage, what, more }
}

/// The commands that a script may contain.
pub const SCRIPT: &[Group] = &[
    Group {
        title: "The cluster and what is asked of it",
        commands: &[
            help(
                "cluster",
                "cluster [replicas=3] [skip_slot=1] [payload=1300] [checkpoint=4096] [window=8192] [held=9] [by-hand]",
                "build a cluster; replica 0 leads ballot 0",
                &[
                    "skip_slot=N  replica 0 leaves out slot N at ballot 0",
                    "payload=N    bytes that fit a message: longer lists are cut into pages",
                    "checkpoint=N slots between two checkpoints; acceptors forget what is below",
                    "window=N     slots that a client's session lives",
                    "held=N       slots in which an acceptor holds values, before it must forget some",
                    "by-hand      nothing has begun yet: `begin 0 1 2` starts warm-up",
                    "A second `cluster` takes the place of the first.",
                ],
            ),
            help(
                "request",
                "request \"hi\" [client=1] [seq=0] [to=0] [session=1] [birth=0] [after=0]",
                "a request that arrives at replica `to` at once",
                &[
                    "Its answer is printed, and not sent. Without seq= and session= it is one that",
                    "client could send: the next of its session, or, while that one's last line is",
                    "not complete, the first of another one. 5000*\"x\" is a long line.",
                ],
            ),
            help(
                "mark",
                "mark 0",
                "a client that reads asks how far it has to; only the answer is shown",
                &[
                    "A replica that may not vote, that no quorum hears, or whose log has changed the",
                    "members does not answer.",
                ],
            ),
            help(
                "client",
                "client 1",
                "begin a real client; its messages travel like all others",
                &["`submit` gives it a line. It sends again what is not answered."],
            ),
            help(
                "submit",
                "submit 1 \"hi\"",
                "give a line to client 1; one may be in flight",
                &["`client 1` comes first, and its hello has to be answered: `deliver all`."],
            ),
        ],
    },
    Group {
        title: "Messages: nothing arrives unless you say so",
        commands: &[
            help(
                "messages",
                "messages [heartbeats]",
                "list what is on its way",
                &[
                    "Ids begin with a letter for the kind: a accept, v accepted, p prepare,",
                    "m promise, w fetch-accepted and accepted-values, n nack, e pre-vote,",
                    "f forward, g fetch and page, b warm-up, h heartbeat, l leaving, r and c from",
                    "and to clients.",
                ],
            ),
            help(
                "deliver",
                "deliver a1 v2 | all [except a1] | [from=0] [to=1] [kind=accept]",
                "let messages arrive, in the order in which they were sent",
                &[
                    "By their ids, all of them, or all that fit: kind= is the first word of what",
                    "a message says. What is held arrives only by its id.",
                ],
            ),
            help(
                "drop",
                "drop a1 v2 | all [except a1] | [from=0] [to=1] [kind=accept]",
                "lose messages",
                &["What waits for an answer is sent again when time passes: `tick`, `run`."],
            ),
            help(
                "hold",
                "hold a1 v2 | all [except a1] | [from=0] [to=1] [kind=accept]",
                "keep messages back until they are delivered by their ids",
                &[],
            ),
            help(
                "duplicate",
                "duplicate a1 v2 | all [except a1] | [from=0] [to=1] [kind=accept]",
                "put a second copy of messages on its way",
                &[],
            ),
            help("settle", "settle", "deliver until nothing is on its way; no time passes", &[]),
        ],
    },
    Group {
        title: "Time: it stands still unless you say so",
        commands: &[
            help(
                "tick",
                "tick 50ms",
                "let time pass and timers fire; what they send waits",
                &["Heartbeats leave every 50 ms; of two only the newest is kept."],
            ),
            help(
                "run",
                "run 3s [verbose]",
                "let time pass, timers fire and messages arrive after 1 ms",
                &["Without `verbose` messages are not printed."],
            ),
            help(
                "stabilize",
                "stabilize [verbose]",
                "run until nothing but heartbeats happens, 20 s at most",
                &[],
            ),
            help(
                "campaign",
                "campaign 2",
                "replica 2 loses patience and begins phase 1",
                &[
                    "Its clock is put forward until then, and its pre-votes are granted.",
                    "Deliver its prepares (p) and their promises (m) to make it lead.",
                ],
            ),
            help(
                "draw",
                "draw 1 100ms",
                "how long replica 1 waits above the shortest election wait",
                &["The shortest is 300 ms. Without it the waits are spread by replica."],
            ),
        ],
    },
    Group {
        title: "What goes wrong",
        commands: &[
            help("crash", "crash [0 1]", "end processes; all, if none is named", &[]),
            help(
                "terminate",
                "terminate 0",
                "tell a process to end; if it leads, it hands over first",
                &["It ends once another replica leads. Letter of the message: l."],
            ),
            help(
                "change",
                "change 0 with 2",
                "ask replica 0 to change the members",
                &[
                    "with 2: the directory that replica 2 has now becomes a member.",
                    "without 2: replica 2 is a member no more. Only a leader does it (M1).",
                ],
            ),
            help("restart", "restart [0 1]", "begin again on what their disks hold", &[]),
            help("begin", "begin 0 1", "begin for the first time, after `cluster by-hand`", &[]),
            help(
                "wipe",
                "wipe [0 1]",
                "lose disks; such a replica has no vote any more",
                &["`restart` begins it again, on an empty disk."],
            ),
            help("copy", "copy 0 1", "copy disks as they are", &[]),
            help(
                "put-back",
                "put-back 0 1",
                "put such a copy in the disk's place; the process ends",
                &["What the replica wrote since is forgotten, and the others remember it."],
            ),
            help(
                "alter",
                "alter 0",
                "change the first line of a decided log on its disk; the process ends",
                &["The line must be in a durable checkpoint."],
            ),
            help(
                "fail-sync",
                "fail-sync 0 [kept]",
                "let the acceptor's next sync fail; the process ends",
                &["With `kept` everything became durable all the same."],
            ),
            help(
                "partition",
                "partition 0 1 | 1 2",
                "only replicas of one group hear each other",
                &["It concerns what is sent from then on."],
            ),
            help("cut", "cut 0->1", "lose what is sent from 0 to 1 from then on", &[]),
            help("join", "join 0->1", "make that direction whole again", &[]),
            help(
                "latency",
                "latency 350ms | 0->1 60ms | 0ms-1s",
                "how long messages between replicas travel from then on, in place of 1 ms",
                &["A span of times is passed through to and fro, so that messages overtake."],
            ),
            help("disk", "disk 0 700ms", "how long the acceptor's disk takes for a sync", &[]),
            help("heal", "heal", "make all links whole again", &[]),
            help(
                "stall",
                "stall 0 learner",
                "a role takes no turn: replica, acceptor, proposer or learner",
                &["What it is sent waits in its inbox; `lose` empties that."],
            ),
            help("unstall", "unstall 0 learner", "it takes turns again", &[]),
            help("lose", "lose 0 learner", "empty a role's inbox", &[]),
        ],
    },
    Group {
        title: "Looking",
        commands: &[
            help("state", "state [0 1]", "what replicas hold; all, if none is named", &[]),
            help("logs", "logs", "the chat logs; equal ones together", &[]),
            help(
                "why",
                "why 7",
                "why slot 7 is what it is at each replica, or why it is not decided yet",
                &[
                    "Who proposed what at which ballot, who accepted it, which quorum chose it,",
                    "how each replica learned it; and which messages are missing.",
                ],
            ),
            help("quietly", "quietly run 3s", "do something and print nothing of it", &[]),
        ],
    },
];

/// The commands that only a person at a prompt needs.
pub const SESSION: Group = Group {
    title: "This session",
    commands: &[
        help("undo", "undo", "as if the last command had not been given", &[]),
        help(
            "load",
            "load FILE",
            "carry out the commands of a script",
            &["For example `load tests/scripts/normal/view_change`."],
        ),
        help(
            "save",
            "save FILE",
            "write the session as a script, so that a find becomes a test",
            &["tests/scripts/README.md says how. Lines that begin with # are kept as comments."],
        ),
        help("help", "help [deliver]", "this list, or more about one command", &[]),
        help("quit", "quit", "end; so does Ctrl-D", &[]),
    ],
};

/// The width of the list's first column.
const WIDTH: usize = 22;

fn all() -> impl Iterator<Item = &'static Group> {
    SCRIPT.iter().chain([&SESSION])
}

/// The help text of the command `verb`.
pub fn find(verb: &str) -> Option<&'static Help> {
    all().flat_map(|group| group.commands).find(|help| help.verb == verb)
}

/// The first word of every command.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    all().flat_map(|group| group.commands).map(|help| help.verb)
}

/// The command whose name is nearest to `verb`, if one is near.
pub fn nearest(verb: &str) -> Option<&'static str> {
    let limit = verb.chars().count().div_ceil(3);
    let near = verbs().map(|known| (distance(verb, known), known));
    near.filter(|(far, _)| *far <= limit).min().map(|(_, known)| known)
}

/// The number of letters that must change, come or go to turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The list of all commands.
pub fn overview() -> Vec<String> {
    let mut lines = Vec::new();
    for group in all() {
        lines.push(format!("{}:", group.title));
        for Help { usage, what, .. } in group.commands {
            lines.push(format!("  {:<WIDTH$}{what}", short(usage)));
        }
    }
    lines.push("`help deliver` says more about one of them.".into());
    lines
}

/// The part of the usage that fits into the list. `help COMMAND` prints all of it.
fn short(usage: &str) -> &str {
    let cut = |at: &str| usage.split(at).next().unwrap_or(usage);
    match usage.len() < WIDTH {
        true => usage,
        false => cut(" [").split(" | ").next().unwrap_or(usage),
    }
}

/// The whole help text of one command.
pub fn details(help: &Help) -> Vec<String> {
    let mut lines = vec![help.usage.to_owned(), format!("  {}", help.what)];
    lines.extend(help.more.iter().map(|line| format!("  {line}")));
    lines
}
