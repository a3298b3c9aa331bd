//! [WAVE](https://github.com/bytecodealliance/wasm-tools/tree/main/crates/wasm-wave) text ⇄ values.
//!
//! WAVE has no syntax for maps yet. Here a map is a list of pairs, which is how the component model passes it:
//! `[("a", 1), ("b", 2)]`. Types without a map are left to the WAVE library.

use wasmtime::component::types::{Field, Record, Variant};
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::DisplayType;
use wasmtime::component::{Type, Val};

use crate::guest_log::bounded;

/// The most of a text that a message shows, in bytes.
const MAX_EXCERPT: usize = 40;

/// A result whose error is a message for the caller.
type Result<T> = std::result::Result<T, String>;

/// Converts the arguments of a call to values of the parameters' types.
pub(super) fn arguments(call: &UntypedFuncCall<'_>, types: &[Type]) -> Result<Vec<Val>> {
    if !types.iter().any(has_map) {
        return call.to_wasm_params::<Val>(types).map_err(|error| message(&error, call.source()));
    }
    let nodes = call.params_node().map(Node::as_tuple).transpose().map_err(|error| message(&error, call.source()))?;
    let nodes: Vec<_> = nodes.into_iter().flatten().collect();
    if nodes.len() != types.len() {
        return Err(format!("expected {} arguments, found {}", types.len(), nodes.len()));
    }
    nodes.iter().zip(types).map(|(node, ty)| read(node, ty, call.source())).collect()
}

/// What is wrong with a text, and where in it.
pub(super) fn message(error: &ParserError, text: &str) -> String {
    let (what, span) = (error.to_string(), error.span());
    let what = what.strip_suffix(&format!(" at {span:?}")).unwrap_or(&what);
    match text.get(span.clone()).filter(|found| !found.is_empty()) {
        Some(found) => {
            let before = text.get(..span.start).map_or(0, |before| before.chars().count());
            format!("{what}, at `{}` (character {})", bounded(found, MAX_EXCERPT), before + 1)
        }
        None => format!("{what}, at the end"),
    }
}

/// Whether values of a type can contain a map.
fn has_map(ty: &Type) -> bool {
    match ty {
        Type::Map(_) => true,
        Type::List(list) => has_map(&list.ty()),
        Type::FixedLengthList(list) => has_map(&list.ty()),
        Type::Option(option) => has_map(&option.ty()),
        Type::Record(record) => record.fields().any(|field| has_map(&field.ty)),
        Type::Tuple(tuple) => tuple.types().any(|ty| has_map(&ty)),
        Type::Variant(variant) => variant.cases().any(|case| case.ty.is_some_and(|ty| has_map(&ty))),
        Type::Result(result) => [result.ok(), result.err()].into_iter().flatten().any(|ty| has_map(&ty)),
        _ => false,
    }
}

/// Converts a syntax node of `text` to a value.
fn read(node: &Node, ty: &Type, text: &str) -> Result<Val> {
    let message = |error: ParserError| message(&error, text);
    if !has_map(ty) {
        return node.to_wasm_value::<Val>(ty, text).map_err(message);
    }
    let boxed = |node: &Node, ty: &Type| read(node, ty, text).map(Box::new);
    Ok(match ty {
        Type::Map(map) => Val::Map(
            node.as_list()
                .map_err(message)?
                .map(|pair| entry(pair, &map.key(), &map.value(), text))
                .collect::<Result<_>>()?,
        ),
        Type::FixedLengthList(list) => {
            let ty = list.ty();
            Val::FixedLengthList(
                node.as_list().map_err(message)?.map(|item| read(item, &ty, text)).collect::<Result<_>>()?,
            )
        }
        Type::List(list) => {
            let ty = list.ty();
            Val::List(node.as_list().map_err(message)?.map(|item| read(item, &ty, text)).collect::<Result<_>>()?)
        }
        Type::Option(option) => {
            Val::Option(node.as_option().map_err(message)?.map(|item| boxed(item, &option.ty())).transpose()?)
        }
        Type::Tuple(tuple) => {
            let (nodes, types) = (node.as_tuple().map_err(message)?, tuple.types());
            if nodes.len() != types.len() {
                return Err(format!("expected a tuple of {} values, found {}", types.len(), nodes.len()));
            }
            Val::Tuple(nodes.zip(types).map(|(item, ty)| read(item, &ty, text)).collect::<Result<_>>()?)
        }
        Type::Record(record) => Val::Record(fields(node, record, text)?),
        Type::Variant(variant) => {
            let (name, payload) = case(node, variant, text)?;
            Val::Variant(name, payload)
        }
        Type::Result(result) => {
            let payload = |node: Option<&Node>, ty: Option<Type>| match (node, ty) {
                (Some(node), Some(ty)) => boxed(node, &ty).map(Some),
                (None, None) => Ok(None),
                (None, Some(_)) => Err("missing payload of a result".to_owned()),
                (Some(_), None) => Err("unexpected payload of a result".to_owned()),
            };
            Val::Result(match node.as_result().map_err(message)? {
                Ok(node) => Ok(payload(node, result.ok())?),
                Err(node) => Err(payload(node, result.err())?),
            })
        }
        other => return Err(format!("{} cannot be written in WAVE", super::kind(other))),
    })
}

