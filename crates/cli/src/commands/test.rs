//! `wharf test`: calls the tests that components export, each in a fresh instance, with the doubles of the manifest in their places.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wharf::guest_log::escape;
use wharf::host::{Plan, Running};
use wharf::run::call::to_json;
use wharf::wasmtime::component::Val;
use wharf::workload::component::ComponentType;
use wharf::workload::manifest::{AnyTriggerKind, Format, TriggerKind, Triggers};
use wharf::workload::{Name, Workload};
use wharf::{Host, Trigger, TriggerError, stdio};

use crate::args::{EngineArgs, Test};
use crate::error::{self, CliError, Declared, Report};
use crate::output::{BAD, BOLD, DIM, GOOD};
use crate::{build, host, logging, manifest};

/// What a test's name begins with.
const PREFIX: &str = "test-";
/// The package whose interfaces have tests only.
const PACKAGE: (&str, &str) = ("wharf", "test");

/// A test: a function of a component.
struct Case {
    component: Name,
    function: String,
}

impl Case {
    fn name(&self) -> String {
        format!("{}/{}", self.component, self.function)
    }
}

pub(crate) async fn test(engine: &EngineArgs, args: &Test) -> Result<ExitCode, CliError> {
    // `wharf test greets` means the tests of this folder with that name.
    let is_filter = args.filter.is_none() && !args.path.exists() && Format::of(&args.path).is_none();
    let here = Path::new(".");
    let (path, filter) = match args.path.to_str() {
        Some(text) if is_filter => (here, Some(text)),
        _ => (args.path.as_path(), args.filter.as_deref()),
    };
    let declared = vec![manifest::read(path)?];
    build::all(&declared, host::builds_folder(engine).as_deref()).await?;
    let (workload, declared) = with_doubles(declared);
    // Tests make instances one after the other.
    let engine = EngineArgs { pool: engine.pool.or(Some(0)), source_lines: true, ..engine.clone() };
    let (builder, provided) = host::builder(&engine, stdio::Log)?;
    let host = host::build(builder.trigger(TestTrigger))?;
    provided.to(&host).await?;
    let plan = host.plan(&workload).await;
    if !plan.is_runnable() {
        return Err(CliError::Workload(error::problems(&declared, &plan.unloaded, &plan.problems)));
    }
    let all = cases(&plan);
    if all.is_empty() {
        let hint = "export a function whose name begins with `test-`, such as `export test-greets: func() -> result<_, string>`";
        return Err(CliError::Usage(Report::with_hint("no component exports a test", hint)));
    }
    let total = all.len();
    let chosen: Vec<Case> =
        all.into_iter().filter(|case| filter.is_none_or(|text| case.name().contains(text))).collect();
    if let (Some(filter), true) = (filter, chosen.is_empty()) {
        let hint = "names are `component/test-…`; `wharf test` alone runs all";
        let message = format!("none of {total} tests has `{}` in its name", escape(filter));
        return Err(CliError::Usage(Report::with_hint(message, hint)));
    }
    let workload = with_entries(workload, &chosen)?;
    host.workload_start(workload.clone()).await.map_err(|error| error::start(&declared, error))?;
    let failed = run(&host, &workload, &chosen, args.json).await;
    host.shutdown().await;
    let passed = chosen.len() - failed;
    if args.json {
        anstream::println!("{}", json!({ "passed": passed, "failed": failed, "skipped": total - chosen.len() }));
    } else {
        let skipped = total - chosen.len();
        let skipped = if skipped > 0 { format!("{DIM}, {skipped} left out{DIM:#}") } else { String::new() };
        let (style, word) = if failed == 0 { (GOOD, "ok") } else { (BAD, "failed") };
        anstream::println!("\n{style}{word}{style:#}: {passed} passed, {failed} failed{skipped}");
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// The workload with its doubles in the places of other components, and without what calls it.
fn with_doubles(mut declared: Vec<(Workload, Declared)>) -> (Workload, Declared) {
    let (mut workload, declared) = declared.remove(0);
    let doubles = std::mem::take(&mut workload.test);
    workload.components.extend(doubles.components);
    workload.links.extend(doubles.links);
    workload.triggers = Triggers::default();
    for component in workload.components.values_mut() {
        (component.service, component.instances) = (None, None);
    }
    (workload, declared)
}

/// Makes the tested components entries.
fn with_entries(mut workload: Workload, cases: &[Case]) -> Result<Workload, CliError> {
    let mut tested: Vec<_> = cases.iter().map(|case| case.component.clone()).collect();
    tested.dedup();
    for component in tested {
        let pushed = workload.triggers.push(Tested { component });
        pushed.map_err(|error| CliError::Host(Report::error(error)))?;
    }
    Ok(workload)
}

/// The tests of every component, in the order of their names.
fn cases(plan: &Plan) -> Vec<Case> {
    let of = |(component, ty): (&Name, &ComponentType)| {
        let component = component.clone();
        let plain = ty.plain_functions().filter(|name| name.starts_with(PREFIX)).map(str::to_owned);
        let interfaces = ty.exports().iter().filter_map(|export| {
            let interface = export.interface.as_ref()?;
            let all = (interface.namespace.as_str(), interface.package.as_str()) == PACKAGE;
            let functions = ty.export_functions(&export.name).into_iter();
            // Functions of resources need a handle.
            let functions = functions.filter(|name| !name.starts_with('['));
            let functions = functions.filter(move |name| all || name.starts_with(PREFIX));
            Some(functions.map(|function| format!("{}#{function}", export.name)).collect::<Vec<_>>())
        });
        let functions: Vec<String> = plain.chain(interfaces.flatten()).collect();
        functions.into_iter().map(move |function| Case { component: component.clone(), function })
    };
    plan.loaded.types.iter().flat_map(of).collect()
}

/// Runs the tests one after the other, and prints a line for each. Gives how many failed.
async fn run(host: &Host, workload: &Workload, cases: &[Case], json: bool) -> usize {
    let mut failed = 0;
    for case in cases {
        let begun = Instant::now();
        let result = host.call_values(&workload.id(), case.component.as_str(), &case.function, &[]).await;
        let took = begun.elapsed();
        let why = match &result {
            Ok(values) => values.iter().find_map(failure).map(shortened),
            Err(error) => Some(error::message(error)),
        };
        failed += usize::from(why.is_some());
        // The lines of the log come before it.
        logging::flush();
        let name = case.name();
        if json {
            let status = if why.is_some() { "failed" } else { "passed" };
            let (component, function) = (case.component.as_str(), &case.function);
            let line = json!({ "component": component, "test": function, "status": status, "ms": took.as_secs_f64() * 1e3, "error": why });
            anstream::println!("{line}");
            continue;
        }
        let took = took.as_secs_f64() * 1e3;
        match why {
            None => anstream::println!("{GOOD}ok{GOOD:#}   {name} {DIM}{took:.1} ms{DIM:#}"),
            Some(why) => {
                anstream::println!("{BAD}FAIL{BAD:#} {BOLD}{name}{BOLD:#} {DIM}{took:.1} ms{DIM:#}");
                // A test's text could control the terminal.
                why.lines().for_each(|line| anstream::println!("     {}", escape(line)));
            }
        }
    }
    failed
}

/// The longest reason that is shown, in bytes.
const MAX_REASON: usize = 64 * 1024;

fn shortened(text: String) -> String {
    if text.len() <= MAX_REASON {
        return text;
    }
    let end = text.floor_char_boundary(MAX_REASON);
    format!("{}… ({} bytes more)", &text[..end], text.len() - end)
}

/// Why a returned value is a failure, if it is one.
fn failure(value: &Val) -> Option<String> {
    match value {
        Val::Result(Err(None)) => Some("it returned an error".to_owned()),
        Val::Result(Err(Some(error))) => Some(match &**error {
            Val::String(text) if text.is_empty() => "it returned an empty error".to_owned(),
            Val::String(text) => text.clone(),
            other => match to_json(other) {
                Ok(text) => format!("it returned the error {text}"),
                Err(_) => "it returned an error".to_owned(),
            },
        }),
        Val::Bool(false) => Some("it returned false".to_owned()),
        _ => None,
    }
}

/// Makes a component an entry, so that its tests can be called.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Tested {
    component: Name,
}

impl TriggerKind for Tested {
    const KEY: &'static str = "wharf-test";
    const INTERFACES: &'static [&'static str] = &[];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        "test".to_owned()
    }
}

struct TestTrigger;

#[async_trait]
impl Trigger for TestTrigger {
    fn name(&self) -> &'static str {
        Tested::KEY
    }

    fn kind(&self) -> Option<AnyTriggerKind> {
        Some(AnyTriggerKind::of::<Tested>())
    }

    async fn attach(&self, _: &Arc<Running>) -> Result<(), TriggerError> {
        Ok(())
    }

    async fn detach(&self, _: &Arc<Running>) {}
}
