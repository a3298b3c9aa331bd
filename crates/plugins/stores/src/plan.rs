//! The checks of a plan: every problem of declared and granted stores, and what each component is granted.
//!
//! Opens nothing. The same checks keep a workload from starting.

use std::collections::BTreeMap;

use wharf::PluginError;
use wharf::plugin::{PlannedImport, Planning};
use wharf::workload::Name;

use crate::declaration::Declaration;
use crate::granted::Granted;
use crate::open::{Source, unknown};
use crate::policy::Policy;
use crate::secret;
use crate::text::Text;

/// Checks the stores of a workload for a plugin, and describes what it grants. `needs_store` tells the interfaces that are of no
/// use without a store from those that only carry types.
pub fn plan<D: Declaration>(
    planning: &mut Planning<'_>,
    policy: &Policy,
    needs_store: impl Fn(&PlannedImport) -> bool,
) {
    let declared: BTreeMap<Name, D> = planning.settings(D::KIND.key()).unwrap_or_default();
    let workload = planning.workload();
    let mut described = BTreeMap::new();
    for (name, declaration) in &declared {
        match Source::find(policy, workload, name, declaration) {
            Ok(source) => {
                described.insert(name, source.describe());
                secrets_of(planning, policy, name, declaration);
            }
            Err(error) => planning.problem(error),
        }
    }
    for (component, _) in planning.components() {
        let granted: Granted = planning.component_settings(component, D::KIND.key()).unwrap_or_default();
        for (guest, name, place) in granted.iter() {
            if !declared.contains_key(name) {
                let error = did_you_mean::<D>(name.as_str(), &declared);
                planning.problem(error.at(format!("components.{component}.{}.{place}", D::KIND)));
            } else if let Some(backend) = described.get(name) {
                let renamed = if guest == name.as_str() { String::new() } else { format!("{name}, ") };
                planning.grant(component, guest, format!("{renamed}{backend}"));
            }
        }
        links::<D>(planning, component, &declared, &described);
        let needed = planning.imports(component).iter().find(|import| import.target.is_none() && needs_store(import));
        if let Some(needed) = needed.filter(|_| granted.is_empty()) {
            let interface = &needed.import.interface;
            let message = format!("`{component}` imports `{interface}`, but is granted no {} store", D::KIND);
            let hint = match declared.keys().next() {
                Some(store) => {
                    format!("grant one by name: `{} = [\"{store}\"]` in `[components.{component}]`", D::KIND)
                }
                None => format!("declare one as `[{0}.<name>]`, and grant it: `{0} = [\"<name>\"]`", D::KIND),
            };
            planning.problem(PluginError::new(message).at(format!("components.{component}")).hint(hint));
        }
    }
}

/// Checks the stores that triggers of one kind name, each with the index of its trigger.
pub fn plan_triggers<'n, D: Declaration>(
    planning: &mut Planning<'_>,
    trigger: &str,
    stores: impl Iterator<Item = (&'n Name, usize)>,
) {
    let declared: BTreeMap<Name, D> = planning.settings(D::KIND.key()).unwrap_or_default();
    for (store, index) in stores.filter(|(store, _)| !declared.contains_key(*store)) {
        let place = format!("triggers.{trigger}.{index}.{}", D::KIND);
        planning.problem(did_you_mean::<D>(store.as_str(), &declared).at(place));
    }
}

/// Checks that the secrets of a declaration are declared.
fn secrets_of<D: Declaration>(planning: &mut Planning<'_>, policy: &Policy, name: &Name, declared: &D) {
    // Those of a store of the host's own are the host's.
    if policy.replacement::<D>(planning.workload(), name).is_some() {
        return;
    }
    let known = secret::declared(planning.workload()).unwrap_or_default();
    for (key, text) in declared.texts() {
        if let Text::Secret { secret } = text
            && !known.contains_key(secret)
        {
            let error =
                PluginError::new(format!("unknown secret `{secret}`")).hint(format!("add `[secrets.{secret}]`"));
            planning.problem(error.at(format!("{}.{name}.{key}", D::KIND)));
        }
    }
}

/// Checks the links that choose a store, which grant it.
fn links<D: Declaration>(
    planning: &mut Planning<'_>,
    component: &Name,
    declared: &BTreeMap<Name, D>,
    described: &BTreeMap<&Name, String>,
) {
    let mut seen = Vec::new();
    for PlannedImport { import, target, link, .. } in planning.imports(component) {
        let Some(target) = target else { continue };
        if let Some((name, backend)) = described.iter().find(|(name, _)| name.as_str() == target) {
            let label = import.label.clone().unwrap_or_else(|| import.interface.to_string());
            planning.grant(component, label, format!("{name}, {backend}"));
        } else if !declared.keys().any(|name| name.as_str() == target) && !seen.contains(link) {
            seen.push(*link);
            let place = link.map_or_else(|| format!("components.{component}"), |link| format!("links.{link}.to"));
            planning.problem(did_you_mean::<D>(target, declared).at(place));
        }
    }
}

fn did_you_mean<D: Declaration>(name: &str, declared: &BTreeMap<Name, D>) -> PluginError {
    let error = unknown(D::KIND, name);
    let near = declared.keys().map(|known| (strsim::damerau_levenshtein(known.as_str(), name), known)).min();
    match near.filter(|(distance, _)| *distance <= name.len().max(3) / 3) {
        Some((_, near)) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}
