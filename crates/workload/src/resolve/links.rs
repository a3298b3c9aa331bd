//! Validates the explicit links and indexes them by import.

use std::collections::{BTreeSet, HashMap};

use super::candidates::{fits, may_serve, version};
use super::{ComponentTypes, HostInterface, candidates};
use crate::component::Extern;
use crate::manifest::Link;
use crate::manifest::decode::nearest;
use crate::name::Name;
use crate::problem::Problem;
use crate::workload::Workload;

/// A link, and the provider that it selects for an import.
pub(super) struct Linked<'a> {
    pub(super) index: usize,
    pub(super) to: Target<'a>,
    /// Whether the link names the import itself, not only its interface.
    exact: bool,
}

/// The provider that a link selects.
pub(super) enum Target<'a> {
    /// An export of a sibling.
    Sibling { component: &'a Name, export: &'a Extern },
    /// An interface of a plugin, from one of its stores if there is one.
    Plugin { plugin: &'a str, provided: &'a HostInterface, store: Option<&'a str> },
}

/// The links by importing component and import name.
pub(super) type Links<'a> = HashMap<(&'a Name, &'a str), Linked<'a>>;

/// The workload's links, in the context that they are checked in.
struct Indexer<'a, 'p> {
    workload: &'a Workload,
    types: &'a ComponentTypes,
    host: &'a [HostInterface],
    problems: &'p mut Vec<Problem>,
}

/// What `to` of a link names.
enum Named<'a> {
    Component(&'a Name),
    Plugin(&'a str),
    /// A declared component that failed to load.
    Unloaded,
}

pub(super) fn index<'a>(
    workload: &'a Workload,
    types: &'a ComponentTypes,
    host: &'a [HostInterface],
    problems: &mut Vec<Problem>,
) -> Links<'a> {
    let mut links = Links::new();
    let mut indexer = Indexer { workload, types, host, problems };
    for (index, link) in workload.links.iter().enumerate() {
        if let Some((from, to)) = indexer.ends(index, link) {
            indexer.link(index, link, from, &to, &mut links);
        }
    }
    links
}

