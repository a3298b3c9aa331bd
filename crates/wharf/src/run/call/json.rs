//! JSON ⇄ values of the component model's types.
//!
//! | type | JSON |
//! |---|---|
//! | numbers, booleans, strings | themselves; NaN and the infinities are `"nan"`, `"inf"` and `"-inf"` |
//! | `char` | a string of one character |
//! | `list`, `tuple` | an array |
//! | `map` | an object if its keys are strings, or else an array of pairs |
//! | `record` | an object; a field of an option may be left out |
//! | `enum` | the case as a string |
//! | `variant` | the case as a string, or an object with the case as its one key if it has a payload |
//! | `flags` | an array of strings |
//! | `option` | `null`, or the value; a value that can be `null` itself is in `{"some": …}` |
//! | `result` | `{"ok": …}` or `{"err": …}`, with `null` for no payload |

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};
use wasmtime::component::types::{Case, Field, Flags, Record, ResultType};
use wasmtime::component::{Type, Val};

/// A result whose error says what is wrong, and where in the arguments.
type Result<T> = std::result::Result<T, String>;

/// Where a value is, such as `argument 1 (item).tags[2]`.
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Argument(usize, &'a str),
    Field(&'a str),
    Index(usize),
}

impl Place<'_> {
    fn write(&self, text: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(text);
        }
        // Writing to a `String` cannot fail.
        let _ = match self.step {
            Step::Argument(number, name) => write!(text, "argument {number} (`{name}`)"),
            Step::Field(name) => write!(text, ".{name}"),
            Step::Index(index) => write!(text, "[{index}]"),
        };
    }

    fn error<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        let mut text = String::new();
        self.write(&mut text);
        Err(format!("{text}: {message}"))
    }

    fn field<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place { parent: Some(self), step: Step::Field(name) }
    }

    fn index(&self, index: usize) -> Place<'_> {
        Place { parent: Some(self), step: Step::Index(index) }
    }
}

/// Converts the arguments of a call to values of the parameters' types.
pub(super) fn arguments(values: &[Value], params: &[(String, Type)]) -> Result<Vec<Val>> {
    if values.len() != params.len() {
        return Err(format!("expected {} arguments, found {}", params.len(), values.len()));
    }
    let argument = |(number, (value, (name, ty))): (usize, (&Value, &(String, Type)))| {
        read(value, ty, &Place { parent: None, step: Step::Argument(number + 1, name) })
    };
    values.iter().zip(params).enumerate().map(argument).collect()
}

fn read(value: &Value, ty: &Type, at: &Place<'_>) -> Result<Val> {
    macro_rules! integer {
        ($ty:ident, $val:ident) => {
            match value {
                Value::Number(number) => match number.as_i128().and_then(|number| $ty::try_from(number).ok()) {
                    Some(number) => Ok(Val::$val(number)),
                    None => at.error(format!("{number} is not a number from {} to {}", $ty::MIN, $ty::MAX)),
                },
                other => at.error(expected("a number", other)),
            }
        };
    }
    match ty {
        Type::Bool => match value {
            Value::Bool(value) => Ok(Val::Bool(*value)),
            other => at.error(expected("`true` or `false`", other)),
        },
        Type::S8 => integer!(i8, S8),
        Type::U8 => integer!(u8, U8),
        Type::S16 => integer!(i16, S16),
        Type::U16 => integer!(u16, U16),
        Type::S32 => integer!(i32, S32),
        Type::U32 => integer!(u32, U32),
        Type::S64 => integer!(i64, S64),
        Type::U64 => integer!(u64, U64),
        #[allow(clippy::cast_possible_truncation, reason = "a number that `f32` has no room for is rounded")]
        Type::Float32 => float(value, at).map(|float| Val::Float32(float as f32)),
        Type::Float64 => float(value, at).map(Val::Float64),
        Type::Char => {
            let mut chars = string(value, "a string of one character", at)?.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(Val::Char(c)),
                _ => at.error("expected a string of one character"),
            }
        }
        Type::String => string(value, "a string", at).map(|text| Val::String(text.to_owned())),
        Type::List(list) => items(value, &list.ty(), at).map(Val::List),
        Type::FixedLengthList(list) => items(value, &list.ty(), at).map(Val::FixedLengthList),
        Type::Tuple(tuple) => {
            let (values, types) = (array(value, "an array", at)?, tuple.types());
            if values.len() != types.len() {
                return at.error(format!("expected an array of {}, found one of {}", types.len(), values.len()));
            }
            let values = values.iter().zip(types).enumerate();
            values.map(|(i, (value, ty))| read(value, &ty, &at.index(i))).collect::<Result<_>>().map(Val::Tuple)
        }
        Type::Map(map) => entries(value, &map.key(), &map.value(), at).map(Val::Map),
        Type::Record(ty) => record(value, ty, at).map(Val::Record),
        Type::Variant(variant) => case(value, variant.cases(), at),
        Type::Enum(ty) => {
            let name = known(value, "case", ty.names(), at)?;
            Ok(Val::Enum(name))
        }
        Type::Flags(ty) => flags(value, ty, at).map(Val::Flags),
        Type::Option(ty) => option(value, &ty.ty(), at).map(Val::Option),
        Type::Result(ty) => result(value, ty, at),
        other => at.error(format!("{} has no form in JSON", super::kind(other))),
    }
}

