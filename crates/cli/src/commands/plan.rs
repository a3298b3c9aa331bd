//! `wharf plan`: shows what satisfies each import and what each component is granted. It runs nothing.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;
use wharf::host::Plan as Planned;
use wharf::plugin::Grant;
use wharf::workload::manifest::{Access, Component, Instances, Restart, TriggerEntry};
use wharf::workload::resolution::ResolvedImport;
use wharf::workload::{Name, Provider, Unit, Workload};
use wharf_blobstore::BlobStore;
use wharf_keyvalue::KeyValueStore;
use wharf_messaging::MessageBroker;
use wharf_sql::Database;
use wharf_stores::{Kind, shown};

use super::plan_picture;
use crate::args::{EngineArgs, Plan, PlanFormat};
use crate::error::{self, CliError};
use crate::output::{self, BOLD, DIM, GOOD, NAME};
use crate::{host, logging, manifest};

pub(crate) async fn plan(engine: &EngineArgs, args: &Plan) -> Result<ExitCode, CliError> {
    let (workload, declared) = manifest::read(&args.path)?;
    let (host, provided) = host::planner(engine)?;
    provided.to(&host).await?;
    let plan = host.plan(&workload).await;
    match args.format {
        PlanFormat::Text => print(&workload, &plan),
        PlanFormat::Json => output::json(&to_json(&workload, &plan)),
        PlanFormat::Mermaid => anstream::print!("{}", plan_picture::mermaid(&plan)),
        PlanFormat::Dot => anstream::print!("{}", plan_picture::dot(&plan)),
        PlanFormat::Svg => anstream::print!("{}", plan_picture::svg(&plan)),
    }
    let report = error::problems(&declared, &plan.unloaded, &plan.problems);
    if !plan.is_runnable() {
        return Err(CliError::Workload(report));
    }
    logging::print(&report.to_string());
    Ok(ExitCode::SUCCESS)
}

/// One phrase for each grant of a component.
fn grants(component: &Component) -> Vec<String> {
    let keys = |kind: &str, keys: Vec<&str>| (!keys.is_empty()).then(|| format!("{kind} {}", keys.join(", ")));
    let env = keys("env", component.env.keys().map(String::as_str).collect());
    let config = keys("config", component.config.keys().map(String::as_str).collect());
    let args = keys("args", component.args.iter().map(String::as_str).collect());
    let hosts: Vec<_> = component.hosts.iter().map(ToString::to_string).collect();
    let hosts = keys("hosts", hosts.iter().map(String::as_str).collect());
    let volumes = component.volumes.iter().map(|mount| {
        let access = if mount.access == Access::Read { "read" } else { "read-write" };
        format!("volume {} at {} ({access})", mount.volume, mount.guest)
    });
    [env, args, config, hosts].into_iter().flatten().chain(volumes).collect()
}

/// The phrase for what a plugin grants.
fn granted(grant: &Grant) -> String {
    format!("{} {} ({})", grant.plugin, grant.name, grant.detail)
}

/// How an entry runs: as a service, in which instances, and within which limits of its own.
fn runs_as(component: &Component) -> Vec<(&'static str, String)> {
    let service = component.service.map(|service| {
        let bound = service.max_restarts.map_or_else(String::new, |most| format!(", at most {most} in a row"));
        ("service", format!("restarted {}{bound}", when(service.restart)))
    });
    // A service runs in one instance, whatever the policy is.
    let instances = component.service.is_none().then(|| ("instances", instances(component.instances.as_ref())));
    let limits = serde_json::to_value(&component.limits).unwrap_or_default();
    let limits: Vec<_> = limits.as_object().into_iter().flatten().map(|(key, value)| limit(key, value)).collect();
    let limits = (!limits.is_empty()).then(|| ("limits", limits.join(", ")));
    [service, instances, limits].into_iter().flatten().collect()
}

fn when(restart: Restart) -> &'static str {
    match restart {
        Restart::Always => "always",
        Restart::OnFailure => "on failure",
        Restart::Never => "never",
    }
}

fn limit(key: &str, value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| format!("{key} {value}"), |text| format!("{key} {text}"))
}

/// The instance policy, with the parameters that are set.
fn instances(declared: Option<&Instances>) -> String {
    let Some(declared) = declared else { return "fresh".to_owned() };
    let fields = serde_json::to_value(declared).unwrap_or_default();
    let mode = fields["mode"].as_str().unwrap_or_default().to_owned();
    let parameters = fields.as_object().into_iter().flatten().filter(|(key, _)| *key != "mode");
    std::iter::once(mode).chain(parameters.map(|(key, value)| limit(key, value))).collect::<Vec<_>>().join(", ")
}

pub(super) fn print(workload: &Workload, plan: &Planned) {
    anstream::println!("{BOLD}{}{BOLD:#}", workload.id());
    for unit in &plan.resolution.units {
        anstream::println!("{DIM}unit of{DIM:#} {BOLD}{}{BOLD:#}{}", unit.entry, triggers(workload, unit));
        // Components are listed in instantiation order. The reverse begins with the entry, where a call begins.
        for name in unit.components.iter().rev() {
            print_component(workload, plan, name, *name == unit.entry);
        }
    }
    if plan.resolution.units.is_empty() {
        plan.resolution.components.keys().for_each(|name| print_component(workload, plan, name, false));
    }
}