impl<'a> Indexer<'a, '_> {
    /// Indexes a link under each import that it is about.
    fn link(&mut self, index: usize, link: &'a Link, from: &'a Name, to: &Named<'a>, links: &mut Links<'a>) {
        let imports: Vec<_> = self.types[from].imports().iter().filter(|i| is_meant(i, &link.import)).collect();
        if imports.is_empty() {
            let imports = self.types[from].imports().iter().map(candidates::described).collect();
            let (from, import) = (from.clone(), link.import.clone());
            self.problems.push(Problem::LinkUnknownImport { link: index, from, import, imports });
        }
        for import in imports {
            let target = match to {
                Named::Component(to) => self.sibling(from, import, to),
                Named::Plugin(plugin) => self.plugin(import, plugin, link.to.target.as_deref()),
                Named::Unloaded => return,
            };
            let (name, interface) = (import.name.clone(), candidates::implemented(import));
            let Some(to) = target else {
                let (exports, to) = (self.exports(to), link.to.to_string());
                let problem = Problem::LinkUnknownExport { link: index, import: name, interface, to, exports };
                self.problems.push(problem);
                continue;
            };
            // A link that names an import takes precedence over one that names its interface, and so all of its labels.
            let (key, exact) = ((from, import.name.as_str()), import.name == link.import);
            if links.get(&key).is_some_and(|other| other.exact && !exact) {
                continue;
            }
            let first = links.insert(key, Linked { index, to, exact });
            if let Some(first) = first.filter(|first| first.exact == exact) {
                let (from, first) = (from.clone(), first.index);
                self.problems.push(Problem::DuplicateLink { link: index, first, from, import: name, interface });
            }
        }
    }

    /// The newest export whose type matches, as without a link; failing that, the newest, which the message names.
    fn sibling(&self, from: &Name, import: &Extern, component: &'a Name) -> Option<Target<'a>> {
        let (from, to) = (&self.types[from], &self.types[component]);
        let serving = to.exports().iter().filter(|export| may_serve(export, import));
        let export = serving.max_by_key(|export| (fits(to, export, from, import).is_ok(), version(export)))?;
        Some(Target::Sibling { component, export })
    }

    fn plugin(&self, import: &Extern, plugin: &'a str, store: Option<&'a str>) -> Option<Target<'a>> {
        let provided =
            candidates::best(self.host, import.interface.as_ref()?, |h| h.plugin.as_deref() == Some(plugin))?;
        Some(Target::Plugin { plugin, provided, store })
    }

    fn exports(&self, of: &Named<'_>) -> Vec<String> {
        match of {
            Named::Component(name) => self.types[*name].exports().iter().map(candidates::described).collect(),
            Named::Plugin(plugin) => {
                let provided = self.host.iter().filter(|h| h.plugin.as_deref() == Some(*plugin));
                provided.map(|h| h.name.to_string()).collect()
            }
            Named::Unloaded => Vec::new(),
        }
    }

    /// The component that a link starts at and the provider that it names; `None` if one of them is unknown or has no type.
    fn ends(&mut self, index: usize, link: &'a Link) -> Option<(&'a Name, Named<'a>)> {
        let (from, to) = (self.types.get_key_value(&link.from), self.target(link));
        if let Some(Named::Component(to)) = &to
            && **to == link.from
        {
            self.problems.push(Problem::SelfLink { link: index, component: link.from.clone() });
            return None;
        }
        // A component that failed to load is already reported.
        if from.is_none() && !self.workload.components.contains_key(&link.from) {
            let (name, nearest) = (link.from.clone(), nearest_component(&link.from, self.types));
            self.problems.push(Problem::LinkUnknownComponent { link: index, key: "from".to_owned(), name, nearest });
        }
        if to.is_none() {
            let problem = self.unknown_target(index, link);
            self.problems.push(problem);
        }
        Some((from?.0, to.filter(|to| !matches!(to, Named::Unloaded))?))
    }

    /// What a link's `to` names.
    fn target(&self, link: &'a Link) -> Option<Named<'a>> {
        let name = link.to.name.as_str();
        if link.to.target.is_none() {
            if let Some((name, _)) = self.types.get_key_value(name) {
                return Some(Named::Component(name));
            }
            if self.workload.components.contains_key(name) {
                return Some(Named::Unloaded);
            }
        }
        self.host.iter().any(|h| h.plugin.as_deref() == Some(name)).then_some(Named::Plugin(name))
    }

    fn unknown_target(&self, link: usize, declared: &Link) -> Problem {
        let components: Vec<_> = self.workload.components.keys().chain(self.types.keys()).cloned().collect();
        let components: Vec<_> = BTreeSet::from_iter(components).into_iter().collect();
        let plugins: BTreeSet<_> = self.host.iter().filter_map(|h| h.plugin.clone()).collect();
        let plugins: Vec<_> = plugins.into_iter().collect();
        let name = declared.to.name.as_str();
        let is_store = declared.to.target.is_some();
        let known = components.iter().filter(|_| !is_store).map(Name::as_str).chain(plugins.iter().map(String::as_str));
        let nearest = nearest(name, known).filter(|near| *near != name).map(str::to_owned);
        Problem::LinkUnknownTarget { link, target: declared.to.to_string(), components, plugins, nearest }
    }
}

/// The component whose name is most similar to an unknown one.
pub(super) fn nearest_component(name: &Name, types: &ComponentTypes) -> Option<Name> {
    let near = nearest(name.as_str(), types.keys().map(Name::as_str))?;
    types.keys().find(|n| n.as_str() == near).cloned()
}

/// Whether a link's `import` names this import: by its name, or by its interface with or without the version.
fn is_meant(import: &Extern, text: &str) -> bool {
    import.name == text || import.interface.as_ref().is_some_and(|interface| interface.is_named(text))
}
