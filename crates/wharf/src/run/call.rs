//! Calls by value: typed values, or the text of WAVE.

mod json;
mod wave;

use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{Accessor, AccessorTask, Func, Instance, Type, Val, types::ComponentFunc};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wharf_api::CallFormat;

use super::admission::{AdmissionError, CallPermit};
use super::entry::Entry;
use super::invoke::{Call, InvokeError};
use super::policy::Policy;
use super::pool::Instantiated;
use super::shared::{Job, JobOutcome};
use super::termination::Termination;
use crate::guest_log::bounded;
use crate::store::StoreData;

/// The most of a call that a message shows, in bytes.
const MAX_SHOWN: usize = 100;

/// Why a call by value failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The entry exports no such function.
    #[error("`{entry}` exports no function `{function}`; it exports {}", list(exports))]
    NoFunction {
        /// The entry component.
        entry: String,
        /// The function.
        function: String,
        /// The functions that it exports.
        exports: Vec<String>,
    },
    /// The arguments do not match the function's type.
    #[error("invalid arguments for `{function}`: {detail}")]
    Arguments {
        /// The function with its parameters.
        function: String,
        /// What is wrong.
        detail: String,
    },
    /// The function returned, and its results cannot be written in the format that was asked for.
    #[error("`{function}` returned, and its result cannot be shown: {detail}")]
    Results {
        /// The function with its parameters.
        function: String,
        /// What is wrong.
        detail: String,
    },
    /// The call ended early.
    #[error("`{function}` failed: {cause}")]
    Terminated {
        /// The function.
        function: String,
        /// The trap, with its backtrace, or the limit that was reached.
        #[source]
        cause: Termination,
    },
    /// The call was not admitted.
    #[error("call of `{entry}` rejected: {cause}")]
    Rejected {
        /// The entry component.
        entry: String,
        /// Why.
        #[source]
        cause: AdmissionError,
    },
}