/// Converts the fields of a record. Optional fields can be left out.
fn fields(node: &Node, record: &Record, text: &str) -> Result<Vec<(String, Val)>> {
    let given: Vec<_> = node.as_record(text).map_err(|error| message(&error, text))?.collect();
    if let Some((unknown, _)) = given.iter().find(|(name, _)| record.fields().all(|field| field.name != *name)) {
        return Err(format!(
            "unknown field `{unknown}`; the fields are {}",
            names(record.fields().map(|field| field.name))
        ));
    }
    let field = |field: Field<'_>| {
        let found = given.iter().find(|(name, _)| *name == field.name);
        let value = match (found, &field.ty) {
            (Some((_, node)), ty) => read(node, ty, text)?,
            (None, Type::Option(_)) => Val::Option(None),
            (None, _) => return Err(format!("missing field `{}`", field.name)),
        };
        Ok((field.name.to_owned(), value))
    };
    record.fields().map(field).collect()
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Converts a case of a variant, with its payload.
fn case(node: &Node, variant: &Variant, text: &str) -> Result<(String, Option<Box<Val>>)> {
    let (name, payload) = node.as_variant(text).map_err(|error| message(&error, text))?;
    let unknown = || format!("unknown case `{name}`; the cases are {}", names(variant.cases().map(|case| case.name)));
    let case = variant.cases().find(|case| case.name == name).ok_or_else(unknown)?;
    let payload = match (payload, case.ty) {
        (Some(node), Some(ty)) => Some(Box::new(read(node, &ty, text)?)),
        (None, None) => None,
        (None, Some(_)) => return Err(format!("missing payload of the case `{name}`")),
        (Some(_), None) => return Err(format!("unexpected payload of the case `{name}`")),
    };
    Ok((name.to_owned(), payload))
}

/// Converts an entry of a map.
fn entry(pair: &Node, key: &Type, value: &Type, text: &str) -> Result<(Val, Val)> {
    let expected = || "expected a map entry `(key, value)`".to_owned();
    let mut pair = pair.as_tuple().map_err(|_| expected())?;
    match (pair.next(), pair.next(), pair.next()) {
        (Some(a), Some(b), None) => Ok((read(a, key, text)?, read(b, value, text)?)),
        _ => Err(expected()),
    }
}

/// Formats a value as text.
pub(super) fn write(value: &Val) -> Result<String> {
    if !contains_map(value) {
        return value.to_wave().map_err(|error| format!("{error:#}"));
    }
    let list = |values: &[Val]| values.iter().map(write).collect::<Result<Vec<_>>>().map(|all| all.join(", "));
    let wrapped = |name: &str, value: &Val| write(value).map(|text| format!("{name}({text})"));
    Ok(match value {
        Val::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok(format!("({}, {})", write(key)?, write(value)?)));
            format!("[{}]", entries.collect::<Result<Vec<_>>>()?.join(", "))
        }
        Val::List(values) | Val::FixedLengthList(values) => format!("[{}]", list(values)?),
        Val::Tuple(values) => format!("({})", list(values)?),
        Val::Record(fields) => {
            // WAVE omits fields that are `none`.
            let given = fields.iter().filter(|(_, value)| !matches!(value, Val::Option(None)));
            let fields = given.map(|(name, value)| Ok(format!("{name}: {}", write(value)?)));
            format!("{{{}}}", fields.collect::<Result<Vec<_>>>()?.join(", "))
        }
        Val::Option(Some(value)) => wrapped("some", value)?,
        // WAVE escapes the names that are its keywords.
        Val::Variant(name, Some(value)) if KEYWORDS.contains(&&**name) => wrapped(&format!("%{name}"), value)?,
        Val::Variant(name, Some(value)) => wrapped(name, value)?,
        Val::Result(Ok(Some(value))) => wrapped("ok", value)?,
        Val::Result(Err(Some(value))) => wrapped("err", value)?,
        plain => plain.to_wave().map_err(|error| format!("{error:#}"))?,
    })
}

/// WAVE's keywords.
const KEYWORDS: [&str; 8] = ["true", "false", "some", "none", "ok", "err", "inf", "nan"];

/// Whether a value contains a map.
fn contains_map(value: &Val) -> bool {
    match value {
        Val::Map(_) => true,
        Val::List(values) | Val::FixedLengthList(values) | Val::Tuple(values) => values.iter().any(contains_map),
        Val::Record(fields) => fields.iter().any(|(_, value)| contains_map(value)),
        Val::Option(Some(value)) | Val::Variant(_, Some(value)) | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            contains_map(value)
        }
        _ => false,
    }
}

/// Formats a type as text, for messages.
pub(super) fn show(ty: &Type) -> String {
    match ty {
        Type::Map(map) => format!("map<{}, {}>", show(&map.key()), show(&map.value())),
        ty if !super::in_wave(ty) => super::kind(ty).to_owned(),
        ty if has_map(ty) => "a value with maps in it".to_owned(),
        ty => DisplayType(ty).to_string(),
    }
}
