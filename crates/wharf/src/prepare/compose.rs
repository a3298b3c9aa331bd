//! Composed components: the fused component of a unit as a file, with the parts that it was made of.
//!
//! A composed component keeps the grants of its parts apart: each import that grants something has the name of its part, which no
//! other host provides. A custom section, `wharf:parts`, has the parts as a workload without values: which part has which
//! variables, mounts and hosts, and which links were made. [`Composed::read`] gives that workload back, with the parts' bytes, for
//! a host to run. [`flat`] makes a component for other hosts, whose parts share all grants. A file may come from anyone: what it says
//! beyond its parts' names, links and kinds of grants is not read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasm_encoder::{ComponentSection as _, CustomSection};
use wasmparser::{Parser, Payload};
use workload::manifest::{Component, Digest, Link, LinkTarget, Mount, Source, Volume};
use workload::resolution::Provider;
use workload::{Name, Resolution, Unit, Workload};

use super::fuse::{FuseError, fuse, fuse_flat};
use super::load::LoadedCode;

/// The name of the custom section.
const SECTION: &str = "wharf:parts";
/// The longest custom section, in bytes: that of the longest manifest.
const MAX_SECTION: usize = 1 << 20;

/// The parts of a composed component.
#[derive(Clone, Debug, PartialEq)]
pub struct Composed {
    /// The parts as a workload: their bytes and links, with the names of what each was granted and without values: environment
    /// variables and configuration are empty, and volumes are ephemeral. Limits, instance policies, services, triggers and the
    /// settings of plugins are left to who runs it.
    pub workload: Workload,
    /// The part whose exports are those of the component.
    pub entry: Name,
}

/// Why the parts of a composed component cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the parts of the composed component cannot be read: {0}")]
pub struct ComposedError(String);

/// The content of the custom section.
#[derive(Serialize, Deserialize)]
struct Parts {
    entry: Name,
    workload: Workload,
}

/// Fuses a unit into a composed component.
///
/// # Errors
/// [`FuseError`] when the encoder refuses the unit.
pub fn compose(
    workload: &Workload,
    unit: &Unit,
    resolution: &Resolution,
    code: &BTreeMap<Name, LoadedCode>,
) -> Result<Vec<u8>, FuseError> {
    if let Some(name) = unit.components.iter().find(|name| resolution.provided.contains_key(*name)) {
        let detail = format!("`{name}` is the host's, whose grants a file does not have");
        return Err(FuseError { entry: unit.entry.clone(), detail });
    }
    let mut bytes = fuse(unit, resolution, code)?.bytes.to_vec();
    // A component alone keeps its imports' names, so that every host runs it.
    if unit.components.len() > 1 {
        let parts = Parts { entry: unit.entry.clone(), workload: parts(workload, unit, resolution, code) };
        let detail = |error: serde_json::Error| FuseError { entry: unit.entry.clone(), detail: error.to_string() };
        let content = serde_json::to_vec(&parts).map_err(detail)?;
        CustomSection { name: SECTION.into(), data: content.into() }.append_to_component(&mut bytes);
    }
    Ok(bytes)
}

/// Fuses a unit into a component for other hosts: its imports keep their names, and all parts share what a host grants.
///
/// # Errors
/// [`FuseError`] when the encoder refuses the unit.
pub fn flat(unit: &Unit, resolution: &Resolution, code: &BTreeMap<Name, LoadedCode>) -> Result<Vec<u8>, FuseError> {
    Ok(fuse_flat(unit, resolution, code)?.bytes.to_vec())
}

/// A unit's components as a workload without values.
fn parts(workload: &Workload, unit: &Unit, resolution: &Resolution, code: &BTreeMap<Name, LoadedCode>) -> Workload {
    let mut parts = Workload::new(workload.name.clone());
    for name in &unit.components {
        let source = Source::Bytes(code[name].component().clone());
        add(&mut parts, name, &workload.components[name], source);
        for import in &resolution.components[name] {
            let to = match &import.provider {
                Provider::Sibling { component, .. } | Provider::Provided { component, .. } => {
                    LinkTarget::from(component.clone())
                }
                Provider::Plugin { plugin, target, .. } if target.is_some() || links_to(workload, name, plugin) => {
                    LinkTarget { name: plugin.clone(), target: target.clone() }
                }
                _ => continue,
            };
            parts.links.push(Link { from: name.clone(), import: import.import.clone(), to });
        }
    }
    parts
}

