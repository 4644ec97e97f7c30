//! Runs that are recorded: they are the same runs, their histories explain every slot, and a
//! browser shows them.

use history::why::Teller;
use history::{Event, History};
use multipaxos::types::Slot;
use simulator::{Options, Switches, run};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SEEDS: u64 = 40;

/// The slots of a run whose stories are read.
const STORIES_MAX: usize = 12;

/// The slots that some replica has applied in this history.
fn applied(history: &History) -> BTreeSet<u64> {
    let slots = history.entries.iter().filter_map(|entry| match &entry.event {
        Event::Applied { first, values, .. } => Some(first.0..first.0 + values.len() as u64),
        _ => None,
    });
    slots.flatten().collect()
}

#[test]
fn a_recorded_run_is_the_same_run_and_its_history_explains_every_slot() {
    // What a copy of a replica does beside it, no replica's history tells.
    let options = Options {
        switches: Switches { strangers: false, ..Switches::ALL },
        record: true,
        ..Options::default()
    };
    let (mut told, mut arrived, mut lost, mut repeated, mut cut) = (0, 0, 0, 0, 0);
    for seed in 1..=SEEDS {
        let plain = run(seed, Options { record: false, ..options });
        let report = run(seed, options);
        assert_eq!((report.hash, report.lines), (plain.hash, plain.lines), "seed {seed}");
        let (history, is_cut) = report.recorded.expect("it was to be recorded");
        let slots = applied(&history);
        if is_cut {
            cut += 1;
            continue;
        }
        let teller = Teller::new(&history);
        for slot in slots.iter().copied().rev().take(STORIES_MAX) {
            let (lines, entry) = (teller.why(Slot(slot)), teller.entry(Slot(slot)));
            let context = format!("seed {seed}, slot {slot}: {lines:#?}");
            let chosen: BTreeSet<&str> =
                entry.chosen.iter().map(|(_, value, _)| value.as_str()).collect();
            assert_eq!(chosen.len(), 1, "{context}");
            assert!(lines[0].contains("is decided"), "{context}");
            told += lines.len();
        }
        for entry in &history.entries {
            match entry.event {
                Event::Arrived { .. } => arrived += 1,
                Event::Lost { .. } => lost += 1,
                Event::Repeated { .. } => repeated += 1,
                _ => {}
            }
        }
    }
    assert!(told > 1_000 && cut < SEEDS / 4, "{told} lines, {cut} runs cut short");
    assert!(arrived > lost && lost > 1_000 && repeated > 1_000, "{arrived} {lost} {repeated}");
}

// --- the page, in a browser ----------------------------------------------------------------

/// What the page says of itself after a few clicks.
const CLICKS: &str = r##"<script>
(() => {
  const result = { errors: window.errors };
  const shown = () => Number(document.querySelector("canvas").dataset.shown);
  const group = (name) => document.querySelector(`[data-group="${name}"]`);
  result.before = shown();
  group("accepts").click();
  result.without_accepts = shown();
  group("accepts").click();
  result.again = shown();
  group("heartbeats").click();
  result.with_heartbeats = shown();
  group("heartbeats").click();
  const row = document.querySelectorAll("#slots tbody tr")[3];
  row.click();
  result.slot = Number(row.dataset.slot);
  result.of_slot = shown();
  result.story = document.getElementById("story").textContent;
  document.querySelector("#story button.link").click();
  document.getElementById("scale").click();
  const key = (key) => document.querySelector("canvas").dispatchEvent(new KeyboardEvent("keydown", { key }));
  key("Home");
  key("ArrowUp");
  document.getElementById("scale").click();
  result.finite = Number.isFinite(view.from) && view.until > view.from;
  result.logs = document.getElementById("agree").textContent;
  setTimeout(() => {
    const canvas = document.querySelector("canvas");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = new Set();
    for (let at = 0; at < pixels.length; at += 4) {
      if (pixels[at + 3]) colours.add(`${pixels[at]} ${pixels[at + 1]} ${pixels[at + 2]}`);
    }
    result.colours = colours.size;
    result.wide = document.documentElement.scrollWidth <= window.innerWidth;
    document.documentElement.setAttribute("data-result", encodeURIComponent(JSON.stringify(result)));
  }, 1_000);
})();
</script></body>"##;

/// The first of these programs that there is.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH")?).collect();
    let all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|program| program.is_file())
}

fn opened(browser: &Path, page: &Path, options: &[&str]) -> serde_json::Value {
    let folder = page.with_extension("profile");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"])
        .arg(format!("--user-data-dir={}", folder.display()))
        .args(options)
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8_lossy(&output.stdout);
    let result = dom.split("data-result=\"").nth(1).and_then(|rest| rest.split('"').next());
    let result = result.unwrap_or_else(|| panic!("no result: {:?}", output.stderr));
    let mut bytes = Vec::new();
    let mut rest = result.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.expect("two digits"));
                let digits = std::str::from_utf8(&digits).expect("digits");
                u8::from_str_radix(digits, 16).expect("a byte")
            }
            byte => byte,
        });
    }
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_browser_opens_the_page_and_filters_and_stories_work_by_clicks() {
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no Chromium here");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("run.html");
    let program = env!("CARGO_BIN_EXE_simulate");
    let made = Command::new(program).args(["--seed", "1", "--report"]).arg(&page).output();
    assert!(made.expect("it starts").status.success());
    let text = fs::read_to_string(&page).expect("the page is there");
    let text = text.replacen(
        "<head>",
        "<head><script>window.errors = []; \
         addEventListener('error', (event) => window.errors.push(event.message));</script>",
        1,
    );
    fs::write(&page, text.replacen("</body>", CLICKS, 1)).expect("written");
    for options in [
        &["--window-size=1400,1000"][..],
        &["--window-size=500,900"],
        &["--window-size=1400,1000", "--force-dark-mode", "--enable-features=WebContentsForceDark"],
    ] {
        let seen = opened(&browser, &page, options);
        let number = |name: &str| seen[name].as_u64().unwrap_or_else(|| panic!("{name}: {seen}"));
        assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
        assert!(number("without_accepts") < number("before"), "{seen}");
        assert_eq!(number("again"), number("before"), "{seen}");
        assert!(number("with_heartbeats") > number("before"), "{seen}");
        assert!((1..number("before") / 4).contains(&number("of_slot")), "{seen}");
        let story = seen["story"].as_str().expect("a story");
        let begins = format!("Slot {0}Slot {0} is decided", number("slot"));
        assert!(story.starts_with(&begins), "{story}");
        assert!(seen["logs"].as_str().is_some_and(|logs| logs.contains("it is the same")));
        assert!(number("colours") > 10, "nothing is drawn: {seen}");
        assert_eq!(seen["finite"], true, "the diagram shows nothing: {seen}");
        assert_eq!(seen["wide"], true, "the page is wider than the window: {seen}");
    }
}
