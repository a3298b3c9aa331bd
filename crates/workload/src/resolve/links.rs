//! The explicit links, checked and indexed.

use std::collections::HashMap;

use super::ComponentTypes;
use super::candidates::{fits, may_serve, version};
use crate::component::Extern;
use crate::interface::InterfaceName;
use crate::manifest::Link;
use crate::manifest::decode::nearest;
use crate::name::Name;
use crate::problem::Problem;
use crate::workload::Workload;

/// Where a link goes.
pub(super) struct Target<'a> {
    pub(super) index: usize,
    pub(super) to: &'a Name,
    pub(super) export: &'a Extern,
}

/// The links, by importing component and import.
pub(super) type Links<'a> = HashMap<(&'a Name, &'a str), Target<'a>>;

pub(super) fn index<'a>(workload: &'a Workload, types: &'a ComponentTypes, problems: &mut Vec<Problem>) -> Links<'a> {
    let mut links = Links::new();
    for (index, link) in workload.links.iter().enumerate() {
        if !names_components(index, link, workload, types, problems) {
            continue;
        }
        let imports: Vec<_> = types[&link.from].imports().iter().filter(|i| is_meant(i, &link.import)).collect();
        if imports.is_empty() {
            let imports = types[&link.from].imports().iter().map(|i| i.name.clone()).collect();
            let (from, import) = (link.from.clone(), link.import.clone());
            problems.push(Problem::LinkUnknownImport { link: index, from, import, imports });
        }
        for import in imports {
            let exports = types[&link.to].exports();
            let (from, to) = (&types[&link.from], &types[&link.to]);
            // The newest that fits, as without a link; if none does, the one that the message is about.
            let serving = exports.iter().filter(|export| may_serve(export, import));
            let best = serving.max_by_key(|export| (fits(to, export, from, import).is_ok(), version(export)));
            let Some(export) = best else {
                let exports = exports.iter().map(|e| e.name.clone()).collect();
                let (import, to) = (import.name.clone(), link.to.clone());
                problems.push(Problem::LinkUnknownExport { link: index, import, to, exports });
                continue;
            };
            let target = Target { index, to: &link.to, export };
            if let Some(first) = links.insert((&link.from, import.name.as_str()), target) {
                let (from, import) = (link.from.clone(), import.name.clone());
                problems.push(Problem::LinkTwice { link: index, first: first.index, from, import });
            }
        }
    }
    links
}

fn names_components(
    index: usize,
    link: &Link,
    workload: &Workload,
    types: &ComponentTypes,
    problems: &mut Vec<Problem>,
) -> bool {
    if link.from == link.to {
        problems.push(Problem::LinkToItself { link: index, component: link.from.clone() });
        return false;
    }
    let mut known = true;
    for (key, name) in [("from", &link.from), ("to", &link.to)] {
        if !types.contains_key(name) {
            known = false;
            // One that is declared but could not be read has its own problem already.
            if workload.components.contains_key(name) {
                continue;
            }
            let nearest = nearest_component(name, types);
            problems.push(Problem::LinkUnknownComponent { link: index, key, name: name.clone(), nearest });
        }
    }
    known
}

/// The component whose name is most like one that is not there.
pub(super) fn nearest_component(name: &Name, types: &ComponentTypes) -> Option<Name> {
    let near = nearest(name.as_str(), types.keys().map(Name::as_str))?;
    types.keys().find(|n| n.as_str() == near).cloned()
}

/// A link may name an import with its version or without.
fn is_meant(import: &Extern, text: &str) -> bool {
    import.name == text || import.interface.as_ref().is_some_and(|i: &InterfaceName| i.unversioned() == text)
}