impl CallError {
    pub(super) fn new(entry: &Entry, function: &str, error: InvokeError) -> Self {
        match error {
            InvokeError::Admission(cause) => Self::Rejected { entry: entry.name().to_string(), cause },
            InvokeError::Terminated(cause) => {
                entry.tracker().usage.add_failure();
                Self::Terminated { function: function.to_owned(), cause }
            }
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Calls a function with values, in an instance by the unit's policy. `function` is a function that the entry exports by
/// itself, or `interface#function`; the interface's version can be left out, and the interface where one alone has such a function.
///
/// # Errors
/// [`CallError`].
pub async fn call(entry: &Arc<Entry>, function: &str, arguments: &[Val]) -> Result<Vec<Val>, CallError> {
    let arguments = arguments.to_vec();
    let work = move |func: &Function| {
        let expected = func.ty.params().len();
        let invalid = |detail| CallError::Arguments { function: func.signature(), detail };
        if expected != arguments.len() {
            return Err(invalid(format!("expected {expected} arguments, found {}", arguments.len())));
        }
        // The engine would end the instance, which may be that of a service with other calls.
        if let Some((name, _)) =
            func.ty.params().zip(&arguments).find(|((_, ty), value)| !fits(value, ty)).map(|(p, _)| p)
        {
            return Err(invalid(format!("the value of `{name}` is of another type")));
        }
        Ok(arguments)
    };
    Ok(invoke(entry, function.to_owned(), work).await?.1)
}

/// Calls a function written in [WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave), such as
/// `add(2, 3)` or `acme:math/sums#add(2, 3)`, in an instance by the unit's policy; gives the results in WAVE.
///
/// # Errors
/// [`CallError`].
pub async fn call_wave(entry: &Arc<Entry>, text: &str) -> Result<Vec<String>, CallError> {
    call_text(entry, text, CallFormat::Wave).await
}

/// Calls a function written in WAVE, or with arguments in JSON: `add(2, 3)`, `acme:shop/cart#add({"sku": "a"})`. Arguments that are JSON are read as
/// JSON, others as WAVE. Gives the results in `format`.
///
/// | type | JSON |
/// |---|---|
/// | `char` | a string of one character |
/// | `list`, `tuple` | an array |
/// | `map` | an object if its keys are strings, or else an array of pairs |
/// | `record` | an object; a field of an option may be left out |
/// | `enum` | the case as a string |
/// | `variant` | the case as a string, or an object with the case as its one key if it has a payload |
/// | `flags` | an array of strings |
/// | `option` | `null`, or the value; an option in an option is `{"some": …}` |
/// | `result` | `{"ok": …}` or `{"err": …}`, with `null` for no payload |
///
/// # Errors
/// [`CallError`].
pub async fn call_text(entry: &Arc<Entry>, text: &str, format: CallFormat) -> Result<Vec<String>, CallError> {
    if let Some((function, values)) = in_json(text) {
        let work = move |func: &Function| {
            check_text(func)?;
            let params: Vec<_> = func.ty.params().map(|(name, ty)| (name.to_owned(), ty)).collect();
            json::arguments(&values, &params)
                .map_err(|detail| CallError::Arguments { function: func.signature(), detail })
        };
        let (found, results) = invoke(entry, function, work).await?;
        return written(&found, &results, format);
    }
    let (interface, call) = match text.split('(').next().and_then(|head| head.rfind('#')) {
        Some(at) => (Some(&text[..at]), text[at + 1..].to_owned()),
        None => (None, text.to_owned()),
    };
    let invalid = |detail: String| CallError::Arguments { function: bounded(text, MAX_SHOWN).into_owned(), detail };
    let parsed = UntypedFuncCall::parse(&call).map_err(|error| invalid(wave::message(&error, &call)))?;
    let function = interface.map_or_else(|| parsed.name().to_owned(), |i| format!("{i}#{}", parsed.name()));
    let work = move |func: &Function| {
        let invalid = |detail: String| CallError::Arguments { function: func.signature(), detail };
        check_text(func)?;
        let types: Vec<_> = func.ty.params().map(|(_, ty)| ty).collect();
        // Parsed again here, because the parsed call borrows its text.
        let parsed = UntypedFuncCall::parse(&call).map_err(|error| invalid(wave::message(&error, &call)))?;
        wave::arguments(&parsed, &types).map_err(invalid)
    };
    let (found, results) = invoke(entry, function, work).await?;
    written(&found, &results, format)
}

/// Refuses a function whose parameters or results have no form in text.
fn check_text(func: &Function) -> Result<(), CallError> {
    match func.ty.params().map(|(_, ty)| ty).chain(func.ty.results()).find(|ty| !in_wave(ty)) {
        Some(ty) => {
            let detail = format!("{} has no form in text; call the function by values", kind(&ty));
            Err(CallError::Arguments { function: func.signature(), detail })
        }
        None => Ok(()),
    }
}

/// The function and the arguments of a call whose arguments are JSON.
fn in_json(text: &str) -> Option<(String, Vec<serde_json::Value>)> {
    let (function, arguments) = text.trim().strip_suffix(')')?.split_once('(')?;
    let values = serde_json::from_str(&format!("[{arguments}]")).ok()?;
    Some((function.trim().to_owned(), values))
}

fn written(found: &Function, results: &[Val], format: CallFormat) -> Result<Vec<String>, CallError> {
    let write = |value| match format {
        CallFormat::Json => json::write(value).map(|value| value.to_string()),
        _ => wave::write(value),
    };
    let invalid = |detail: String| CallError::Results { function: found.signature(), detail };
    results.iter().map(|value| write(value).map_err(invalid)).collect()
}

/// A value as JSON text, as [`call_text`] writes results.
///
/// # Errors
/// What is wrong, for a value with a handle or stream in it.
pub fn to_json(value: &Val) -> Result<String, String> {
    json::write(value).map(|value| value.to_string())
}

/// The functions that an entry exports, as [`call`] takes them.
pub fn functions(entry: &Entry) -> Vec<String> {
    use wasmtime::component::types::ComponentItem;
    let Some(component) = entry.component() else { return Vec::new() };
    let (ty, engine) = (component.component_type(), component.engine());
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

/// An exported function with its type.
struct Function {
    name: String,
    func: Func,
    ty: ComponentFunc,
}

impl Function {
    fn signature(&self) -> String {
        signature(&self.name, &self.ty)
    }
}

/// The result of a call: an error of its own is not one of the engine.
type Called = Result<(Function, Vec<Val>), CallError>;

async fn invoke(
    entry: &Arc<Entry>,
    function: String,
    arguments: impl FnOnce(&Function) -> Result<Vec<Val>, CallError> + Send + 'static,
) -> Called {
    let call = ByValue { entry: entry.clone(), function: function.clone(), arguments };
    let called = if entry.policy() == Policy::Service { submit(call).await } else { entry.invoke(call).await };
    called.map_err(|error| CallError::new(entry, &function, error))?
}

/// Makes a call in the instance of a service.
async fn submit<A>(call: ByValue<A>) -> Result<Called, InvokeError>
where
    A: FnOnce(&Function) -> Result<Vec<Val>, CallError> + Send + 'static,
{
    let entry = call.entry.clone();
    let permit = Arc::new(entry.admit().await?);
    let held = permit.clone();
    let (called_tx, called_rx) = oneshot::channel();
    let job: Job = Box::new(move |accessor, bindings| {
        Box::pin(async move {
            let prepared = accessor.with(|mut store| call.prepare(bindings.instance(), store.as_context_mut()));
            let (found, arguments) = match prepared {
                Ok(prepared) => prepared,
                Err(error) => {
                    called_tx.send(Err(error)).ok();
                    return Ok(JobOutcome::Completed);
                }
            };
            let (results_tx, results_rx) = oneshot::channel();
            let results = found.ty.results().len();
            accessor.spawn(Running { func: found.func, arguments, results, results_tx, _permit: held })?;
            if let Ok(results) = results_rx.await {
                called_tx.send(Ok((found, results))).ok();
            }
            Ok(JobOutcome::Completed)
        })
    });
    let (_, shared) = entry.submit(job, permit).await?;
    match called_rx.await {
        Ok(called) => Ok(called),
        // The service has logged why its instance ended.
        Err(_) => Err(shared.interruption().unwrap_or(Termination::InstanceEnded).into()),
    }
}

/// A call that goes on when its caller is gone: the engine ends an instance whose call is dropped before it starts.
struct Running {
    func: Func,
    arguments: Vec<Val>,
    /// The number of results.
    results: usize,
    results_tx: oneshot::Sender<Vec<Val>>,
    /// It counts against `concurrency` until it has ended.
    _permit: Arc<CallPermit>,
}

impl AccessorTask<StoreData> for Running {
    async fn run(self, accessor: &Accessor<StoreData>) -> wasmtime::Result<()> {
        let mut results = vec![Val::Bool(false); self.results];
        self.func.call_concurrent(accessor, &self.arguments, &mut results).await?;
        // The caller may be gone.
        self.results_tx.send(results).ok();
        Ok(())
    }
}

struct ByValue<A> {
    entry: Arc<Entry>,
    function: String,
    arguments: A,
}

impl<A: FnOnce(&Function) -> Result<Vec<Val>, CallError>> ByValue<A> {
    /// Finds the function, and makes its arguments.
    fn prepare(
        self,
        instance: Instance,
        mut store: StoreContextMut<'_, StoreData>,
    ) -> Result<(Function, Vec<Val>), CallError> {
        let Self { entry, function, arguments } = self;
        let Some(func) = find(&entry, instance, &mut store, &function) else {
            let (entry, exports) = (entry.name().to_string(), functions(&entry));
            return Err(CallError::NoFunction { entry, function, exports });
        };
        let found = Function { name: function, func, ty: func.ty(&store) };
        let arguments = arguments(&found)?;
        Ok((found, arguments))
    }
}

impl<A: FnOnce(&Function) -> Result<Vec<Val>, CallError> + Send + 'static> Call for ByValue<A> {
    type Output = Called;

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<Called> {
        let Ok(component) = instance.component() else {
            // A program of WASI 0.1 exports no function of the component model.
            let (entry, function, exports) = (self.entry.name().to_string(), self.function, Vec::new());
            return Ok(Err(CallError::NoFunction { entry, function, exports }));
        };
        let (found, arguments) = match self.prepare(component, instance.store.as_context_mut()) {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error)),
        };
        let mut results = vec![Val::Bool(false); found.ty.results().len()];
        found.func.call_async(&mut instance.store, &arguments, &mut results).await?;
        Ok(Ok((found, results)))
    }

    fn is_reusable(called: &Called) -> bool {
        called.is_ok()
    }
}

fn find(entry: &Entry, instance: Instance, store: &mut StoreContextMut<'_, StoreData>, function: &str) -> Option<Func> {
    let exports = functions(entry);
    let Some((interface, name)) = function.split_once('#') else {
        // A function of an interface can be named without it, if no other is called so.
        let mut of_interfaces = exports.iter().filter(|export| export.rsplit('#').next() == Some(function));
        return match (instance.get_func(&mut *store, function), of_interfaces.next(), of_interfaces.next()) {
            (None, Some(only), None) if only.contains('#') => find(entry, instance, store, only),
            (found, ..) => found,
        };
    };
    let full = exports.iter().find_map(|export| {
        let (full, inner) = export.split_once('#')?;
        let same = full == interface || full.split('@').next() == Some(interface);
        (same && inner == name).then_some(full)
    });
    let interface = full.and_then(|full| instance.get_export_index(&mut *store, None, full));
    let index = interface.and_then(|i| instance.get_export_index(&mut *store, Some(&i), name));
    index.and_then(|index| instance.get_func(store, index))
}

/// Whether a value is of a type. Handles and streams belong to a store, which checks them itself.
fn fits(value: &Val, ty: &Type) -> bool {
    let payload = |value: &Option<Box<Val>>, ty: &Option<Type>| match (value, ty) {
        (Some(value), Some(ty)) => fits(value, ty),
        (None, None) => true,
        _ => false,
    };
    match (value, ty) {
        (Val::List(values), Type::List(list)) => values.iter().all(|value| fits(value, &list.ty())),
        (Val::Record(fields), Type::Record(record)) => {
            record.fields().len() == fields.len()
                && record
                    .fields()
                    .zip(fields)
                    .all(|(field, (name, value))| field.name == name && fits(value, &field.ty))
        }
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            tuple.types().len() == values.len() && tuple.types().zip(values).all(|(ty, value)| fits(value, &ty))
        }
        (Val::Variant(name, value), Type::Variant(variant)) => {
            variant.cases().any(|case| case.name == name && payload(value, &case.ty))
        }
        (Val::Enum(name), Type::Enum(cases)) => cases.names().any(|case| case == name),
        (Val::Flags(names), Type::Flags(flags)) => names.iter().all(|name| flags.names().any(|flag| flag == name)),
        (Val::Option(value), Type::Option(option)) => value.as_ref().is_none_or(|value| fits(value, &option.ty())),
        (Val::Result(Ok(value)), Type::Result(result)) => payload(value, &result.ok()),
        (Val::Result(Err(value)), Type::Result(result)) => payload(value, &result.err()),
        (Val::Bool(_), Type::Bool)
        | (Val::S8(_), Type::S8)
        | (Val::U8(_), Type::U8)
        | (Val::S16(_), Type::S16)
        | (Val::U16(_), Type::U16)
        | (Val::S32(_), Type::S32)
        | (Val::U32(_), Type::U32)
        | (Val::S64(_), Type::S64)
        | (Val::U64(_), Type::U64)
        | (Val::Float32(_), Type::Float32)
        | (Val::Float64(_), Type::Float64)
        | (Val::Char(_), Type::Char)
        | (Val::String(_), Type::String)
        | (Val::Map(_), Type::Map(_))
        | (
            _,
            Type::FixedLengthList(_)
            | Type::Own(_)
            | Type::Borrow(_)
            | Type::Future(_)
            | Type::Stream(_)
            | Type::ErrorContext,
        ) => true,
        _ => false,
    }
}

/// Whether WAVE has a form for values of a type: it has none for handles and streams.
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
    let params: Vec<_> = ty.params().map(|(name, ty)| format!("{name}: {}", wave::show(&ty))).collect();
    format!("{function}({})", params.join(", "))
}
