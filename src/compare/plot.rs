//! Plots as inline SVG: scales, ticks, axes, marks, labels that keep out of each other's way. It knows nothing of servers.
//!
//! Written here and not taken from a plotting library: those draw colours into the file, and a page that follows the
//! reader's light or dark theme needs them as CSS variables; nor do they keep labels apart or add the tooltips and the
//! descriptions that make an SVG readable without seeing it.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

/// Text as it may stand in HTML and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// How a series looks: a colour of the page's palette and a shape, so that neither alone carries the meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Which series: chooses colour and shape.
    pub series: usize,
    /// Drawn as an outline.
    pub hollow: bool,
}

/// Colours in the page's palette (`--s0` …).
pub const COLOURS: usize = 10;

impl Style {
    fn class(self) -> String {
        format!("s{}{}", self.series % COLOURS, if self.hollow { " hollow" } else { "" })
    }
}

/// A logarithmic axis. A lower end for values that are too small to show, or 0, can be set apart with [`Axis::floor`].
#[derive(Clone, PartialEq, Debug)]
pub struct Axis {
    label: String,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis over all of `values` that are above 0, widened to whole decades or, over less than two, to 1–2–5 steps.
    pub fn log(label: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = values
            .into_iter()
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low.is_finite() { (low, high) } else { (1.0, 10.0) };
        let steps = |value: f64| {
            let decade = 10f64.powf(value.log10().floor());
            [1.0, 2.0, 5.0, 10.0].map(|step| step * decade)
        };
        let down =
            |value: f64| steps(value).into_iter().rev().find(|step| *step <= value * 1.0001).unwrap_or(value);
        let up = |value: f64| steps(value).into_iter().find(|step| *step >= value * 0.9999).unwrap_or(value);
        let (low, high) = (down(low), up(high));
        let high = if high <= low { low * 10.0 } else { high };
        let wide = (high / low).log10() > 2.5;
        let mut ticks = Vec::new();
        let mut decade = 10f64.powf(low.log10().floor());
        while decade <= high * 1.0001 {
            for step in [1.0, 2.0, 5.0] {
                let value = decade * step;
                if value >= low * 0.9999 && value <= high * 1.0001 && (step == 1.0 || !wide) {
                    ticks.push((value, tick(value)));
                }
            }
            decade *= 10.0;
        }
        Self { label: label.to_owned(), low, high, ticks }
    }

    /// An axis with given ends and ticks.
    pub fn with_ticks(label: &str, low: f64, high: f64, ticks: Vec<(f64, String)>) -> Self {
        Self { label: label.to_owned(), low, high, ticks }
    }

    /// Adds a tick at the lower end, where values that cannot be shown on a logarithmic axis are drawn.
    pub fn floor(mut self, at: f64, text: &str) -> Self {
        self.ticks.retain(|(value, _)| *value > at * 1.5);
        self.ticks.insert(0, (at, text.to_owned()));
        self.low = at;
        self
    }

    /// Where a value lies, 0 to 1; values outside lie on the edge.
    fn part(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        (value / self.low).ln() / (self.high / self.low).ln()
    }
}

/// A short text for a power of ten or a step between.
fn tick(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 0.9999e6 => (v / 1e6, " M"),
        v if v >= 0.9999e3 => (v / 1e3, " k"),
        v => (v, ""),
    };
    let rounded = (scaled * 1e6).round() / 1e6;
    format!("{rounded}{unit}")
}

/// Width and height of a plot that stands beside others, in units of about a pixel.
pub const NORMAL: (f64, f64) = (470.0, 350.0);
/// Of one that stands alone.
pub const WIDE: (f64, f64) = (820.0, 430.0);

const LEFT: f64 = 62.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;
/// Height of a line of labels.
const LINE: f64 = 14.5;
/// Width of half an em at the label's size; a CJK character takes two.
const CHARACTER: f64 = 6.1;

/// A plot being drawn.
pub struct Plot {
    width: f64,
    height: f64,
    x: Axis,
    y: Axis,
    right: f64,
    title: String,
    body: String,
    /// Boxes that labels must keep out of: x, y, width, height.
    taken: Vec<[f64; 4]>,
    /// Labels that ask for a place beside a point: x, y, text.
    beside: Vec<(f64, f64, String)>,
    /// Labels at the right edge: y, text, style.
    at_edge: Vec<(f64, String, Style)>,
}