/// Whether the author of a workload linked a component to a plugin.
fn links_to(workload: &Workload, component: &Name, plugin: &str) -> bool {
    workload.links.iter().any(|link| link.from == *component && link.to.name == plugin)
}

/// Adds a part with the names of what it was granted.
fn add(parts: &mut Workload, name: &Name, declared: &Component, source: Source) {
    let keys = |values: &BTreeMap<String, String>| values.keys().map(|key| (key.clone(), String::new())).collect();
    for Mount { volume, .. } in &declared.volumes {
        parts.volumes.insert(volume.clone(), Volume::Ephemeral { ephemeral: true });
    }
    let part = Component {
        env: keys(&declared.env),
        config: keys(&declared.config),
        volumes: declared.volumes.clone(),
        hosts: declared.hosts.clone(),
        timezone: declared.timezone.clone(),
        ..Component::new(source)
    };
    parts.components.insert(name.clone(), part);
}

impl Composed {
    /// Reads the parts of a composed component; `None` for any other file.
    ///
    /// ```
    /// use wharf::prepare::compose::Composed;
    ///
    /// let plain = wat::parse_str("(component)")?;
    /// assert_eq!(Composed::read(&plain)?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ComposedError`] when the component has parts that cannot be read.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, ComposedError> {
        let Some((section, components)) = sections(bytes) else { return Ok(None) };
        if section.len() > MAX_SECTION {
            return Err(ComposedError(format!("they take more than {MAX_SECTION} bytes")));
        }
        let parts: Parts = serde_json::from_slice(section).map_err(|error| ComposedError(error.to_string()))?;
        // Several parts may have the same bytes, which are kept once.
        let by_digest: HashMap<Digest, Arc<[u8]>> =
            components.into_iter().map(|part| (Digest::of(part), Arc::from(part))).collect();
        let mut workload = Workload::new(parts.workload.name.clone());
        workload.links.clone_from(&parts.workload.links);
        for (name, part) in &parts.workload.components {
            let Source::Digest(digest) = &part.source else {
                return Err(ComposedError(format!("part `{name}` has no digest")));
            };
            let Some(found) = by_digest.get(digest) else {
                return Err(ComposedError(format!("part `{name}` is not in the component")));
            };
            add(&mut workload, name, part, Source::Bytes(found.clone()));
        }
        if !workload.components.contains_key(&parts.entry) {
            return Err(ComposedError(format!("there is no part `{}`", parts.entry)));
        }
        Ok(Some(Self { workload, entry: parts.entry }))
    }
}

/// The content of the custom section of a component, and the components in it. `None` if it has no such section, or cannot be
/// read to its end.
fn sections(bytes: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (mut parser, mut rest, mut offset) = (Parser::new(0), bytes, 0);
    let (mut section, mut components) = (None, Vec::new());
    loop {
        let wasmparser::Chunk::Parsed { consumed, payload } = parser.parse(rest, true).ok()? else { return None };
        (rest, offset) = (rest.get(consumed..)?, offset + consumed);
        match payload {
            Payload::ComponentSection { ref unchecked_range, .. }
            | Payload::ModuleSection { ref unchecked_range, .. } => {
                if matches!(payload, Payload::ComponentSection { .. }) {
                    components.push(bytes.get(unchecked_range.start..unchecked_range.end)?);
                }
                // What is inside is not read here.
                let length = unchecked_range.end.checked_sub(offset)?;
                (rest, offset) = (rest.get(length..)?, unchecked_range.end);
            }
            Payload::CustomSection(custom) if custom.name() == SECTION => section = Some(custom.data()),
            Payload::End(_) => break,
            _ => {}
        }
    }
    Some((section?, components))
}
