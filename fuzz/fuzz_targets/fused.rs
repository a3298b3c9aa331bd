//! Passes values of any type through a link between two components and back: they must arrive unchanged.
#![no_main]

use std::fmt::Write as _;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use wharf::wasmtime::component::Val;
use wharf::workload::manifest::Component;
use wharf::workload::{Name, Workload};
use wharf::{Engine, Host};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

#[derive(Clone, Debug)]
enum Type {
    Bool,
    U8,
    S16,
    U32,
    S64,
    F32,
    F64,
    Char,
    String,
    List(Box<Type>),
    Tuple(Vec<Type>),
    Option(Box<Type>),
    Result(Option<Box<Type>>, Option<Box<Type>>),
    Record(Vec<Type>),
    Variant(Vec<Option<Type>>),
    Enum(u8),
    Flags(u8),
}

/// How many values of a type pass through the link.
const VALUES: usize = 16;
/// How deep types are nested.
const DEPTH: usize = 4;

impl Type {
    fn any(from: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<Self> {
        let kinds = if depth == 0 { 8 } else { 16 };
        let next = |from: &mut Unstructured<'_>| Self::any(from, depth - 1);
        let boxed = |from: &mut Unstructured<'_>| Ok(Box::new(Self::any(from, depth - 1)?));
        let maybe = |from: &mut Unstructured<'_>| Ok(if bool::arbitrary(from)? { Some(boxed(from)?) } else { None });
        Ok(match from.int_in_range(0..=kinds)? {
            0 => Self::Bool,
            1 => Self::U8,
            2 => Self::S16,
            3 => Self::U32,
            4 => Self::S64,
            5 => Self::F32,
            6 => Self::F64,
            7 => Self::Char,
            8 => Self::String,
            9 => Self::List(boxed(from)?),
            10 => Self::Tuple(several(from, next)?),
            11 => Self::Option(boxed(from)?),
            12 => Self::Result(maybe(from)?, maybe(from)?),
            13 => Self::Record(several(from, next)?),
            14 => Self::Variant(several(from, |from| Ok(maybe(from)?.map(|boxed| *boxed)))?),
            15 => Self::Enum(from.int_in_range(1..=40)?),
            _ => Self::Flags(from.int_in_range(1..=32)?),
        })
    }

    /// The type in WIT. Types that need a name are added to `declared`.
    fn wit(&self, declared: &mut String, names: &mut usize) -> String {
        let mut part = |inner: &Self, declared: &mut String| inner.wit(declared, names);
        match self {
            Self::Bool => "bool".into(),
            Self::U8 => "u8".into(),
            Self::S16 => "s16".into(),
            Self::U32 => "u32".into(),
            Self::S64 => "s64".into(),
            Self::F32 => "f32".into(),
            Self::F64 => "f64".into(),
            Self::Char => "char".into(),
            Self::String => "string".into(),
            Self::List(inner) => format!("list<{}>", part(inner, declared)),
            Self::Option(inner) => format!("option<{}>", part(inner, declared)),
            Self::Tuple(inner) => {
                let inner: Vec<_> = inner.iter().map(|inner| part(inner, declared)).collect();
                format!("tuple<{}>", inner.join(", "))
            }
            Self::Result(ok, error) => {
                let ok = ok.as_ref().map(|ok| part(ok, declared));
                match (ok, error.as_ref().map(|error| part(error, declared))) {
                    (None, None) => "result".into(),
                    (Some(ok), None) => format!("result<{ok}>"),
                    (ok, Some(error)) => format!("result<{}, {error}>", ok.unwrap_or("_".into())),
                }
            }
            Self::Record(fields) => {
                let fields: Vec<_> = fields.iter().map(|field| part(field, declared)).collect();
                let fields = fields.iter().enumerate().map(|(n, field)| format!("f{n}: {field}"));
                let fields = fields.collect::<Vec<_>>().join(", ");
                named("record", &fields, declared, names)
            }
            Self::Variant(cases) => {
                let cases: Vec<_> = cases.iter().map(|case| case.as_ref().map(|case| part(case, declared))).collect();
                let case = |(n, case): (usize, &Option<String>)| match case {
                    Some(case) => format!("c{n}({case})"),
                    None => format!("c{n}"),
                };
                let cases = cases.iter().enumerate().map(case).collect::<Vec<_>>().join(", ");
                named("variant", &cases, declared, names)
            }
            Self::Enum(count) => named("enum", &labels(*count), declared, names),
            Self::Flags(count) => named("flags", &labels(*count), declared, names),
        }
    }

    fn value(&self, from: &mut Unstructured<'_>) -> arbitrary::Result<Val> {
        let maybe = |inner: &Option<Box<Self>>, from: &mut Unstructured<'_>| {
            inner.as_ref().map(|inner| inner.value(from).map(Box::new)).transpose()
        };
        Ok(match self {
            Self::Bool => Val::Bool(bool::arbitrary(from)?),
            Self::U8 => Val::U8(u8::arbitrary(from)?),
            Self::S16 => Val::S16(i16::arbitrary(from)?),
            Self::U32 => Val::U32(u32::arbitrary(from)?),
            Self::S64 => Val::S64(i64::arbitrary(from)?),
            // The component model does not preserve the bits of a NaN.
            Self::F32 => Val::Float32(Some(f32::arbitrary(from)?).filter(|f| !f.is_nan()).unwrap_or(0.5)),
            Self::F64 => Val::Float64(Some(f64::arbitrary(from)?).filter(|f| !f.is_nan()).unwrap_or(0.5)),
            Self::Char => Val::Char(char::arbitrary(from)?),
            Self::String => Val::String(String::arbitrary(from)?),
            Self::List(inner) => {
                let count = from.int_in_range(0..=5)?;
                Val::List((0..count).map(|_| inner.value(from)).collect::<arbitrary::Result<_>>()?)
            }
            Self::Tuple(inner) => Val::Tuple(inner.iter().map(|i| i.value(from)).collect::<arbitrary::Result<_>>()?),
            Self::Option(inner) => {
                Val::Option(if bool::arbitrary(from)? { Some(Box::new(inner.value(from)?)) } else { None })
            }
            Self::Result(ok, error) => {
                Val::Result(if bool::arbitrary(from)? { Ok(maybe(ok, from)?) } else { Err(maybe(error, from)?) })
            }
            Self::Record(fields) => {
                let field = |(n, field): (usize, &Self)| Ok((format!("f{n}"), field.value(from)?));
                Val::Record(fields.iter().enumerate().map(field).collect::<arbitrary::Result<_>>()?)
            }
            Self::Variant(cases) => {
                let n = from.choose_index(cases.len())?;
                let value = cases[n].as_ref().map(|case| case.value(from).map(Box::new)).transpose()?;
                Val::Variant(format!("c{n}"), value)
            }
            Self::Enum(count) => Val::Enum(format!("l{}", from.int_in_range(0..=count - 1)?)),
            Self::Flags(count) => {
                let set = u32::arbitrary(from)?;
                Val::Flags((0..*count).filter(|n| set >> n & 1 == 1).map(|n| format!("l{n}")).collect())
            }
        })
    }
}