impl Plot {
    /// An empty plot. `edge` is the room in characters for labels on the right.
    pub fn new(title: &str, (width, height): (f64, f64), x: Axis, y: Axis, edge: usize) -> Self {
        Self {
            width,
            height,
            x,
            y,
            right: 16.0 + edge as f64 * CHARACTER,
            title: title.to_owned(),
            body: String::new(),
            taken: Vec::new(),
            beside: Vec::new(),
            at_edge: Vec::new(),
        }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.part(x) * (self.width - LEFT - self.right)
    }

    fn py(&self, y: f64) -> f64 {
        self.height - BOTTOM - self.y.part(y) * (self.height - TOP - BOTTOM)
    }

    /// A line through points, dashed for what was computed and not measured.
    pub fn line(&mut self, points: &[(f64, f64)], style: Style, dashed: bool) {
        let mut path = String::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            let _ = write!(path, "{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, self.px(x), self.py(y));
        }
        let dash = if dashed { " dashed" } else { "" };
        let _ = writeln!(self.body, r#"<path class="line {}{dash}" d="{path}"/>"#, style.class());
    }

    /// A mark with a tooltip.
    pub fn mark(&mut self, x: f64, y: f64, style: Style, tooltip: &str) {
        let (px, py) = (self.px(x), self.py(y));
        let polygon = |corners: &[(f64, f64)]| {
            let points: Vec<String> =
                corners.iter().map(|(dx, dy)| format!("{:.1},{:.1}", px + dx, py + dy)).collect();
            format!(r#"<polygon points="{}""#, points.join(" "))
        };
        let shape = match style.series % 7 {
            0 => format!(r#"<circle cx="{px:.1}" cy="{py:.1}" r="5""#),
            1 => polygon(&[(-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)]),
            2 => polygon(&[(0.0, -6.0), (5.6, 4.4), (-5.6, 4.4)]),
            3 => polygon(&[(0.0, -6.4), (6.4, 0.0), (0.0, 6.4), (-6.4, 0.0)]),
            4 => polygon(&[(0.0, 6.0), (5.6, -4.4), (-5.6, -4.4)]),
            5 => polygon(&[
                (-2.0, -6.0),
                (2.0, -6.0),
                (2.0, -2.0),
                (6.0, -2.0),
                (6.0, 2.0),
                (2.0, 2.0),
                (2.0, 6.0),
                (-2.0, 6.0),
                (-2.0, 2.0),
                (-6.0, 2.0),
                (-6.0, -2.0),
                (-2.0, -2.0),
            ]),
            _ => polygon(&[(0.0, -6.0), (5.7, -1.9), (3.5, 4.9), (-3.5, 4.9), (-5.7, -1.9)]),
        };
        let _ = writeln!(
            self.body,
            r#"{shape} class="mark {}"><title>{}</title></{}>"#,
            style.class(),
            escape(tooltip),
            if shape.starts_with("<circle") { "circle" } else { "polygon" }
        );
        self.taken.push([px - 7.0, py - 7.0, 14.0, 14.0]);
    }

    /// A vertical bar from one value to another: the spread between runs.
    pub fn spread(&mut self, x: f64, low: f64, high: f64, style: Style) {
        let (px, top, bottom) = (self.px(x), self.py(high), self.py(low));
        let class = style.class();
        let _ = writeln!(self.body, r#"<path class="spread {class}" d="M{px:.1} {top:.1}V{bottom:.1}"/>"#);
    }

    /// A ring with a line down to the axis: a point worth reading off.
    pub fn ring(&mut self, x: f64, y: f64, label: &str) {
        let (px, py) = (self.px(x), self.py(y));
        let bottom = self.height - BOTTOM;
        let _ = writeln!(
            self.body,
            r#"<path class="guide" d="M{px:.1} {py:.1}V{bottom:.1}"/><circle class="ring" cx="{px:.1}" cy="{py:.1}" r="9"/>"#
        );
        self.taken.push([px - 9.0, py - 9.0, 18.0, 18.0]);
        self.beside.push((px, py, label.to_owned()));
    }

    /// A label for a point, put where there is room.
    pub fn label(&mut self, x: f64, y: f64, text: &str) {
        self.beside.push((self.px(x), self.py(y), text.to_owned()));
    }

    /// A label at the right edge for a line that ends at `y`.
    pub fn edge_label(&mut self, y: f64, text: &str, style: Style) {
        self.at_edge.push((self.py(y), text.to_owned(), style));
    }

    /// The SVG element.
    pub fn finish(mut self) -> String {
        let (left, right, top, bottom) = (LEFT, self.width - self.right, TOP, self.height - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
            self.width,
            self.height,
            escape(&self.title)
        );
        for (value, text) in &self.x.ticks {
            let px = self.px(*value);
            let _ = writeln!(
                svg,
                r#"<path class="grid" d="M{px:.1} {top}V{bottom}"/><text class="tick" x="{px:.1}" y="{}" text-anchor="middle">{}</text>"#,
                bottom + 17.0,
                escape(text)
            );
        }
        for (value, text) in &self.y.ticks {
            let py = self.py(*value);
            let _ = writeln!(
                svg,
                r#"<path class="grid" d="M{left} {py:.1}H{right:.1}"/><text class="tick" x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
                left - 7.0,
                py + 4.0,
                escape(text)
            );
        }
        let _ = writeln!(
            svg,
            r#"<path class="axis" d="M{left} {top}V{bottom}H{right:.1}"/><text class="axis-label" x="{:.1}" y="{}" text-anchor="middle">{}</text><text class="axis-label" transform="translate(14 {:.1})rotate(-90)" text-anchor="middle">{}</text>"#,
            (left + right) / 2.0,
            self.height - 8.0,
            escape(&self.x.label),
            (top + bottom) / 2.0,
            escape(&self.y.label)
        );
        svg.push_str(&self.body);
        self.place_edge_labels(&mut svg, right);
        self.place_labels(&mut svg, [left, top, right + self.right - 16.0, bottom]);
        svg.push_str("</svg>");
        svg
    }

    /// Edge labels from top to bottom, each at its line or just below the one before.
    fn place_edge_labels(&mut self, svg: &mut String, right: f64) {
        let mut labels = std::mem::take(&mut self.at_edge);
        labels.sort_by(|one, two| one.0.total_cmp(&two.0));
        let mut places: Vec<f64> = Vec::with_capacity(labels.len());
        for (y, ..) in &labels {
            places.push(places.last().map_or(*y, |above| y.max(above + LINE)));
        }
        // What was pushed out at the bottom pushes the others back up.
        let mut limit = self.height - BOTTOM + 4.0;
        for place in places.iter_mut().rev() {
            *place = place.min(limit);
            limit = *place - LINE;
        }
        for ((y, text, style), place) in labels.iter().zip(places) {
            let class = style.class();
            self.taken.push([right + 15.0, place - LINE / 2.0, text.width() as f64 * CHARACTER, LINE]);
            let _ = writeln!(
                svg,
                r#"<path class="leader {class}" d="M{:.1} {y:.1}L{:.1} {place:.1}"/><text class="label" x="{:.1}" y="{:.1}">{}</text>"#,
                right + 2.0,
                right + 12.0,
                right + 15.0,
                place + 4.0,
                escape(text)
            );
        }
    }

    /// Labels beside points: the first of some places that is free; the one that overlaps least if none is.
    fn place_labels(&mut self, svg: &mut String, [left, top, right, bottom]: [f64; 4]) {
        for (px, py, text) in std::mem::take(&mut self.beside) {
            let width = text.width() as f64 * CHARACTER;
            let places = [10.0, 22.0, 36.0, 54.0, 74.0].into_iter().flat_map(|d| {
                [
                    (px + d, py - LINE / 2.0),
                    (px - d - width, py - LINE / 2.0),
                    (px - width / 2.0, py - d - LINE),
                    (px - width / 2.0, py + d),
                    (px + d * 0.7, py - d * 0.7 - LINE),
                    (px + d * 0.7, py + d * 0.7),
                    (px - d * 0.7 - width, py - d * 0.7 - LINE),
                    (px - d * 0.7 - width, py + d * 0.7),
                ]
            });
            let cost = |&(x, y): &(f64, f64)| {
                let outside = (left + 2.0 - x).max(0.0)
                    + (x + width - right).max(0.0)
                    + (top - y).max(0.0)
                    + (y + LINE - bottom + 2.0).max(0.0);
                let overlap: f64 = self.taken.iter().map(|taken| overlap([x, y, width, LINE], *taken)).sum();
                outside * 100.0 + overlap
            };
            let mut best = (px + 10.0, py);
            let mut best_cost = f64::INFINITY;
            for place in places {
                let cost = cost(&place);
                if cost < best_cost {
                    (best, best_cost) = (place, cost);
                }
            }
            let (x, y) = best;
            self.taken.push([x, y, width, LINE]);
            let (near_x, near_y) = (px.clamp(x, x + width), py.clamp(y, y + LINE));
            if (near_x - px).hypot(near_y - py) > 14.0 {
                let _ =
                    writeln!(svg, r#"<path class="guide" d="M{px:.1} {py:.1}L{near_x:.1} {near_y:.1}"/>"#);
            }
            let _ = writeln!(
                svg,
                r#"<text class="label" x="{x:.1}" y="{:.1}">{}</text>"#,
                y + 11.0,
                escape(&text)
            );
        }
    }
}

/// The area that two boxes share.
fn overlap(one: [f64; 4], two: [f64; 4]) -> f64 {
    let side = |i: usize| {
        let ([a, b], [w, v]) = match i {
            0 => ([one[0], two[0]], [one[2], two[2]]),
            _ => ([one[1], two[1]], [one[3], two[3]]),
        };
        ((a + w).min(b + v) - a.max(b)).max(0.0)
    };
    side(0) * side(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_its_values_with_round_ends() {
        let axis = Axis::log("x", [0.0, 3.0, 700.0]);
        assert_eq!((axis.low, axis.high), (2.0, 1000.0));
        assert_eq!(axis.part(2.0), 0.0);
        assert_eq!(axis.part(1000.0), 1.0);
        assert_eq!(axis.part(5000.0), 1.0, "what lies outside is drawn on the edge");
        let texts: Vec<_> = Axis::log("x", [1.0, 1e6]).ticks.into_iter().map(|tick| tick.1).collect();
        assert_eq!(texts, ["1", "10", "100", "1 k", "10 k", "100 k", "1 M"]);
        let texts: Vec<_> = Axis::log("x", [0.2, 4.0]).ticks.into_iter().map(|tick| tick.1).collect();
        assert_eq!(texts, ["0.2", "0.5", "1", "2", "5"]);
    }

    #[test]
    fn an_axis_without_values_or_with_one_is_still_an_axis() {
        for values in [vec![], vec![0.0], vec![f64::NAN], vec![10.0]] {
            let axis = Axis::log("x", values);
            assert!(axis.low > 0.0 && axis.high > axis.low, "{axis:?}");
        }
    }

    #[test]
    fn nothing_that_comes_from_outside_becomes_markup() {
        let mut plot =
            Plot::new("<t>", NORMAL, Axis::log("<x>", [1.0, 10.0]), Axis::log("\"y\"", [1.0, 10.0]), 5);
        plot.mark(2.0, 2.0, Style::default(), "<script>");
        plot.label(2.0, 2.0, "a & b");
        plot.edge_label(2.0, "<b>", Style::default());
        let svg = plot.finish();
        for bad in ["<t>", "<x>", "\"y\"", "<script>", "a & b", "<b>"] {
            assert!(!svg.contains(bad), "{bad}");
        }
    }

    #[test]
    fn labels_keep_out_of_each_others_way() {
        let mut plot = Plot::new("t", NORMAL, Axis::log("x", [1.0, 100.0]), Axis::log("y", [1.0, 100.0]), 0);
        for _ in 0..6 {
            plot.mark(10.0, 10.0, Style::default(), "here");
            plot.label(10.0, 10.0, "a label");
        }
        let mut svg = String::new();
        plot.place_labels(&mut svg, [LEFT, TOP, NORMAL.0, NORMAL.1 - BOTTOM]);
        let labels = &plot.taken[6..];
        for (i, one) in labels.iter().enumerate() {
            for two in &labels[i + 1..] {
                assert!(overlap(*one, *two) < 1.0, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn edge_labels_are_a_line_apart_and_inside() {
        let mut plot = Plot::new("t", NORMAL, Axis::log("x", [1.0, 100.0]), Axis::log("y", [1.0, 100.0]), 10);
        for i in 0..10 {
            plot.edge_label(1.0, &format!("l{i}"), Style::default());
        }
        let svg = plot.finish();
        let mut ys: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("leader"))
            .map(|line| line.split_once("class=\"label\"").unwrap().1.split("y=\"").nth(1).unwrap())
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(ys.len(), 10);
        ys.sort_by(f64::total_cmp);
        assert!(ys.windows(2).all(|pair| pair[1] - pair[0] > LINE - 0.2), "{ys:?}");
        assert!(ys.iter().all(|y| (0.0..NORMAL.1).contains(y)));
    }
}
