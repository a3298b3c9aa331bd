//! `wharf inspect`: shows a component's imports, exports, producers and WIT.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;
use wharf::workload::manifest::Component;
use wharf::workload::{HostInterface, Name, Workload};

use crate::args::{EngineArgs, Format, Inspect};
use crate::error::{self, CliError, Declared, Report};
use crate::host;
use crate::output::{self, BAD, BOLD, DIM, GOOD};

#[derive(Serialize)]
struct Inspected {
    kind: &'static str,
    bytes: usize,
    digest: String,
    imports: Vec<Import>,
    exports: Vec<String>,
    producers: BTreeMap<String, Vec<String>>,
    wit: Option<String>,
}

#[derive(Serialize)]
struct Import {
    name: String,
    /// The interface that the name stands for, if the name is a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    implements: Option<String>,
    /// The provider on this host. `None` if the host has none; then a sibling must export the interface.
    satisfied_by: Option<String>,
    grant: bool,
}

pub(crate) async fn inspect(engine: &EngineArgs, args: &Inspect) -> Result<ExitCode, CliError> {
    let name = Name::nearest("component");
    let workload = Workload::new(name.clone()).with_component(name.clone(), Component::from_path(&args.component));
    let (host, _) = host::planner(engine)?;
    let plan = host.plan(&workload).await;
    if !plan.unloaded.is_empty() {
        return Err(CliError::Workload(error::problems(&Declared::default(), &plan.unloaded, &[])));
    }
    let (ty, bytes) = (&plan.loaded.types[&name], plan.loaded.code[&name].component());
    // Size and digest are those of the file, which for a core module differs from the component that the host makes of it.
    let file = std::fs::read(&args.component).map_err(|error| {
        CliError::Workload(Report::with_context(error, format!("cannot read `{}`", args.component.display())))
    })?;
    let adapted = file.len() != bytes.len();
    let inspected = Inspected {
        kind: if adapted { "core module of WASI 0.1, as a component" } else { "component" },
        bytes: file.len(),
        digest: wharf::workload::manifest::Digest::of(&file).to_string(),
        imports: ty.imports().iter().map(|import| satisfy(import, host.interfaces())).collect(),
        exports: ty.exports().iter().map(|export| export.name.clone()).collect(),
        producers: producers(bytes),
        wit: wit(bytes),
    };
    match args.format {
        Format::Json => output::json(&inspected),
        Format::Text => print(&inspected),
    }
    Ok(ExitCode::SUCCESS)
}

fn satisfy(import: &wharf::workload::component::Extern, host: &[HostInterface]) -> Import {
    let found = import.interface.as_ref().and_then(|name| host.iter().find(|h| h.name.may_serve(name)));
    let by = found.map(|h| h.plugin.as_ref().map_or_else(|| "WASI".to_owned(), |plugin| format!("plugin {plugin}")));
    let implements = import.label.as_ref().and(import.interface.as_ref()).map(ToString::to_string);
    Import { name: import.name.clone(), implements, satisfied_by: by, grant: found.is_some_and(|h| h.grant) }
}

/// The languages and tools that the producers sections of the component and of everything nested in it name.
fn producers(bytes: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut producers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Ok(payload) = wasm_metadata::Payload::from_binary(bytes) else { return producers };
    let mut payloads = vec![&payload];
    while let Some(payload) = payloads.pop() {
        for (field, names) in payload.metadata().producers.iter().flat_map(wasm_metadata::Producers::iter) {
            let known = producers.entry(field.clone()).or_default();
            known.extend(names.iter().map(|(name, version)| format!("{name} {version}").trim().to_owned()));
        }
        if let wasm_metadata::Payload::Component { children, .. } = payload {
            payloads.extend(children);
        }
    }
    for names in producers.values_mut() {
        names.sort();
        names.dedup();
    }
    producers
}

/// The component's world as WIT. `None` if the decoder does not know a type in it.
fn wit(bytes: &[u8]) -> Option<String> {
    let decoded = wit_component::decode(bytes).ok()?;
    let mut printer = wit_component::WitPrinter::default();
    let main = decoded.package();
    let nested: Vec<_> = decoded.resolve().packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    printer.print(decoded.resolve(), main, &nested).ok()?;
    Some(printer.output.to_string())
}

fn print(inspected: &Inspected) {
    anstream::println!("{BOLD}{}{BOLD:#}  {}", output::bytes(inspected.bytes as u64), inspected.digest);
    anstream::println!("{}", inspected.kind);
    anstream::println!("{BOLD}imports{BOLD:#}");
    for Import { name, implements, satisfied_by, grant } in &inspected.imports {
        let name = implements.as_ref().map_or_else(|| name.clone(), |interface| format!("{name} ({interface})"));
        match satisfied_by {
            Some(by) if *grant => anstream::println!("  {name} {DIM}←{DIM:#} {GOOD}{by}{GOOD:#}"),
            Some(by) => anstream::println!("  {name} {DIM}←{DIM:#} {GOOD}{by}{GOOD:#} {DIM}(shared){DIM:#}"),
            None => anstream::println!("  {name} {DIM}←{DIM:#} {BAD}a sibling must export it{BAD:#}"),
        }
    }
    anstream::println!("{BOLD}exports{BOLD:#}");
    inspected.exports.iter().for_each(|export| anstream::println!("  {export}"));
    for (field, names) in &inspected.producers {
        anstream::println!("{BOLD}{field}{BOLD:#}  {}", names.join(", "));
    }
    if let Some(wit) = &inspected.wit {
        anstream::println!("{BOLD}WIT{BOLD:#}\n{wit}");
    }
}
