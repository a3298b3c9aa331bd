//! Text → [`Workload`], with every problem at once and the place of each.
//!
//! Takes a manifest's text and its format; gives a [`Parsed`]. Never touches a file, never panics on any text, and
//! refuses what is larger than [`MAX_BYTES`] or deeper than [`MAX_DEPTH`] before it costs anything.

pub(crate) mod tree;
mod toml;
mod yaml;
pub(crate) mod decode;
mod problem;
mod component;
mod hosts;
mod reserved;
mod limits;
mod timezone;
mod instances;
mod volume;
mod link;
mod trigger;
mod schema;

use std::collections::{HashMap, HashSet};
use std::path::Path;

pub use component::{Component, Digest, DigestError, Source};
pub use decode::Origins;
pub use hosts::{HostPattern, HostRule, HostRuleError, Protocol};
pub use instances::{Instances, InstancesMode};
pub use limits::{Bytes, Limits, Millis};
pub use link::Link;
pub use problem::{MAX_PROBLEMS, ManifestProblem, ManifestProblemKind, Position};
pub use schema::schema;
pub use timezone::{TimeZone, TimeZoneError, ZoneName};
pub use trigger::{CommandTrigger, HttpPath, HttpPathError, HttpTrigger, Triggers};
pub use volume::{Access, Mount, Volume};

use crate::name::Name;
use crate::workload::Workload;
use decode::{Gathered, Table};
use problem::Problems;
use tree::{Node, Value};

/// The largest manifest that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// How deep a manifest's values may be nested.
pub const MAX_DEPTH: usize = 64;

/// The formats that a manifest can be written in. The schema is the same in all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `wharf.toml`.
    Toml,
    /// `wharf.yaml` or `wharf.yml`.
    Yaml,
    /// `wharf.json`.
    Json,
}

impl Format {
    /// The file names that are looked for in a folder, in this order.
    pub const FILE_NAMES: [&str; 4] = ["wharf.toml", "wharf.yaml", "wharf.yml", "wharf.json"];

    /// The format that a file's name says, by its extension.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// What parsing a manifest gives.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The workload, when there was no problem.
    pub workload: Option<Workload>,
    /// Where each part of it stands in the text.
    pub origins: Origins,
    /// What is wrong, in the order of the text: everything, up to [`MAX_PROBLEMS`].
    pub problems: Vec<ManifestProblem>,
    /// How many more problems there are.
    pub omitted: usize,
}

/// Parses a manifest that may not even be text: what is not UTF-8 is a problem with its place.
pub fn parse_bytes(bytes: &[u8], format: Format) -> Parsed {
    if bytes.len() > MAX_BYTES {
        return failed(too_large(bytes.len()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text, format),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let at = tree::Lines::new(&good).position(good.len());
            failed(ManifestProblem::syntax(at, "this is not UTF-8 text"))
        }
    }
}

/// Parses a manifest.
pub fn parse(text: &str, format: Format) -> Parsed {
    let (tree, problems) = read(text, format);
    let Some(tree) = tree else { return parsed(None, Origins::default(), problems) };
    let mut to = Gathered { problems, ..Gathered::default() };
    let workload = workload(&tree, &mut to);
    if let Some(workload) = &workload {
        check(workload, &mut to);
    }
    parsed(workload, to.origins, to.problems)
}

/// Text → tree.
pub(crate) fn read(text: &str, format: Format) -> (Option<Node>, Problems) {
    if text.len() > MAX_BYTES {
        let mut problems = Problems::default();
        problems.push(too_large(text.len()));
        return (None, problems);
    }
    match format {
        Format::Toml => toml::read(text),
        Format::Yaml => yaml::read(text),
        Format::Json => yaml::read_json(text),
    }
}

fn parsed(workload: Option<Workload>, origins: Origins, problems: Problems) -> Parsed {
    let (problems, omitted) = problems.into_parts();
    Parsed { workload: workload.filter(|_| problems.is_empty()), origins, problems, omitted }
}

fn failed(problem: ManifestProblem) -> Parsed {
    let mut problems = Problems::default();
    problems.push(problem);
    parsed(None, Origins::default(), problems)
}

fn too_large(bytes: usize) -> ManifestProblem {
    ManifestProblem::syntax(
        Position::START,
        format!("a manifest of {bytes} bytes; the most that is read is {MAX_BYTES}"),
    )
}

fn workload(tree: &Node, to: &mut Gathered) -> Option<Workload> {
    if let Value::Table(entries) = &tree.value
        && entries.is_empty()
    {
        to.problems.push(ManifestProblem {
            at: Position::START,
            kind: ManifestProblemKind::MissingKey,
            message: "this manifest is empty".into(),
            hint: Some("start with `name = \"my-app\"` and a `[components.<name>]` with its `source`".into()),
        });
        return None;
    }
    let mut table = Table::open(tree, "", to)?;
    let name = table.require("name", to);
    let namespace = table.get("namespace", to).unwrap_or_else(Workload::default_namespace);
    let version = table.get("version", to);
    let components = table.require("components", to);
    let volumes = table.get("volumes", to).unwrap_or_default();
    let links = table.get("links", to).unwrap_or_default();
    let triggers = table.get("triggers", to).unwrap_or_default();
    table.finish(to);
    Some(Workload { name: name?, namespace, version, components: components?, volumes, links, triggers })
}

impl decode::Decode for semver::Version {
    fn decode(node: &Node, path: &str, to: &mut Gathered) -> Option<Self> {
        decode::parsed(node, path, to, Self::parse)
    }
}

/// What no one section can see: a mount of a volume that is not there, two routes that are one.
fn check(workload: &Workload, to: &mut Gathered) {
    let place = |to: &Gathered, path: &str| to.origins.find(path).unwrap_or(Position::START);
    if workload.components.is_empty() {
        let at = place(to, "components");
        to.bad(at, "a workload needs at least one component");
    }
    for (name, component) in &workload.components {
        let mut guests = HashSet::new();
        for (i, mount) in component.volumes.iter().enumerate() {
            if !workload.volumes.contains_key(&mount.volume) {
                let at = place(to, &format!("components.{name}.volumes.{i}.volume"));
                to.problem(|| no_volume(at, &mount.volume, workload));
            }
            if !guests.insert(&mount.guest) {
                let at = place(to, &format!("components.{name}.volumes.{i}.guest"));
                to.bad(at, format!("two volumes of `{name}` are mounted at `{}`", mount.guest));
            }
        }
    }
    let mut routes = HashMap::new();
    for (i, route) in workload.triggers.http.iter().enumerate() {
        if let Some(other) = routes.insert((&route.host, &route.path), &route.component) {
            let at = place(to, &format!("triggers.http.{i}.path"));
            let host = route.host.as_deref().unwrap_or("any host");
            to.bad(
                at,
                format!("`{}` on {host} is routed twice, to `{other}` and to `{}`", route.path, route.component),
            );
        }
    }
}

fn no_volume(at: Position, volume: &Name, workload: &Workload) -> ManifestProblem {
    let near = decode::nearest(volume.as_str(), workload.volumes.keys().map(Name::as_str));
    let hint = near.map_or_else(
        || format!("add `[volumes.{volume}]` with a `host` path or `ephemeral = true`"),
        |near| format!("did you mean `{near}`?"),
    );
    ManifestProblem {
        at,
        kind: ManifestProblemKind::BadValue,
        message: format!("there is no volume `{volume}`"),
        hint: Some(hint),
    }
}