/// A string that is one of these names.
fn known<'a>(value: &Value, what: &str, names: impl Iterator<Item = &'a str>, at: &Place<'_>) -> Result<String> {
    let name = string(value, "a string", at)?;
    let names: Vec<_> = names.collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = names.iter().map(|known| format!("`{known}`")).collect();
    at.error(format!("unknown {what} `{name}`; the {what}s are {}", names.join(", ")))
}

/// The fields of a record, of which an optional one may be left out.
fn record(value: &Value, ty: &Record, at: &Place<'_>) -> Result<Vec<(String, Val)>> {
    let Value::Object(given) = value else { return at.error(expected("an object", value)) };
    if let Some(unknown) = given.keys().find(|name| ty.fields().all(|field| field.name != **name)) {
        let names: Vec<_> = ty.fields().map(|field| format!("`{}`", field.name)).collect();
        return at.error(format!("unknown field `{unknown}`; the fields are {}", names.join(", ")));
    }
    let field = |field: Field<'_>| {
        let value = match (given.get(field.name), &field.ty) {
            (Some(value), ty) => read(value, ty, &at.field(field.name))?,
            (None, Type::Option(_)) => Val::Option(None),
            (None, _) => return at.error(format!("missing field `{}`", field.name)),
        };
        Ok((field.name.to_owned(), value))
    };
    ty.fields().map(field).collect()
}

fn flags(value: &Value, ty: &Flags, at: &Place<'_>) -> Result<Vec<String>> {
    // WAVE's form of no flags is JSON's empty object.
    if value.as_object().is_some_and(Map::is_empty) {
        return Ok(Vec::new());
    }
    let names = array(value, "an array of strings", at)?.iter().enumerate();
    names.map(|(i, name)| known(name, "flag", ty.names(), &at.index(i))).collect()
}

fn option(value: &Value, inner: &Type, at: &Place<'_>) -> Result<Option<Box<Val>>> {
    if value.is_null() {
        return Ok(None);
    }
    // The value of an option in an option can be `null` itself.
    if !matches!(inner, Type::Option(_)) {
        return read(value, inner, at).map(|value| Some(Box::new(value)));
    }
    match value.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("some")) {
        Some(value) => read(value, inner, &at.field("some")).map(|value| Some(Box::new(value))),
        None => at.error("expected `null` or `{\"some\": …}`"),
    }
}

fn result(value: &Value, ty: &ResultType, at: &Place<'_>) -> Result<Val> {
    const EXPECTED: &str = "`{\"ok\": …}` or `{\"err\": …}`";
    let Value::Object(object) = value else { return at.error(expected(EXPECTED, value)) };
    let payload = |value: &Value, ty: Option<Type>, name| match ty {
        Some(ty) => read(value, &ty, &at.field(name)).map(|value| Some(Box::new(value))),
        None if value.is_null() => Ok(None),
        None => at.field(name).error("it has no payload: expected `null`"),
    };
    match (object.len(), object.get("ok"), object.get("err")) {
        (1, Some(value), _) => Ok(Val::Result(Ok(payload(value, ty.ok(), "ok")?))),
        (1, _, Some(value)) => Ok(Val::Result(Err(payload(value, ty.err(), "err")?))),
        _ => at.error(format!("expected {EXPECTED}")),
    }
}

fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "`null`",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("expected {what}, found {found}")
}

fn string<'a>(value: &'a Value, what: &str, at: &Place<'_>) -> Result<&'a str> {
    value.as_str().map_or_else(|| at.error(expected(what, value)), Ok)
}

fn array<'a>(value: &'a Value, what: &str, at: &Place<'_>) -> Result<&'a [Value]> {
    value.as_array().map_or_else(|| at.error(expected(what, value)), |values| Ok(values.as_slice()))
}

fn items(value: &Value, ty: &Type, at: &Place<'_>) -> Result<Vec<Val>> {
    array(value, "an array", at)?.iter().enumerate().map(|(i, value)| read(value, ty, &at.index(i))).collect()
}

fn float(value: &Value, at: &Place<'_>) -> Result<f64> {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| at.error("the number is out of range"), Ok),
        Value::String(text) => match text.as_str() {
            "nan" => Ok(f64::NAN),
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            _ => at.error("expected a number, `\"nan\"`, `\"inf\"` or `\"-inf\"`"),
        },
        other => at.error(expected("a number", other)),
    }
}

