//! Instance → typed call: by values, or by the text of WAVE.

mod text;

use std::sync::Arc;

use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{Func, Type, Val, types::ComponentFunc};

use crate::meter::Ended;
use crate::pool::{Busy, Entry, Instantiated, NoPlace};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such function.
    #[error("`{entry}` exports no function `{function}`; it exports {}", list(exports))]
    NoFunction {
        /// The entry component.
        entry: String,
        /// What was asked for.
        function: String,
        /// What there is.
        exports: Vec<String>,
    },
    /// The arguments are not those of the function.
    #[error("`{function}` cannot be called so: {detail}")]
    Arguments {
        /// The function, with its parameters.
        function: String,
        /// What is wrong.
        detail: String,
    },
    /// No instance could be made.
    #[error("no instance of `{entry}` could be made: {detail}")]
    Instantiate {
        /// The entry component.
        entry: String,
        /// What the engine says.
        detail: String,
    },
    /// The call ended before its time.
    #[error("`{function}` failed: {ended}")]
    Ended {
        /// The function.
        function: String,
        /// The trap, with where it happened, or the limit that was reached.
        ended: Ended,
    },
    /// The call was not let in.
    #[error("`{entry}` cannot be called now: {busy}")]
    Busy {
        /// The entry component.
        entry: String,
        /// Why.
        busy: Busy,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Calls a function with values, in an instance of its own by the unit's policy. `function` is a function that the entry
/// exports by itself, or `interface#function`; the interface's version can be left out.
///
/// # Errors
/// [`CallError`].
pub async fn call(entry: &Arc<Entry>, function: &str, arguments: &[Val]) -> Result<Vec<Val>, CallError> {
    let arguments = arguments.to_vec();
    let work = move |func: &Found| {
        let wanted = func.ty.params().len();
        if wanted != arguments.len() {
            let detail = format!("it takes {wanted} arguments, not {}", arguments.len());
            return Err(CallError::Arguments { function: func.signature(), detail });
        }
        Ok(arguments)
    };
    Ok(run(entry, function.to_owned(), work).await?.1)
}

/// Calls a function written in WAVE, such as `add(2, 3)` or `acme:math/sums#add(2, 3)`, in an instance of its own by the
/// unit's policy; gives the results in WAVE.
///
/// # Errors
/// [`CallError`].
pub async fn call_wave(entry: &Arc<Entry>, text: &str) -> Result<Vec<String>, CallError> {
    let (interface, call) = match text.split('(').next().and_then(|head| head.rfind('#')) {
        Some(at) => (Some(&text[..at]), text[at + 1..].to_owned()),
        None => (None, text.to_owned()),
    };
    let bad = |detail: String| CallError::Arguments { function: text.to_owned(), detail };
    let parsed = UntypedFuncCall::parse(&call).map_err(|error| bad(error.to_string()))?;
    let function = interface.map_or_else(|| parsed.name().to_owned(), |i| format!("{i}#{}", parsed.name()));
    let work = move |func: &Found| {
        let wrong = |detail: String| CallError::Arguments { function: func.signature(), detail };
        let types: Vec<_> = func.ty.params().map(|(_, ty)| ty).collect();
        if let Some(odd) = types.iter().cloned().chain(func.ty.results()).find(|ty| !in_wave(ty)) {
            return Err(wrong(format!("{} cannot be written in WAVE; call it by values", kind(&odd))));
        }
        // Parsed again here, because what was parsed borrows its text.
        let parsed = UntypedFuncCall::parse(&call).map_err(|error| wrong(error.to_string()))?;
        text::arguments(&parsed, &types).map_err(wrong)
    };
    let (found, results) = run(entry, function, work).await?;
    let wrong = |detail: String| CallError::Arguments { function: found.signature(), detail };
    results.iter().map(|value| text::write(value).map_err(wrong)).collect()
}

/// The functions that an entry exports, as `call` takes them.
pub fn functions(entry: &Entry) -> Vec<String> {
    use wasmtime::component::types::ComponentItem;
    let Some(component) = entry.component() else { return Vec::new() };
    let (ty, engine) = (component.component_type(), entry.pre().engine());
    let mut functions = Vec::new();
    for (name, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => functions.push(name.to_owned()),
            ComponentItem::ComponentInstance(instance) => {
                let inner = instance.exports(engine);
                let inner = inner.filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
                functions.extend(inner.map(|(function, _)| format!("{name}#{function}")));
            }
            _ => {}
        }
    }
    functions
}

/// A function that was found, with its type.
struct Found {
    name: String,
    func: Func,
    ty: ComponentFunc,
}

impl Found {
    fn signature(&self) -> String {
        signature(&self.name, &self.ty)
    }
}

