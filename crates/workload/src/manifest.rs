//! Text → [`Workload`], with every problem at once and the position of each.
//!
//! Takes a manifest's text and format; returns a [`Parsed`]. Never touches a file, never panics on any text, and rejects
//! what is larger than [`MAX_BYTES`] or deeper than [`MAX_DEPTH`] before it takes time or memory.
//!
//! Decoding is about shape: keys and types. [`validate`](crate::validate()) then checks the values of the workload.

pub(crate) mod tree;
mod toml;
mod yaml;
pub(crate) mod decode;
mod problem;
mod component;
mod source;
mod digest;
mod hosts;
mod reserved;
mod limits;
mod timezone;
mod instances;
mod service;
mod build;
mod doubles;
mod volume;
mod link;
mod trigger;
mod settings;
mod extensions;
pub(crate) mod shape;
mod schema;

use std::path::Path;

pub use build::Build;
pub use component::Component;
pub use decode::Spans;
pub use digest::{Digest, DigestError};
pub use doubles::Doubles;
pub use extensions::{Extensions, SettingsKey};
pub use hosts::{HostPattern, HostRule, HostRuleError, Protocol};
pub use instances::{Instances, InstancesMode};
pub use limits::{ByteSize, Limits, Millis};
pub use link::{Link, LinkTarget, LinkTargetError};
pub use problem::{MAX_PROBLEMS, ManifestProblem, ManifestProblemKind, Position};
pub use schema::{schema, schema_with};
pub use service::{Restart, Service};
pub use settings::{Settings, SettingsError};
pub use source::Source;
pub use timezone::{TimeZone, TimeZoneError, ZoneName};
pub use trigger::{
    AnyTriggerKind, CommandTrigger, HttpPath, HttpPathError, HttpTrigger, TriggerEntry, TriggerKind, Triggers,
};
pub use volume::{Access, Mount, Volume};

use crate::name::Name;
use crate::problem::Problem;
use crate::validate::validate;
use crate::workload::Workload;
pub(crate) use extensions::Level;
pub(crate) use source::DIGEST_PREFIX;

use decode::{Diagnostics, Table};
use problem::Problems;
use tree::{Node, Value};

/// The maximum size of a manifest in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;
/// The maximum nesting depth of a manifest's values.
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
    /// The file names of a manifest, in the order in which a folder is searched for them.
    pub const FILE_NAMES: [&str; 4] = ["wharf.toml", "wharf.yaml", "wharf.yml", "wharf.json"];

    /// The format of a file, by its extension.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The result of parsing a manifest.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The workload, if there is no problem.
    pub workload: Option<Workload>,
    /// The position of each key in the text.
    pub spans: Spans,
    /// All problems in the order of the text, up to [`MAX_PROBLEMS`].
    pub problems: Vec<ManifestProblem>,
    /// The number of further problems.
    pub omitted: usize,
}

/// Parses a manifest's bytes for a host without plugins. Bytes that are not UTF-8 are a problem with a position.
pub fn parse_bytes(bytes: &[u8], format: Format) -> Parsed {
    parse_bytes_with(bytes, format, &Extensions::builtin())
}

