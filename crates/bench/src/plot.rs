//! A plot of latency against throughput, as SVG.
//!
//! Both axes are logarithmic and end at round numbers around the data. A curve belongs to one
//! durability. Its points go from one session to many: the median is a solid line, and the
//! 99th percentile a dashed line above it. The picture has a background of its own, so that it
//! can be read on any page, and it has dark colours for readers who prefer them.
//!
//! It neither measures nor writes files: it makes a text from numbers.

use std::fmt::Write as _;

/// The size of the picture, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 500.0;

/// The ends of the axes.
const LEFT: f64 = 82.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 74.0;
const BOTTOM: f64 = HEIGHT - 58.0;

/// If an axis would have more numbers than this, it shows only powers of ten.
const TICKS_MAX: usize = 13;

/// The number of classes that give curves different colours, and so of curves.
const CURVES_MAX: usize = 3;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.small { font-size: 11px; fill: #59636e }
.page { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0; stroke-width: 1; opacity: 0.7 }
.line { stroke-width: 2; stroke-linejoin: round }
.tail { stroke-dasharray: 5 4 }
.c0 { stroke: #0969da; fill: #0969da }
.c1 { stroke: #bc4c00; fill: #bc4c00 }
.c2 { stroke: #1a7f37; fill: #1a7f37 }
.open { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.small { fill: #9198a1 }
.page { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #3d444d }
.c0 { stroke: #4493f8; fill: #4493f8 }
.c1 { stroke: #f0883e; fill: #f0883e }
.c2 { stroke: #3fb950; fill: #3fb950 }
.open { fill: #0d1117 }
}
";

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) sessions: usize,
    pub(super) lines_per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// The measurements of one curve, ordered by the number of sessions.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// Draws the picture.
///
/// # Panics
///
/// If there is nothing to show, if there are too many curves, or if a number is not above 0.
pub(super) fn svg(title: &str, subtitle: &str, curves: &[Curve]) -> String {
    assert!(curves.len() <= CURVES_MAX, "{} curves", curves.len());
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let across = Axis::around(points().map(|point| point.lines_per_s), LEFT, RIGHT);
    let up = Axis::around(points().flat_map(|p| [p.p50_us, p.p99_us]), BOTTOM, TOP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        escaped(title),
        WIDTH - 1.0,
        HEIGHT - 1.0,
    );
    write_text(&mut text, (LEFT, 28.0), "start", "title", title);
    write_text(&mut text, (LEFT, 48.0), "start", "small", subtitle);
    for tick in &across.ticks {
        let x = across.at(*tick);
        write_line(&mut text, "grid", &[(x, TOP), (x, BOTTOM)]);
        write_text(&mut text, (x, BOTTOM + 20.0), "middle", "", &thousands(*tick));
    }
    for tick in &up.ticks {
        let y = up.at(*tick);
        write_line(&mut text, "grid", &[(LEFT, y), (RIGHT, y)]);
        write_text(&mut text, (LEFT - 8.0, y + 4.5), "end", "", &duration(*tick));
    }
    let middle = ((LEFT + RIGHT) / 2.0, HEIGHT - 14.0);
    write_text(&mut text, middle, "middle", "", "throughput, lines a second");
    let y = (TOP + BOTTOM) / 2.0;
    let _ = writeln!(
        text,
        "<text transform=\"translate(20 {y}) rotate(-90)\" text-anchor=\"middle\">latency of a \
         line</text>",
    );
    for (number, curve) in curves.iter().enumerate() {
        write_curve(&mut text, number, curve, &across, &up);
        write_key(&mut text, number, &curve.name);
    }
    text.push_str("</svg>\n");
    text
}

fn write_curve(text: &mut String, number: usize, curve: &Curve, across: &Axis, up: &Axis) {
    let place = |point: &Point, us: f64| (across.at(point.lines_per_s), up.at(us));
    let path = |of: fn(&Point) -> f64| -> Vec<(f64, f64)> {
        curve.points.iter().map(|point| place(point, of(point))).collect()
    };
    let (half, tail) = (path(|point| point.p50_us), path(|point| point.p99_us));
    write_line(text, &format!("line tail c{number}"), &tail);
    write_line(text, &format!("line c{number}"), &half);
    for ((point, (x, y)), (tail_x, tail_y)) in curve.points.iter().zip(half).zip(tail) {
        let (sessions, per_s) = (point.sessions, point.lines_per_s);
        let (p50, p99) = (point.p50_us, point.p99_us);
        let _ = writeln!(
            text,
            "<g><title>{}: {sessions} in flight: {per_s:.0} lines a second, p50 {p50:.0} µs, p99 \
             {p99:.0} µs</title>\
             <circle class=\"c{number}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\
             <circle class=\"c{number} open\" cx=\"{tail_x:.1}\" cy=\"{tail_y:.1}\" r=\"3\"/></g>",
            escaped(&curve.name),
        );
        write_text(text, (x + 4.0, y + 15.0), "start", "small", &sessions.to_string());
    }
}

/// The key: the meaning of a curve's solid and dashed lines.
fn write_key(text: &mut String, number: usize, name: &str) {
    let y = TOP + 20.0 + 40.0 * number as f64;
    let x = LEFT + 16.0;
    for (y, class, circle, what) in
        [(y, "line", "", "p50"), (y + 18.0, "line tail", " open", "p99")]
    {
        write_line(text, &format!("{class} c{number}"), &[(x, y), (x + 34.0, y)]);
        let _ = writeln!(
            text,
            "<circle class=\"c{number}{circle}\" cx=\"{}\" cy=\"{y}\" r=\"3\"/>",
            x + 17.0
        );
        write_text(text, (x + 42.0, y + 4.5), "start", "", &format!("{name}, {what}"));
    }
}

fn write_line(text: &mut String, class: &str, points: &[(f64, f64)]) {
    let _ = write!(text, "<polyline class=\"{class}\" points=\"");
    for (x, y) in points {
        let _ = write!(text, "{x:.1},{y:.1} ");
    }
    // Only a style overrides the fill of the style sheet.
    let _ = writeln!(text, "\" style=\"fill: none\"/>");
}

fn write_text(text: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, what: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let what = escaped(what);
    let _ = writeln!(
        text,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{class}>{what}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A logarithmic axis from `from` to `to` on the picture. Both ends are round numbers.
#[derive(Debug)]
struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for value in values {
            assert!(value > 0.0, "{value} has no place on a logarithmic axis");
            (least, most) = (least.min(value), most.max(value));
        }
        assert!(least <= most, "nothing to be shown");
        let mut ticks = round_numbers(least, most, &[1.0, 2.0, 5.0]);
        if ticks.len() > TICKS_MAX {
            ticks = round_numbers(least, most, &[1.0]);
        }
        Axis { from, to, ticks }
    }

    /// The place of `value` on the picture.
    fn at(&self, value: f64) -> f64 {
        let (first, last) = (self.ticks[0], self.ticks[self.ticks.len() - 1]);
        self.from + (value / first).ln() / (last / first).ln() * (self.to - self.from)
    }
}

/// The products of powers of ten and `digits`, from the last one that is not above `least` to
/// the first one above `most`.
fn round_numbers(least: f64, most: f64, digits: &[f64]) -> Vec<f64> {
    let decades = (least.log10().floor() as i32 - 1)..=(most.log10().ceil() as i32 + 1);
    let all: Vec<f64> = decades
        .flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)))
        .collect();
    let first = all.iter().rposition(|number| *number <= least).unwrap_or(0);
    let last = all.iter().position(|number| *number > most).unwrap_or(all.len() - 1);
    all[first..=last].to_vec()
}

/// `20 k`, `1 M`.
fn thousands(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{} M", n / 1e6),
        n if n >= 1e3 => format!("{} k", n / 1e3),
        n => n.to_string(),
    }
}

/// `50 µs`, `2 ms`.
fn duration(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", us / 1e6),
        us if us >= 1e3 => format!("{} ms", us / 1e3),
        us => format!("{us} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: &[(usize, f64, f64, f64)]) -> Curve {
        let point = |&(sessions, lines_per_s, p50_us, p99_us): &_| Point {
            sessions,
            lines_per_s,
            p50_us,
            p99_us,
        };
        Curve { name: name.into(), points: points.iter().map(point).collect() }
    }

    fn shown() -> String {
        let memory = [(1, 21_000.0, 45.0, 98.0), (64, 542_000.0, 110.0, 240.0)];
        let disk = [(1, 5_100.0, 188.0, 310.5), (64, 200_000.0, 300.0, 2_100.0)];
        svg("a < b & c", "", &[curve("memory", &memory), curve("disk", &disk)])
    }

    #[test]
    fn an_axis_begins_and_ends_with_round_numbers_around_what_is_shown() {
        let axis = Axis::around([5_100.0, 542_000.0].into_iter(), 100.0, 0.0);
        assert_eq!(axis.ticks, [5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6]);
        assert_eq!((axis.at(5e3), axis.at(1e6)), (100.0, 0.0));
        let middle = (5e3f64 * 1e6).sqrt();
        assert!((axis.at(middle) - 50.0).abs() < 1e-6, "equal factors are equally far");
    }

    #[test]
    fn an_axis_over_many_decades_shows_powers_of_ten_alone_and_one_number_has_a_place() {
        let axis = Axis::around([3.0, 4e6].into_iter(), 0.0, 1.0);
        assert_eq!(axis.ticks, [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7]);
        let axis = Axis::around([100.0].into_iter(), 0.0, 1.0);
        assert_eq!((axis.ticks.as_slice(), axis.at(100.0)), (&[100.0, 200.0][..], 0.0));
    }

    #[test]
    fn numbers_are_shown_with_their_units() {
        let shown: Vec<String> = [500.0, 2e4, 1e6].into_iter().map(thousands).collect();
        assert_eq!(shown, ["500", "20 k", "1 M"]);
        let shown: Vec<String> = [50.0, 2e3, 5e6].into_iter().map(duration).collect();
        assert_eq!(shown, ["50 µs", "2 ms", "5 s"]);
    }

    #[test]
    fn every_point_lies_between_the_axes_and_slower_is_higher() {
        let shown = shown();
        let number = |text: &str, name: &str| -> f64 {
            let (_, rest) = text.split_once(&format!("{name}=\"")).expect(name);
            rest.split('"').next().and_then(|number| number.parse().ok()).expect("a number")
        };
        let groups: Vec<&str> = shown.lines().filter(|line| line.starts_with("<g>")).collect();
        assert_eq!(groups.len(), 4);
        for group in groups {
            let (half, tail) = group.split_once("/>").expect("two circles");
            for circle in [half, tail] {
                assert!((LEFT..=RIGHT).contains(&number(circle, "cx")), "{circle}");
                assert!((TOP..=BOTTOM).contains(&number(circle, "cy")), "{circle}");
            }
            assert_eq!(number(half, "cx"), number(tail, "cx"));
            assert!(number(half, "cy") > number(tail, "cy"), "{group}");
        }
    }

    #[test]
    fn it_is_well_formed_and_says_what_is_what() {
        let shown = shown();
        let mut open: Vec<&str> = Vec::new();
        for tag in shown.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("every tag ends");
            let name = tag.split([' ', '/']).find(|name| !name.is_empty()).expect("a name");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        for text in ["a &lt; b &amp; c", ">memory, p50<", ">disk, p99<", ">5 k<", ">50 µs<"] {
            assert!(shown.contains(text), "{text} is missing");
        }
        assert!(shown.contains("throughput, lines a second") && shown.contains(">64<"));
    }

    #[test]
    #[should_panic(expected = "no place on a logarithmic axis")]
    fn nothing_at_all_has_no_place() {
        svg("", "", &[curve("", &[(1, 0.0, 1.0, 2.0)])]);
    }
}