/// What a call gives while it is driven: errors of its own are no errors of the engine.
type Ran = Result<(Found, Vec<Val>), CallError>;

async fn run(
    entry: &Arc<Entry>,
    function: String,
    arguments: impl FnOnce(&Found) -> Result<Vec<Val>, CallError> + Send + 'static,
) -> Result<(Found, Vec<Val>), CallError> {
    let busy = |busy| CallError::Busy { entry: entry.name().to_string(), busy };
    let _under_way = entry.admit().await.map_err(busy)?;
    let meter = entry.meter();
    let (this, metered, name) = (entry.clone(), meter.clone(), function.clone());
    let work = async move {
        let mut instance = match this.instance(&metered).await {
            Ok(instance) => instance,
            // What ends the making of an instance is told as itself; only what the engine refuses is this.
            Err(error) if is_told(&error) => {
                return Err(error);
            }
            Err(error) => {
                let (entry, detail) = (this.name().to_string(), format!("{error:#}"));
                return Ok(Err(CallError::Instantiate { entry, detail }));
            }
        };
        let ran = invoke(&this, &mut instance, name, arguments).await?;
        if ran.is_ok() {
            this.give_back(instance);
        }
        Ok::<Ran, wasmtime::Error>(ran)
    };
    entry.drive(meter, work).await.map_err(|ended| CallError::Ended { function, ended })?
}

/// Whether an error of making an instance says enough by itself.
fn is_told(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::Trap>() || error.is::<wasmtime::PoolConcurrencyLimitError>() || error.is::<NoPlace>()
}

async fn invoke(
    entry: &Entry,
    instance: &mut Instantiated,
    name: String,
    arguments: impl FnOnce(&Found) -> Result<Vec<Val>, CallError>,
) -> wasmtime::Result<Ran> {
    let func = match find(entry, instance, &name) {
        Ok(func) => func,
        Err(error) => return Ok(Err(error)),
    };
    let found = Found { name, func, ty: func.ty(&instance.store) };
    let arguments = match arguments(&found) {
        Ok(arguments) => arguments,
        Err(error) => return Ok(Err(error)),
    };
    let mut results = vec![Val::Bool(false); found.ty.results().len()];
    let ran = found.func.call_async(&mut instance.store, &arguments, &mut results).await;
    entry.dumped(&mut instance.store, ran)?;
    Ok(Ok((found, results)))
}

fn find(entry: &Entry, instantiated: &mut Instantiated, function: &str) -> Result<Func, CallError> {
    let Instantiated { store, instance, .. } = instantiated;
    let found = match function.split_once('#') {
        None => instance.get_func(&mut *store, function),
        Some((interface, name)) => {
            let exports = functions(entry);
            let full = exports.iter().find_map(|export| {
                let (full, inner) = export.split_once('#')?;
                let same = full == interface || full.split('@').next() == Some(interface);
                (same && inner == name).then_some(full)
            });
            let interface = full.and_then(|full| instance.get_export_index(&mut *store, None, full));
            let index = interface.and_then(|i| instance.get_export_index(&mut *store, Some(&i), name));
            index.and_then(|index| instance.get_func(&mut *store, index))
        }
    };
    found.ok_or_else(|| CallError::NoFunction {
        entry: entry.name().to_string(),
        function: function.to_owned(),
        exports: functions(entry),
    })
}

/// Whether values of a type can be written in WAVE: handles and streams cannot.
fn in_wave(ty: &Type) -> bool {
    match ty {
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => false,
        Type::Map(map) => in_wave(&map.key()) && in_wave(&map.value()),
        Type::List(list) => in_wave(&list.ty()),
        Type::FixedLengthList(list) => in_wave(&list.ty()),
        Type::Option(option) => in_wave(&option.ty()),
        Type::Record(record) => record.fields().all(|field| in_wave(&field.ty)),
        Type::Tuple(tuple) => tuple.types().all(|ty| in_wave(&ty)),
        Type::Variant(variant) => variant.cases().all(|case| case.ty.is_none_or(|ty| in_wave(&ty))),
        Type::Result(result) => [result.ok(), result.err()].into_iter().flatten().all(|ty| in_wave(&ty)),
        _ => true,
    }
}

fn kind(ty: &Type) -> &'static str {
    match ty {
        Type::Own(_) | Type::Borrow(_) => "a handle",
        Type::Future(_) | Type::Stream(_) => "a stream or future",
        _ => "a value with a handle or stream in it",
    }
}

fn signature(function: &str, ty: &ComponentFunc) -> String {
    let params: Vec<_> = ty.params().map(|(name, ty)| format!("{name}: {}", text::show(&ty))).collect();
    format!("{function}({})", params.join(", "))
}
