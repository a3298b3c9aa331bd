//! A plan as a diagram: Mermaid, Graphviz's dot, or SVG, which needs no other program to draw it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use wharf::host::Plan;
use wharf::workload::{Name, Provider};

/// An arrow from a component to the provider of its imports, labelled with the interfaces.
struct Edge {
    from: String,
    to: String,
    labels: Vec<String>,
}

fn edges(plan: &Plan) -> Vec<Edge> {
    let mut edges: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (name, imports) in &plan.resolution.components {
        for import in imports {
            let to = match &import.provider {
                Provider::Sibling { component, .. } | Provider::Provided { component, .. } => component.to_string(),
                Provider::Plugin { plugin, .. } => format!("plugin {plugin}"),
                Provider::Wasi { .. } => "WASI".to_owned(),
                Provider::TypesOnly => continue,
            };
            edges.entry((name.to_string(), to)).or_default().push(import.import.clone());
        }
    }
    edges.into_iter().map(|((from, to), labels)| Edge { from, to, labels }).collect()
}

fn is_entry(plan: &Plan, name: &str) -> bool {
    plan.resolution.units.iter().any(|unit| Name::as_str(&unit.entry) == name)
}

/// The label of an arrow: the interfaces of a sibling by name, those of the host by their number.
fn label(edge: &Edge, siblings: bool) -> String {
    match edge.labels.as_slice() {
        [one] => one.clone(),
        several if siblings => several.join(", "),
        several => format!("{} interfaces", several.len()),
    }
}

pub(crate) fn mermaid(plan: &Plan) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let id = |name: &str| name.replace(['-', ' '], "_");
    for name in plan.resolution.components.keys() {
        let (open, close) = if is_entry(plan, name.as_str()) { ("([", "])") } else { ("[", "]") };
        writeln!(text, "  {}{open}\"{name}\"{close}", id(name.as_str())).ok();
    }
    for edge in edges(plan) {
        let sibling = plan.resolution.components.contains_key(edge.to.as_str());
        let node = if sibling { id(&edge.to) } else { format!("{}{{{{\"{}\"}}}}", id(&edge.to), edge.to) };
        writeln!(text, "  {} -- \"{}\" --> {node}", id(&edge.from), label(&edge, sibling)).ok();
    }
    text
}

pub(crate) fn dot(plan: &Plan) -> String {
    let mut text =
        "digraph workload {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n".to_owned();
    for name in plan.resolution.components.keys() {
        let bold = if is_entry(plan, name.as_str()) { " [penwidth=2]" } else { "" };
        writeln!(text, "  \"{name}\"{bold};").ok();
    }
    for edge in edges(plan) {
        let sibling = plan.resolution.components.contains_key(edge.to.as_str());
        if !sibling {
            writeln!(text, "  \"{}\" [shape=ellipse, style=dashed];", edge.to).ok();
        }
        writeln!(text, "  \"{}\" -> \"{}\" [label=\"{}\"];", edge.from, edge.to, label(&edge, sibling)).ok();
    }
    text + "}\n"
}

const WIDTH: usize = 200;
const HEIGHT: usize = 44;
const GAP_X: usize = 240;
const GAP_Y: usize = 36;
const MARGIN: usize = 24;
/// The distance between two of the lines that run down to the host.
const LANE: usize = 20;