/// Parses a manifest's bytes for a host with these extensions.
pub fn parse_bytes_with(bytes: &[u8], format: Format, extensions: &Extensions) -> Parsed {
    if bytes.len() > MAX_BYTES {
        return failed(too_large(bytes.len()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse_with(text, format, extensions),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let at = tree::Lines::new(&good).position(good.len());
            failed(ManifestProblem::syntax(at, "not UTF-8 text"))
        }
    }
}

/// Parses a manifest for a host without plugins.
pub fn parse(text: &str, format: Format) -> Parsed {
    parse_with(text, format, &Extensions::builtin())
}

/// Parses a manifest for a host with these extensions, and validates the workload.
pub fn parse_with(text: &str, format: Format, extensions: &Extensions) -> Parsed {
    let (tree, problems) = read(text, format);
    let Some(tree) = tree else { return parsed(None, Spans::default(), problems) };
    let mut diagnostics = Diagnostics::new(problems, Some(extensions.clone()));
    let workload = workload(&tree, &mut diagnostics);
    if let Some(workload) = &workload {
        for problem in validate(workload, extensions) {
            report(&problem, &mut diagnostics);
        }
    }
    parsed(workload, diagnostics.spans, diagnostics.problems)
}

/// Adds a problem of the workload at its position, unless it may be the consequence of one that is already reported.
fn report(problem: &Problem, diagnostics: &mut Diagnostics) {
    if diagnostics.problems.is_full() {
        diagnostics.problems.omit(1);
        return;
    }
    let place = problem.place();
    let undecoded = |volume: &Name| diagnostics.spans.has(&format!("volumes.{volume}"));
    let follows = matches!(problem, Problem::UnknownVolume { volume, .. } if undecoded(volume));
    if follows || diagnostics.may_follow(&place) {
        return;
    }
    let kind = match problem {
        Problem::UnknownKey { .. } => ManifestProblemKind::UnknownKey,
        _ => ManifestProblemKind::BadValue,
    };
    let at = diagnostics.spans.find(&place).unwrap_or(Position::START);
    let hint = Some(problem.hint()).filter(|hint| !hint.is_empty());
    diagnostics.problems.push(ManifestProblem { at, kind, message: problem.to_string(), hint });
}

/// Decodes the JSON form of a workload. Keys of any extension are accepted; [`validate`] rejects the unknown ones.
pub(crate) fn from_json(value: &serde_json::Value) -> Result<Workload, String> {
    let mut diagnostics = Diagnostics::default();
    let workload = workload(&Node::from_json(value), &mut diagnostics);
    let (problems, omitted) = diagnostics.problems.into_parts();
    let mut lines: Vec<_> = problems.iter().map(ManifestProblem::unplaced).collect();
    if omitted > 0 {
        lines.push(format!("{omitted} more problems"));
    }
    workload.filter(|_| lines.is_empty()).ok_or_else(|| lines.join("; "))
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

fn parsed(workload: Option<Workload>, spans: Spans, problems: Problems) -> Parsed {
    let (problems, omitted) = problems.into_parts();
    Parsed { workload: workload.filter(|_| problems.is_empty()), spans, problems, omitted }
}

fn failed(problem: ManifestProblem) -> Parsed {
    let mut problems = Problems::default();
    problems.push(problem);
    parsed(None, Spans::default(), problems)
}

fn too_large(bytes: usize) -> ManifestProblem {
    ManifestProblem::syntax(
        Position::START,
        format!("a manifest of {bytes} bytes exceeds the maximum of {MAX_BYTES} bytes"),
    )
}

/// Decodes a workload. A part that does not decode is left out, so that the rest can still be validated.
fn workload(tree: &Node, diagnostics: &mut Diagnostics) -> Option<Workload> {
    if let Value::Table(entries) = &tree.value
        && entries.is_empty()
    {
        diagnostics.problems.push(ManifestProblem {
            at: Position::START,
            kind: ManifestProblemKind::MissingKey,
            message: "the manifest is empty".into(),
            hint: Some("start with `name = \"my-app\"` and a `[components.<name>]` with its `source`".into()),
        });
        return None;
    }
    let mut table = Table::open(tree, "", diagnostics)?;
    let name: Option<Name> = table.require("name", diagnostics);
    let mut workload = Workload::new(name.unwrap_or_else(|| Name::nearest("unnamed")));
    if let Some(namespace) = table.get("namespace", diagnostics) {
        workload.namespace = namespace;
    }
    workload.version = table.get("version", diagnostics);
    workload.components = table.require("components", diagnostics).unwrap_or_default();
    workload.volumes = table.get("volumes", diagnostics).unwrap_or_default();
    workload.links = table.get("links", diagnostics).unwrap_or_default();
    workload.triggers = table.get("triggers", diagnostics).unwrap_or_default();
    workload.test = table.get("test", diagnostics).unwrap_or_default();
    workload.settings = table.finish_with_settings(Level::Workload, diagnostics);
    Some(workload)
}

impl decode::Decode for semver::Version {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        decode::parsed(node, path, diagnostics, Self::parse)
    }
}