/// The triggers that call a unit, in parentheses. Empty if there are none.
fn triggers(workload: &Workload, unit: &Unit) -> String {
    let extensions = host::extensions();
    let declared = workload.triggers.entries().filter(|(.., trigger)| trigger.component == unit.entry);
    let label = |(kind, _, trigger): (&str, usize, &TriggerEntry)| {
        extensions.trigger(kind).map_or_else(|| kind.to_owned(), |kind| kind.label(trigger))
    };
    let triggers: Vec<_> = declared.map(label).collect();
    if triggers.is_empty() { String::new() } else { format!(" {DIM}({}){DIM:#}", triggers.join(", ")) }
}

fn print_component(workload: &Workload, plan: &Planned, name: &Name, is_entry: bool) {
    anstream::println!("├─ {NAME}{name}{NAME:#}");
    for ResolvedImport { import, label, interface, provider } in &plan.resolution.components[name] {
        let implements = match (label, interface) {
            (Some(_), Some(interface)) => format!(" {DIM}({interface}){DIM:#}"),
            _ => String::new(),
        };
        anstream::println!("│  ├─ {import}{implements} {DIM}←{DIM:#} {}", describe(provider));
    }
    if let Some(component) = workload.components.get(name).filter(|_| is_entry) {
        for (what, how) in runs_as(component) {
            anstream::println!("│  ├─ {DIM}{what}:{DIM:#} {how}");
        }
    }
    if plan.resolution.provided.contains_key(name) {
        anstream::println!("│  └─ {DIM}granted:{DIM:#} by the host");
        return;
    }
    let mut grants = workload.components.get(name).map(grants).unwrap_or_default();
    grants.extend(plan.grants.get(name).into_iter().flatten().map(granted));
    let grants = if grants.is_empty() { format!("{DIM}nothing{DIM:#}") } else { grants.join("; ") };
    anstream::println!("│  └─ {DIM}granted:{DIM:#} {grants}");
}

fn describe(provider: &Provider) -> String {
    match provider {
        Provider::Sibling { component, explicit, instead_of, .. } => {
            let link = if *explicit { " (by link)" } else { "" };
            let instead = if instead_of.is_some() { " in place of the host" } else { "" };
            format!("{GOOD}{component}{GOOD:#}{link}{instead}")
        }
        Provider::Provided { component, instead_of, .. } => {
            let instead = if instead_of.is_some() { " in place of a plugin" } else { "" };
            format!("{GOOD}{component}{GOOD:#} (by the host){instead}")
        }
        Provider::Plugin { plugin, grant, target, .. } => {
            let target = target.as_ref().map_or_else(String::new, |target| format!(":{target}"));
            format!("plugin {plugin}{target}{}", shared(*grant))
        }
        Provider::Wasi { grant, .. } => format!("WASI{}", shared(*grant)),
        Provider::TypesOnly => "types only".to_owned(),
    }
}

fn shared(grant: bool) -> String {
    if grant { String::new() } else { format!(" {DIM}(shared){DIM:#}") }
}

/// The workload as JSON, without the addresses of servers and other texts that may be secret.
fn without_secrets(workload: &Workload) -> serde_json::Value {
    let mut value = serde_json::to_value(workload).unwrap_or_default();
    for kind in Kind::ALL {
        let Some(declared) = workload.settings.get(kind.key()) else { continue };
        value[kind.key()] = match kind {
            Kind::KeyValue => shown::<KeyValueStore>(declared),
            Kind::BlobStore => shown::<BlobStore>(declared),
            Kind::Messaging => shown::<MessageBroker>(declared),
            Kind::Sql => shown::<Database>(declared),
            _ => serde_json::Value::Null,
        };
    }
    value
}

fn to_json(workload: &Workload, plan: &Planned) -> serde_json::Value {
    let problems = plan.problems.iter().map(|problem| {
        json!({
            "severity": problem.severity(), "message": problem.to_string(), "place": problem.place(),
            "hint": problem.hint(), "notes": problem.notes(), "problem": problem,
        })
    });
    let unloaded = plan.unloaded.iter().map(|error| {
        json!({ "severity": "error", "message": error.to_string(), "place": error.place(), "hint": error.hint() })
    });
    let grants = |grants: &Vec<Grant>| -> Vec<_> {
        grants.iter().map(|g| json!({ "plugin": g.plugin, "name": g.name, "detail": g.detail })).collect()
    };
    let grants: BTreeMap<_, _> = plan.grants.iter().map(|(name, of_name)| (name, grants(of_name))).collect();
    json!({
        "workload": without_secrets(workload),
        "grants": grants,
        "resolution": plan.resolution,
        "runs": plan.is_runnable(),
        "problems": unloaded.chain(problems).collect::<Vec<_>>(),
    })
}
