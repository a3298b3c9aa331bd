//! WAVE text ⇄ values, with maps, which WAVE has no way to write yet: they are lists of pairs, as the component model passes
//! them (`[("a", 1), ("b", 2)]`).

use wasmtime::component::types::{Field, Record, Variant};
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::DisplayType;
use wasmtime::component::{Type, Val};

type Result<T> = std::result::Result<T, String>;

/// The arguments of a call, for parameters of these types.
pub(super) fn arguments(call: &UntypedFuncCall<'_>, types: &[Type]) -> Result<Vec<Val>> {
    if !types.iter().any(has_map) {
        return call.to_wasm_params::<Val>(types).map_err(|error| error.to_string());
    }
    let nodes = call.params_node().map(Node::as_tuple).transpose().map_err(|error| error.to_string())?;
    let nodes: Vec<_> = nodes.into_iter().flatten().collect();
    if nodes.len() != types.len() {
        return Err(format!("it takes {} arguments, not {}", types.len(), nodes.len()));
    }
    nodes.iter().zip(types).map(|(node, ty)| read(node, ty, call.source())).collect()
}

/// Whether there is a map in values of a type.
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

fn read(node: &Node, ty: &Type, text: &str) -> Result<Val> {
    let told = |error: wasmtime::component::wasm_wave::parser::ParserError| error.to_string();
    if !has_map(ty) {
        return node.to_wasm_value::<Val>(ty, text).map_err(told);
    }
    let boxed = |node: &Node, ty: &Type| read(node, ty, text).map(Box::new);
    Ok(match ty {
        Type::Map(map) => Val::Map(
            node.as_list()
                .map_err(told)?
                .map(|pair| entry(pair, &map.key(), &map.value(), text))
                .collect::<Result<_>>()?,
        ),
        Type::FixedLengthList(list) => {
            let ty = list.ty();
            Val::FixedLengthList(
                node.as_list().map_err(told)?.map(|item| read(item, &ty, text)).collect::<Result<_>>()?,
            )
        }
        Type::List(list) => {
            let ty = list.ty();
            Val::List(node.as_list().map_err(told)?.map(|item| read(item, &ty, text)).collect::<Result<_>>()?)
        }
        Type::Option(option) => {
            Val::Option(node.as_option().map_err(told)?.map(|item| boxed(item, &option.ty())).transpose()?)
        }
        Type::Tuple(tuple) => {
            let (nodes, types) = (node.as_tuple().map_err(told)?, tuple.types());
            if nodes.len() != types.len() {
                return Err(format!("a tuple of {} has {} values", types.len(), nodes.len()));
            }
            Val::Tuple(nodes.zip(types).map(|(item, ty)| read(item, &ty, text)).collect::<Result<_>>()?)
        }
        Type::Record(record) => Val::Record(fields(node, record, text)?),
        Type::Variant(variant) => {
            let (name, payload) = case(node, variant, text)?;
            Val::Variant(name, payload)
        }
        Type::Result(result) => {
            let side = |node: Option<&Node>, ty: Option<Type>| match (node, ty) {
                (Some(node), Some(ty)) => boxed(node, &ty).map(Some),
                (None, None) => Ok(None),
                _ => Err("this result has another payload".to_owned()),
            };
            Val::Result(match node.as_result().map_err(told)? {
                Ok(node) => Ok(side(node, result.ok())?),
                Err(node) => Err(side(node, result.err())?),
            })
        }
        other => return Err(format!("{} cannot be written in WAVE", super::kind(other))),
    })
}

fn fields(node: &Node, record: &Record, text: &str) -> Result<Vec<(String, Val)>> {
    let given: Vec<_> = node.as_record(text).map_err(|error| error.to_string())?.collect();
    if let Some((odd, _)) = given.iter().find(|(name, _)| record.fields().all(|field| field.name != *name)) {
        return Err(format!("there is no field `{odd}`"));
    }
    let field = |field: Field<'_>| {
        let found = given.iter().find(|(name, _)| *name == field.name);
        let value = match (found, &field.ty) {
            (Some((_, node)), ty) => read(node, ty, text)?,
            (None, Type::Option(_)) => Val::Option(None),
            (None, _) => return Err(format!("the field `{}` is missing", field.name)),
        };
        Ok((field.name.to_owned(), value))
    };
    record.fields().map(field).collect()
}

fn case(node: &Node, variant: &Variant, text: &str) -> Result<(String, Option<Box<Val>>)> {
    let (name, payload) = node.as_variant(text).map_err(|error| error.to_string())?;
    let case = variant.cases().find(|case| case.name == name).ok_or_else(|| format!("there is no case `{name}`"))?;
    let payload = match (payload, case.ty) {
        (Some(node), Some(ty)) => Some(Box::new(read(node, &ty, text)?)),
        (None, None) => None,
        _ => return Err(format!("the case `{name}` has another payload")),
    };
    Ok((name.to_owned(), payload))
}

fn entry(pair: &Node, key: &Type, value: &Type, text: &str) -> Result<(Val, Val)> {
    let mut pair = pair.as_tuple().map_err(|_| "an entry of a map is written (key, value)".to_owned())?;
    match (pair.next(), pair.next(), pair.next()) {
        (Some(a), Some(b), None) => Ok((read(a, key, text)?, read(b, value, text)?)),
        _ => Err("an entry of a map is written (key, value)".to_owned()),
    }
}

/// A value as text.
pub(super) fn write(value: &Val) -> Result<String> {
    if !holds_map(value) {
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
            // WAVE leaves out what is none.
            let given = fields.iter().filter(|(_, value)| !matches!(value, Val::Option(None)));
            let fields = given.map(|(name, value)| Ok(format!("{name}: {}", write(value)?)));
            format!("{{{}}}", fields.collect::<Result<Vec<_>>>()?.join(", "))
        }
        Val::Option(Some(value)) => wrapped("some", value)?,
        // A name that means something else otherwise is written so.
        Val::Variant(name, Some(value)) if KEYWORDS.contains(&&**name) => wrapped(&format!("%{name}"), value)?,
        Val::Variant(name, Some(value)) => wrapped(name, value)?,
        Val::Result(Ok(Some(value))) => wrapped("ok", value)?,
        Val::Result(Err(Some(value))) => wrapped("err", value)?,
        plain => plain.to_wave().map_err(|error| format!("{error:#}"))?,
    })
}

/// WAVE's keywords.
const KEYWORDS: [&str; 8] = ["true", "false", "some", "none", "ok", "err", "inf", "nan"];

/// Whether there is a map in a value.
fn holds_map(value: &Val) -> bool {
    match value {
        Val::Map(_) => true,
        Val::List(values) | Val::FixedLengthList(values) | Val::Tuple(values) => values.iter().any(holds_map),
        Val::Record(fields) => fields.iter().any(|(_, value)| holds_map(value)),
        Val::Option(Some(value)) | Val::Variant(_, Some(value)) | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            holds_map(value)
        }
        _ => false,
    }
}

/// A type as text.
pub(super) fn show(ty: &Type) -> String {
    match ty {
        Type::Map(map) => format!("map<{}, {}>", show(&map.key()), show(&map.value())),
        ty if !super::in_wave(ty) => super::kind(ty).to_owned(),
        ty if has_map(ty) => "a value with maps in it".to_owned(),
        ty => DisplayType(ty).to_string(),
    }
}
