//! `wharf plan`: who satisfies what, and what each component is granted. Nothing is run.

use std::process::ExitCode;

use serde_json::json;
use wharf::host::Plan as Planned;
use wharf::workload::manifest::{Access, Component};
use wharf::workload::resolution::ResolvedImport;
use wharf::workload::{Name, Provider, Unit, Workload};

use super::plan_picture;
use crate::args::{EngineArgs, Plan, PlanFormat};
use crate::error::{self, Failure, UNRESOLVED};
use crate::output::{self, BOLD, DIM, GOOD, NAME};
use crate::{host, logging, manifest};

pub(crate) fn plan(engine: &EngineArgs, args: &Plan) -> Result<ExitCode, Failure> {
    let (workload, declared) = manifest::read(&args.path)?;
    let plan = host::planner(engine)?.plan(&workload);
    match args.format {
        PlanFormat::Text => text(&workload, &plan),
        PlanFormat::Json => output::json(&machine(&workload, &plan)),
        PlanFormat::Mermaid => anstream::print!("{}", plan_picture::mermaid(&plan)),
        PlanFormat::Dot => anstream::print!("{}", plan_picture::dot(&plan)),
        PlanFormat::Svg => anstream::print!("{}", plan_picture::svg(&plan)),
    }
    let found = error::problems(&declared, &plan.unloaded, &plan.problems);
    if !plan.runs() {
        return Err(Failure { code: UNRESOLVED, text: found });
    }
    logging::print(&found);
    Ok(ExitCode::SUCCESS)
}

/// What a component is granted, one phrase each; nothing if it is granted nothing.
pub(crate) fn grants(component: &Component) -> Vec<String> {
    let keys = |what: &str, keys: Vec<&str>| (!keys.is_empty()).then(|| format!("{what} {}", keys.join(", ")));
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

fn text(workload: &Workload, plan: &Planned) {
    anstream::println!("{BOLD}{}{BOLD:#}", workload.id());
    for unit in &plan.resolution.units {
        anstream::println!("{DIM}unit of{DIM:#} {BOLD}{}{BOLD:#}{}", unit.entry, called_by(workload, unit));
        // The entry first: it is what a reader starts from.
        for name in unit.components.iter().rev() {
            component(workload, plan, name);
        }
    }
    if plan.resolution.units.is_empty() {
        plan.resolution.components.keys().for_each(|name| component(workload, plan, name));
    }
}

fn called_by(workload: &Workload, unit: &Unit) -> String {
    let http = workload.triggers.http.iter().filter(|t| t.component == unit.entry);
    let http = http.map(|t| format!("http {}{}", t.host.as_deref().unwrap_or(""), t.path));
    let command = workload.triggers.command.iter().filter(|t| t.component == unit.entry);
    let called: Vec<_> = http.chain(command.map(|_| "command".to_owned())).collect();
    if called.is_empty() { String::new() } else { format!(" {DIM}({}){DIM:#}", called.join(", ")) }
}

fn component(workload: &Workload, plan: &Planned, name: &Name) {
    anstream::println!("├─ {NAME}{name}{NAME:#}");
    for ResolvedImport { import, provider } in &plan.resolution.components[name] {
        anstream::println!("│  ├─ {import} {DIM}←{DIM:#} {}", who(provider));
    }
    let grants = workload.components.get(name).map(grants).unwrap_or_default();
    let grants = if grants.is_empty() { format!("{DIM}nothing{DIM:#}") } else { grants.join("; ") };
    anstream::println!("│  └─ {DIM}granted:{DIM:#} {grants}");
}

fn who(provider: &Provider) -> String {
    match provider {
        Provider::Sibling { component, explicit, instead_of, .. } => {
            let link = if *explicit { " (by link)" } else { "" };
            let instead = if instead_of.is_some() { " in place of the host" } else { "" };
            format!("{GOOD}{component}{GOOD:#}{link}{instead}")
        }
        Provider::Plugin { plugin, grant, .. } => format!("plugin {plugin}{}", shared(*grant)),
        Provider::Wasi { grant, .. } => format!("WASI{}", shared(*grant)),
        Provider::TypesOnly => "types alone".to_owned(),
    }
}

fn shared(grant: bool) -> String {
    if grant { String::new() } else { format!(" {DIM}(shared){DIM:#}") }
}

fn machine(workload: &Workload, plan: &Planned) -> serde_json::Value {
    let problems = plan.problems.iter().map(|problem| {
        json!({
            "severity": problem.severity(), "message": problem.to_string(), "place": problem.place(),
            "hint": problem.hint(), "notes": problem.notes(), "problem": problem,
        })
    });
    let unloaded = plan.unloaded.iter().map(|error| {
        json!({ "severity": "error", "message": error.to_string(), "place": error.place(), "hint": error.hint() })
    });
    json!({
        "workload": workload,
        "resolution": plan.resolution,
        "runs": plan.runs(),
        "problems": unloaded.chain(problems).collect::<Vec<_>>(),
    })
}
