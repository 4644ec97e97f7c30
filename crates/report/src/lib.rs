//! A page that shows a run: one HTML file that needs no network.
//!
//! A space-time diagram of every message, a table of the slots with the story of each, the chat logs
//! side by side, the verdict, and the command that repeats the run. It is made from a [`History`],
//! whoever recorded that.
//!
//! - `model`: what the page holds, taken from a history.
//! - `page/`: the page itself, which draws that.

mod model;

use history::History;

/// The most slots of which the page tells the story.
pub const STORIES_MAX: usize = 1_000;

/// What stands above a run.
#[derive(Debug, Clone)]
pub struct Heading {
    /// What was run.
    pub title: String,
    /// How it ended.
    pub verdict: String,
    /// Whether that is good.
    pub is_good: bool,
    /// The command that repeats it.
    pub command: String,
    /// Whether more happened than the history holds.
    pub is_cut: bool,
    /// What goes down the page.
    pub axis: Axis,
}

/// What goes down a diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Time.
    Time,
    /// The order of the events. On a stage hardly any time passes.
    Steps,
}

/// The page of a run.
pub fn page(heading: &Heading, history: &History) -> String {
    let data = serde_json::to_string(&model::Model::new(heading, history))
        .expect("texts and numbers are written as JSON");
    // Inside a script element only "<" can end the data, or begin a comment.
    let data = data.replace('<', "\\u003c");
    include_str!("page/page.html")
        .replace("{{css}}", include_str!("page/page.css"))
        .replace("{{js}}", include_str!("page/page.js"))
        .replace("{{data}}", &data)
}