fn several<T>(
    from: &mut Unstructured<'_>,
    mut one: impl FnMut(&mut Unstructured<'_>) -> arbitrary::Result<T>,
) -> arbitrary::Result<Vec<T>> {
    let count = from.int_in_range(1..=5)?;
    (0..count).map(|_| one(from)).collect()
}

fn labels(count: u8) -> String {
    (0..count).map(|n| format!("l{n}")).collect::<Vec<_>>().join(", ")
}

fn named(kind: &str, inside: &str, declared: &mut String, names: &mut usize) -> String {
    *names += 1;
    writeln!(declared, "{kind} t{names} {{ {inside} }}").unwrap();
    format!("t{names}")
}

/// Returns its argument. The module passes the list through in its memory; only the adapters know its element type.
const ECHO: &str = r#"(func (export "t:t/inner#echo") (param i32 i32) (result i32)
    (i32.store (i32.const 8) (local.get 0)) (i32.store (i32.const 12) (local.get 1)) (i32.const 8))"#;
/// Calls `echo` of the other component with its argument.
const ASK: &str = r#"(func (export "t:t/outer#echo") (param i32 i32) (result i32)
    (call $echo (local.get 0) (local.get 1) (i32.const 8)) (i32.const 8))"#;
const IMPORT: &str = r#"(import "t:t/inner" "echo" (func $echo (param i32 i32 i32)))"#;
/// A bump allocator. It never frees memory, because each instance is short-lived.
const MEMORY: &str = r#"(memory (export "memory") 64) (global $next (mut i32) (i32.const 64))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get 2))))
        (global.set $next (i32.add (local.get $at) (local.get 3)))
        (local.get $at))"#;

fn component(wit: &str, world: &str, module: &str) -> Component {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("t.wit", wit).expect("WIT");
    let world = resolve.select_world(&[package], Some(world)).expect("a world");
    let mut module = wat::parse_str(module).expect("a module");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    let encoder = ComponentEncoder::default().validate(true).module(&module).expect("a module that fits");
    Component::from_bytes({ encoder }.encode().expect("a component"))
}

static HOST: LazyLock<(tokio::runtime::Runtime, Host)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let host = {
        let _inside = runtime.enter();
        Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap()
    };
    (runtime, host)
});

fuzz_target!(|bytes: &[u8]| {
    let mut from = Unstructured::new(bytes);
    let Ok(inner) = Type::any(&mut from, DEPTH) else { return };
    let ty = Type::List(Box::new(inner));
    // Compiling a type takes longer than passing values, so each type is used for several values.
    let values: Vec<Val> = (0..VALUES).map_while(|_| ty.value(&mut from).ok()).collect();
    let (mut declared, mut names) = (String::new(), 0);
    let shown = ty.wit(&mut declared, &mut names);
    let interface = |name: &str| format!("interface {name} {{ {declared} echo: func(it: {shown}) -> {shown}; }}\n");
    let wit = format!(
        "package t:t;\n{}{}world a {{ export inner; }}\nworld b {{ import inner; export outer; }}\n",
        interface("inner"),
        interface("outer")
    );
    let name = |name: &str| name.parse::<Name>().expect("a name");
    let workload = Workload::new(name("w"))
        .with_component(name("a"), component(&wit, "a", &format!("(module {MEMORY} {ECHO})")))
        .with_component(name("b"), component(&wit, "b", &format!("(module {IMPORT} {MEMORY} {ASK})")));
    let (runtime, host) = &*HOST;
    runtime.block_on(async {
        host.workload_start(workload).await.unwrap_or_else(|error| panic!("{error}\n{wit}"));
        for value in values {
            let back = host.call_values("default/w", "b", "t:t/outer#echo", std::slice::from_ref(&value)).await;
            let back = back.unwrap_or_else(|error| panic!("{error}\n{wit}\n{value:?}"));
            assert_eq!(back, [value], "{wit}");
        }
        host.workload_stop("default/w").await.expect("it runs");
    });
});
