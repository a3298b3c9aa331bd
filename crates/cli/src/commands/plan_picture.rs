//! A plan as a picture: Mermaid, Graphviz's dot, or SVG drawn here (no program is needed to see it).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wharf::host::Plan;
use wharf::workload::{Name, Provider};

/// An arrow: from the component that imports to who satisfies it, and the interfaces.
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
                Provider::Sibling { component, .. } => component.to_string(),
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

/// The interfaces on an arrow: all of a sibling's, and how many of the host's.
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
const GAP_X: usize = 220;
const GAP_Y: usize = 36;
const MARGIN: usize = 24;

/// A picture in columns: entries at the left, each component right of those that import from it, the host at the right.
pub(crate) fn svg(plan: &Plan) -> String {
    let edges = edges(plan);
    let column = columns(plan, &edges);
    let mut filled: BTreeMap<usize, usize> = BTreeMap::new();
    let mut place: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, column) in &column {
        let row = filled.entry(*column).or_default();
        place.insert(name, (MARGIN + column * (WIDTH + GAP_X), MARGIN + *row * (HEIGHT + GAP_Y)));
        *row += 1;
    }
    let columns = filled.keys().max().map_or(1, |last| last + 1);
    let rows = filled.values().max().copied().unwrap_or(1);
    let (width, height) =
        (2 * MARGIN + columns * (WIDTH + GAP_X) - GAP_X, 2 * MARGIN + rows * (HEIGHT + GAP_Y) - GAP_Y);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#667\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for edge in &edges {
        let (Some((x, y)), Some((to_x, to_y))) = (place.get(edge.from.as_str()), place.get(edge.to.as_str())) else {
            continue;
        };
        let (start, end) = ((x + WIDTH, y + HEIGHT / 2), (*to_x, to_y + HEIGHT / 2));
        let middle = usize::midpoint(start.0, end.0);
        let sibling = plan.resolution.components.contains_key(edge.to.as_str());
        writeln!(
            text,
            "<path d=\"M{} {}C{middle} {} {middle} {} {} {}\" fill=\"none\" stroke=\"#667\" marker-end=\"url(#a)\"/>\n\
             <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#445\" font-size=\"11\">{}</text>",
            start.0,
            start.1,
            start.1,
            end.1,
            end.0,
            end.1,
            usize::midpoint(start.1, end.1).saturating_sub(5),
            escape(&label(edge, sibling)),
        )
        .ok();
    }
    for (name, (x, y)) in &place {
        let component = plan.resolution.components.contains_key(*name);
        let (fill, stroke) = match (component, is_entry(plan, name)) {
            (true, true) => ("#dde8ff", "#235"),
            (true, false) => ("#f2f5fa", "#667"),
            (false, _) => ("#fff8e6", "#a83"),
        };
        writeln!(
            text,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"{fill}\" \
             stroke=\"{stroke}\"/>\n<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x + WIDTH / 2,
            y + HEIGHT / 2 + 5,
            escape(name),
        )
        .ok();
    }
    text + "</svg>\n"
}

/// Each node's column: one more than the rightmost of those that point at it. In a circle it stops growing.
fn columns(plan: &Plan, edges: &[Edge]) -> BTreeMap<String, usize> {
    let mut column: BTreeMap<String, usize> =
        plan.resolution.components.keys().map(|name| (name.to_string(), 0)).collect();
    column.extend(edges.iter().map(|edge| (edge.to.clone(), 0)));
    for _ in 0..plan.resolution.components.len() {
        let before = column.clone();
        for edge in edges {
            let right = before[&edge.from] + 1;
            let at = column.entry(edge.to.clone()).or_default();
            *at = right.max(*at).min(plan.resolution.components.len());
        }
        if column == before {
            break;
        }
    }
    // What the host provides stands together at the right.
    let last = column.values().max().copied().unwrap_or(0);
    for (name, at) in &mut column {
        if !plan.resolution.components.contains_key(name.as_str()) {
            *at = last;
        }
    }
    column
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