fn entries(value: &Value, key: &Type, of: &Type, at: &Place<'_>) -> Result<Vec<(Val, Val)>> {
    if let (Value::Object(object), Type::String) = (value, key) {
        let entry =
            |(name, value): (&String, &Value)| Ok((Val::String(name.clone()), read(value, of, &at.field(name))?));
        return object.iter().map(entry).collect();
    }
    let pairs = array(value, "an array of pairs", at)?.iter().enumerate();
    let pair = |(i, pair): (usize, &Value)| {
        let at = at.index(i);
        match array(pair, "a map entry", &at)? {
            [a, b] => Ok((read(a, key, &at.index(0))?, read(b, of, &at.index(1))?)),
            _ => at.error("expected a map entry: an array of a key and its value"),
        }
    };
    pairs.map(pair).collect()
}

fn case<'a>(value: &Value, cases: impl ExactSizeIterator<Item = Case<'a>>, at: &Place<'_>) -> Result<Val> {
    let cases: Vec<_> = cases.collect();
    let (name, payload) = match value {
        Value::String(name) => (name, None),
        Value::Object(object) if object.len() == 1 => {
            // There is one.
            let Some((name, payload)) = object.iter().next() else { return at.error("expected a case") };
            (name, Some(payload))
        }
        other => return at.error(expected("a case, or an object with a case as its one key", other)),
    };
    let Some(case) = cases.iter().find(|case| case.name == name) else {
        let known: Vec<_> = cases.iter().map(|case| format!("`{}`", case.name)).collect();
        return at.error(format!("unknown case `{name}`; the cases are {}", known.join(", ")));
    };
    let payload = match (payload, &case.ty) {
        (Some(value), Some(ty)) => Some(Box::new(read(value, ty, &at.field(name))?)),
        (None, None) => None,
        (None, Some(_)) => return at.error(format!("the case `{name}` has a payload: `{{\"{name}\": …}}`")),
        (Some(_), None) => return at.error(format!("the case `{name}` has no payload: write it as a string")),
    };
    Ok(Val::Variant(name.clone(), payload))
}

/// Formats a value.
pub(super) fn write(value: &Val) -> Result<Value> {
    let all = |values: &[Val]| values.iter().map(write).collect::<Result<Vec<_>>>().map(Value::Array);
    let float = |value: f64| match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => "nan".into(),
        None => if value > 0.0 { "inf" } else { "-inf" }.into(),
    };
    let payload = |value: &Option<Box<Val>>| value.as_ref().map_or(Ok(Value::Null), |value| write(value));
    let tagged = |name: &str, value: Value| Value::Object(Map::from_iter([(name.to_owned(), value)]));
    Ok(match value {
        Val::Bool(value) => (*value).into(),
        Val::S8(value) => (*value).into(),
        Val::U8(value) => (*value).into(),
        Val::S16(value) => (*value).into(),
        Val::U16(value) => (*value).into(),
        Val::S32(value) => (*value).into(),
        Val::U32(value) => (*value).into(),
        Val::S64(value) => (*value).into(),
        Val::U64(value) => (*value).into(),
        // The shortest number that is read as this one: `0.1`, not `0.10000000149011612`.
        Val::Float32(value) => value.to_string().parse().map_or_else(|_| float((*value).into()), float),
        Val::Float64(value) => float(*value),
        Val::Char(value) => value.to_string().into(),
        Val::String(value) => value.as_str().into(),
        Val::List(values) | Val::FixedLengthList(values) | Val::Tuple(values) => all(values)?,
        Val::Map(entries) => {
            let name = |key: &Val| if let Val::String(name) = key { Some(name.clone()) } else { None };
            // An object has each key once.
            let names: Option<std::collections::BTreeSet<_>> = entries.iter().map(|(key, _)| name(key)).collect();
            if names.is_some_and(|names| names.len() == entries.len() && !entries.is_empty()) {
                let entry = |(key, value): &(Val, Val)| Ok((name(key).unwrap_or_default(), write(value)?));
                return entries.iter().map(entry).collect::<Result<Map<_, _>>>().map(Value::Object);
            }
            let pair = |(key, value): &(Val, Val)| Ok(Value::Array(vec![write(key)?, write(value)?]));
            Value::Array(entries.iter().map(pair).collect::<Result<_>>()?)
        }
        Val::Record(fields) => {
            let field = |(name, value): &(String, Val)| Ok((name.clone(), write(value)?));
            Value::Object(fields.iter().map(field).collect::<Result<_>>()?)
        }
        Val::Variant(name, None) | Val::Enum(name) => name.as_str().into(),
        Val::Variant(name, Some(value)) => tagged(name, write(value)?),
        Val::Flags(names) => names.iter().map(String::as_str).collect(),
        Val::Option(None) => Value::Null,
        Val::Option(Some(value)) if matches!(**value, Val::Option(_)) => tagged("some", write(value)?),
        Val::Option(Some(value)) => write(value)?,
        Val::Result(Ok(value)) => tagged("ok", payload(value)?),
        Val::Result(Err(value)) => tagged("err", payload(value)?),
        _ => return Err("a handle or stream has no form in JSON".to_owned()),
    })
}