/// An SVG picture. Components stand in columns: entries at the left, and each component to the right of those that import
/// from it. The host's providers stand below. Lines to them run between the columns, each in a lane of its own, so that
/// none passes behind a box.
pub(crate) fn svg(plan: &Plan) -> String {
    let edges = edges(plan);
    let is_component = |name: &str| plan.resolution.components.contains_key(name);
    let (to_siblings, to_host): (Vec<_>, Vec<_>) = edges.iter().partition(|edge| is_component(&edge.to));
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let mut place: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (name, column) in columns(plan, &to_siblings) {
        let row = rows.entry(column).or_default();
        place.insert(name, (MARGIN + column * (WIDTH + GAP_X), MARGIN + *row * (HEIGHT + GAP_Y)));
        *row += 1;
    }
    let bottom = MARGIN + rows.values().max().copied().unwrap_or(0) * (HEIGHT + GAP_Y);
    let host_y = bottom + LANE * (to_host.len() + 1);
    let hosts: BTreeSet<&str> = to_host.iter().map(|edge| edge.to.as_str()).collect();
    for (i, host) in hosts.iter().enumerate() {
        place.insert((*host).to_owned(), (MARGIN + i * (WIDTH + GAP_X), host_y));
    }
    let columns = rows.len().max(hosts.len()).max(1);
    let (width, height) = (2 * MARGIN + columns * (WIDTH + GAP_X) - GAP_X / 2, host_y + HEIGHT + MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#667\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for edge in &to_siblings {
        let (from, to) = (place[&edge.from], place[&edge.to]);
        text += &line_to_sibling(from, to, &label(edge, true));
    }
    // Lines that share an end are offset from each other.
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    for (lane, edge) in to_host.iter().enumerate() {
        let mut next = |name| {
            let n = used.entry(name).or_default();
            *n += 1;
            *n * 10
        };
        let (leave, arrive) = (next(edge.from.as_str()), next(edge.to.as_str()));
        let (from, to) = (place[&edge.from], place[&edge.to]);
        text += &line_to_host(from, to, (leave, arrive), bottom + LANE * lane, &label(edge, false));
    }
    for (name, at) in &place {
        let colours = match (is_component(name), is_entry(plan, name)) {
            (true, true) => ("#dde8ff", "#235"),
            (true, false) => ("#f2f5fa", "#667"),
            (false, _) => ("#fff8e6", "#a83"),
        };
        text += &node(name, *at, colours);
    }
    text + "</svg>\n"
}

fn line_to_sibling(from: (usize, usize), to: (usize, usize), label: &str) -> String {
    let (x, y, to_x, to_y) = (from.0 + WIDTH, from.1 + HEIGHT / 2, to.0, to.1 + HEIGHT / 2);
    let middle = usize::midpoint(x, to_x);
    format!(
        "<path d=\"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}\" fill=\"none\" stroke=\"#667\" \
         marker-end=\"url(#a)\"/>\n<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#445\" font-size=\"11\">{}</text>\n",
        to_x.saturating_sub(12),
        to_y.saturating_sub(6),
        escape(label),
    )
}

fn line_to_host(
    (x, y): (usize, usize),
    (to_x, to_y): (usize, usize),
    (leave, arrive): (usize, usize),
    lane: usize,
    label: &str,
) -> String {
    let (start, turn, end) = (y + HEIGHT / 2 + leave / 2, x + WIDTH + leave, to_x + arrive);
    format!(
        "<path d=\"M{} {start}H{turn}V{lane}H{end}V{to_y}\" fill=\"none\" stroke=\"#a83\" stroke-dasharray=\"4 3\" \
         marker-end=\"url(#a)\"/>\n<text x=\"{}\" y=\"{}\" fill=\"#763\" font-size=\"11\">{}</text>\n",
        x + WIDTH,
        turn.min(end) + 6,
        lane - 4,
        escape(label),
    )
}

fn node(name: &str, (x, y): (usize, usize), (fill, stroke): (&str, &str)) -> String {
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"{fill}\" stroke=\"{stroke}\"/>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
        x + WIDTH / 2,
        y + HEIGHT / 2 + 5,
        escape(name),
    )
}

/// The column of each component: one more than the rightmost of those that import from it. In an import cycle the number
/// of components is the upper bound.
fn columns(plan: &Plan, edges: &[&Edge]) -> BTreeMap<String, usize> {
    let most = plan.resolution.components.len();
    let mut column: BTreeMap<String, usize> =
        plan.resolution.components.keys().map(|name| (name.to_string(), 0)).collect();
    for _ in 0..most {
        let before = column.clone();
        for edge in edges {
            let right = before[&edge.from] + 1;
            let at = column.entry(edge.to.clone()).or_default();
            *at = right.max(*at).min(most);
        }
        if column == before {
            break;
        }
    }
    column
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
