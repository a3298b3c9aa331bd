//! Instance → typed call: by values, or by the text of WAVE.

use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{Func, Type, Val, types::ComponentFunc};

use crate::pool::{Entry, Instantiated};

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
    /// The component trapped.
    #[error("`{function}` trapped: {detail}")]
    Trap {
        /// The function.
        function: String,
        /// The trap, with where it happened.
        detail: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Calls a function with values, in a fresh instance. `function` is a function that the entry exports by itself, or
/// `interface#function`; the interface's version can be left out.
///
/// # Errors
/// [`CallError`].
pub async fn call(entry: &Entry, function: &str, arguments: &[Val]) -> Result<Vec<Val>, CallError> {
    let _under_way = entry.call_guard();
    let mut instantiated = instantiate(entry).await?;
    let func = find(entry, &mut instantiated, function)?;
    let ty = func.ty(&instantiated.store);
    run(instantiated, func, &ty, function, arguments).await
}

/// Calls a function written in WAVE, such as `add(2, 3)` or `acme:math/sums#add(2, 3)`, in a fresh instance; gives the
/// results in WAVE.
///
/// # Errors
/// [`CallError`].
pub async fn call_wave(entry: &Entry, text: &str) -> Result<Vec<String>, CallError> {
    let _under_way = entry.call_guard();
    let (interface, call) = match text.split('(').next().and_then(|head| head.rfind('#')) {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    };
    let bad = |detail: String| CallError::Arguments { function: text.to_owned(), detail };
    let call = UntypedFuncCall::parse(call).map_err(|error| bad(error.to_string()))?;
    let function = interface.map_or_else(|| call.name().to_owned(), |i| format!("{i}#{}", call.name()));
    let mut instantiated = instantiate(entry).await?;
    let func = find(entry, &mut instantiated, &function)?;
    let ty = func.ty(&instantiated.store);
    let types: Vec<_> = ty.params().map(|(_, ty)| ty).collect();
    let wrong = |detail: String| CallError::Arguments { function: signature(&function, &ty), detail };
    if let Some(odd) = ty.params().map(|(_, ty)| ty).chain(ty.results()).find(|ty| !in_wave(ty)) {
        return Err(wrong(format!("{} cannot be written in WAVE; call it by values", kind(&odd))));
    }
    let arguments = call.to_wasm_params::<Val>(&types).map_err(|error| wrong(error.to_string()))?;
    let results = run(instantiated, func, &ty, &function, &arguments).await?;
    results.iter().map(|value| value.to_wave().map_err(|error| wrong(format!("{error:#}")))).collect()
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

async fn instantiate(entry: &Entry) -> Result<Instantiated, CallError> {
    let refuse = |error| CallError::Instantiate { entry: entry.name().to_string(), detail: format!("{error:#}") };
    entry.instantiate().await.map_err(refuse)
}

fn find(entry: &Entry, instantiated: &mut Instantiated, function: &str) -> Result<Func, CallError> {
    let Instantiated { store, instance } = instantiated;
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

async fn run(
    instantiated: Instantiated,
    func: Func,
    ty: &ComponentFunc,
    function: &str,
    arguments: &[Val],
) -> Result<Vec<Val>, CallError> {
    let wanted = ty.params().len();
    if wanted != arguments.len() {
        let detail = format!("it takes {wanted} arguments, not {}", arguments.len());
        return Err(CallError::Arguments { function: signature(function, ty), detail });
    }
    let mut store = instantiated.store;
    let mut results = vec![Val::Bool(false); ty.results().len()];
    let called = func.call_async(&mut store, arguments, &mut results).await;
    called.map_err(|error| CallError::Trap { function: function.to_owned(), detail: format!("{error:#}") })?;
    Ok(results)
}

/// Whether values of a type can be written in WAVE: handles, streams and maps cannot.
fn in_wave(ty: &Type) -> bool {
    match ty {
        Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext | Type::Map(_) => false,
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
        Type::Map(_) => "a map",
        _ => "a value with a handle, stream or map in it",
    }
}

fn signature(function: &str, ty: &ComponentFunc) -> String {
    use wasmtime::component::wasm_wave::wasm::DisplayType;
    let shown = |ty: &Type| if in_wave(ty) { DisplayType(ty).to_string() } else { kind(ty).to_owned() };
    let params: Vec<_> = ty.params().map(|(name, ty)| format!("{name}: {}", shown(&ty))).collect();
    format!("{function}({})", params.join(", "))
}
