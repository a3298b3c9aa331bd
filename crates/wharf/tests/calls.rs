//! Calls into running workloads, as a program that embeds Wharf makes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use wasmtime::component::Val;
use wharf::api::{CallFormat, CallRequest};
use wharf::host::HostCallError;
use wharf::run::call::CallError;
use wharf::workload::manifest::Component;
use wharf::workload::{Name, Workload};
use wharf::{Call, Engine, Host, Instantiated};

fn guest(name: &str) -> Component {
    let prebuilt = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../guests/prebuilt");
    Component::from_path(prebuilt.join(format!("{name}.wasm")))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A host that runs a workload of these guests, called `w`.
async fn run(guests: &[&str]) -> Host {
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
    let workload = guests.iter().fold(Workload::new(name("w")), |w, g| w.with_component(name(g), guest(g)));
    host.workload_start(workload).await.unwrap();
    host
}

#[tokio::test]
async fn a_function_is_called_by_text_and_by_values() {
    let host = run(&["adder"]).await;
    let wave = async |text: &str| host.call_wave("default/w", "adder", text).await;
    assert_eq!(wave("wharf:fixture/math@0.1.0#add(2, 3)").await.unwrap(), ["5"]);
    assert_eq!(wave("wharf:fixture/math#greet(\"you\")").await.unwrap(), ["\"you!\""]);
    assert_eq!(wave("wharf:fixture/math#reverse([1, 2, 3])").await.unwrap(), ["[3, 2, 1]"]);
    let values = [Val::U32(40), Val::U32(2)];
    let sum = host.call_values("default/w", "adder", "wharf:fixture/math#add", &values).await.unwrap();
    assert_eq!(sum, [Val::U32(42)]);
}

#[tokio::test]
async fn a_sibling_is_called_through_the_fused_component() {
    let host = run(&["caller", "adder"]).await;
    let call = async |text: &str| host.call_wave("default/w", "caller", text).await.unwrap();
    assert_eq!(call("wharf:fixture/bench#adds(1001)").await, ["500500"]);
    assert_eq!(call("wharf:fixture/bench#greets(3)").await, ["9"]);
    assert_eq!(call("wharf:fixture/bench#reverses(2, 1024)").await, ["1024"]);
    let error = host.entry("default/w", "adder").err().unwrap();
    assert!(error.to_string().contains("its entries are caller"), "{error}");
}

#[tokio::test]
async fn resources_pass_between_siblings() {
    let host = run(&["counter-user", "counter-maker"]).await;
    let counted = host.call_wave("default/w", "counter-user", "wharf:fixture/counting#count()").await.unwrap();
    assert_eq!(counted, ["[11, 12, 101, 114]"]);
}

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../guests/wit/fixture.wit",
        world: "adder",
        exports: { default: async },
    });
}

/// Adds and greets in one call, through generated bindings.
struct AddAndGreet;

impl Call for AddAndGreet {
    type Output = (u32, String);

    async fn call(self, instance: &mut Instantiated) -> wasmtime::Result<(u32, String)> {
        let adder = instance.bindings(|store, instance| bindings::Adder::new(store, instance))?;
        let math = adder.wharf_fixture_math();
        let sum = math.call_add(&mut instance.store, 1, 2).await?;
        Ok((sum, math.call_greet(&mut instance.store, "all").await?))
    }
}

#[tokio::test]
async fn calls_a_function_through_generated_bindings() {
    let host = run(&["adder"]).await;
    let entry = host.entry("default/w", "adder").unwrap();
    assert_eq!(entry.invoke(AddAndGreet).await.unwrap(), (3, "all!".to_owned()));
    assert_eq!(host.workload_status("default/w").await.unwrap().calls, 0, "the call is over");
}

#[tokio::test]
async fn explains_why_a_call_is_invalid() {
    let host = run(&["adder"]).await;
    let refuse = async |text: &str| match host.call_wave("default/w", "adder", text).await {
        Err(HostCallError::Call(error)) => error,
        other => panic!("{text}: {other:?}"),
    };
    let error = refuse("wharf:fixture/math#sub(1, 2)").await;
    assert!(matches!(&error, CallError::NoFunction { exports, .. } if exports.len() == 3), "{error}");
    assert!(error.to_string().contains("wharf:fixture/math@0.1.0#add"), "{error}");
    for text in ["wharf:fixture/math#add(1)", "wharf:fixture/math#add(\"one\", 2)", "wharf:fixture/math#add(1, 2, 3)"] {
        let error = refuse(text).await;
        assert!(error.to_string().contains("add(a: u32, b: u32)"), "{text}: {error}");
    }
    assert!(matches!(refuse("add(").await, CallError::Arguments { .. }));
    assert!(matches!(refuse("").await, CallError::Arguments { .. }));
    let error = host.call_values("default/w", "adder", "wharf:fixture/math#add", &[Val::Bool(true), Val::U32(1)]).await;
    assert!(error.is_err());
    assert!(matches!(host.call_wave("default/none", "a", "f()").await, Err(HostCallError::NoWorkload(_))));
}

#[tokio::test]
async fn rejects_values_that_wave_cannot_express() {
    let host = run(&["counter-maker"]).await;
    let text = "wharf:fixture/counters#[constructor]counter(1)";
    let error = host.call_wave("default/w", "counter-maker", text).await.unwrap_err().to_string();
    assert!(error.contains("handle") || error.contains("invalid arguments"), "{error}");
    let made =
        host.call_values("default/w", "counter-maker", "wharf:fixture/counters#[constructor]counter", &[Val::U32(1)]);
    assert!(matches!(made.await.unwrap().as_slice(), [Val::Resource(_)]));
}

#[tokio::test]
async fn keeps_no_state_between_calls() {
    // A component that counts how often it was called, in its own memory.
    let counter = wat::parse_str(
        r#"(component
            (core module $m (global $n (mut i32) (i32.const 0))
                (func (export "next") (result i32) (global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n))
                (func (export "trap") unreachable))
            (core instance $i (instantiate $m))
            (func (export "next") (result u32) (canon lift (core func $i "next")))
            (func (export "trap") (canon lift (core func $i "trap"))))"#,
    )
    .unwrap();
    for pooling in [false, true] {
        let engine = Engine::builder().pooling(pooling).instances(10).build().unwrap();
        let host = Host::builder(engine).build().unwrap();
        let component = Component::from_bytes(counter.clone());
        host.workload_start(Workload::new(name("w")).with_component(name("counter"), component)).await.unwrap();
        for _ in 0..30 {
            assert_eq!(host.call_wave("default/w", "counter", "next()").await.unwrap(), ["1"]);
            let error = host.call_wave("default/w", "counter", "trap()").await.unwrap_err();
            assert!(error.to_string().contains("unreachable"), "a trap ends its call: {error}");
        }
    }
}

#[tokio::test]
async fn streams_pass_between_siblings() {
    let host = run(&["stream-taker", "stream-maker"]).await;
    for bytes in [0, 1, 65_536, 3_000_000] {
        let call = format!("fixture:streams/sink#take({bytes})");
        let taken = host.call_wave("default/w", "stream-taker", &call).await.unwrap();
        assert_eq!(taken, [bytes.to_string()]);
    }
}

#[tokio::test]
async fn maps_pass_between_siblings() {
    let host = run(&["map-user", "map-maker"]).await;
    let call = async |text: &str| host.call_wave("default/w", "map-user", text).await.unwrap();
    assert_eq!(call("fixture:maps/merging#merged()").await, ["\"a=1 b=3 c=4\""]);
    assert_eq!(call("fixture:maps/merging#count(1000)").await, ["1500"]);
}

const MERGE: &str = "fixture:maps/store#merge";

#[tokio::test]
async fn maps_are_lists_of_pairs_in_text_and_maps_by_value() {
    let host = run(&["map-maker"]).await;
    let call = async |arguments: &str| host.call_wave("default/w", "map-maker", &format!("{MERGE}{arguments}")).await;
    let merged = call(r#"([("b", 2), ("a", 1)], [("b", 3)])"#).await.unwrap();
    assert_eq!(merged, [r#"[("a", 1), ("b", 3)]"#]);
    assert_eq!(call("([], [])").await.unwrap(), ["[]"]);
    // The last value of a key counts.
    assert_eq!(call(r#"([("a", 1), ("a", 2)], [])"#).await.unwrap(), [r#"[("a", 2)]"#]);
    for (wrong, says) in [
        ("([])", "expected 2 arguments, found 1"),
        (r#"([("a")], [])"#, "expected a map entry `(key, value)`"),
        ("([1], [])", "argument 1 (`a`)[0]: expected a map entry, found a number"),
    ] {
        let error = call(wrong).await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("map<string, u32>"), "{error}");
    }
    let map = |pairs: &[(&str, u32)]| {
        Val::Map(pairs.iter().map(|(key, value)| (Val::String((*key).to_owned()), Val::U32(*value))).collect())
    };
    let merged =
        host.call_values("default/w", "map-maker", MERGE, &[map(&[("x", 1)]), map(&[("x", 9)])]).await.unwrap();
    assert_eq!(merged, [map(&[("x", 9)])]);
}

mod plugin {
    //! A plugin whose bindings pass maps as the standard library's.

    use std::collections::HashMap;

    use wasmtime::component::HasData;
    use wharf::plugin::Provided;
    use wharf::{Link, Plugin, Scope, StoreData, View};

    wasmtime::component::bindgen!({ path: "../../guests/wit/maps.wit", world: "user" });

    use fixture::maps::store;

    pub(crate) struct Merger;

    pub(crate) struct Merging;

    impl HasData for Merging {
        type Data<'a> = Merging;
    }

    impl View for Merging {
        type Of = Merging;
        fn view(_: Scope<'_>) -> Merging {
            Merging
        }
    }

    impl store::Host for Merging {
        fn merge(&mut self, mut a: HashMap<String, u32>, b: HashMap<String, u32>) -> HashMap<String, u32> {
            a.extend(b);
            a
        }
    }

    impl Plugin for Merger {
        fn name(&self) -> &'static str {
            "merger"
        }
        fn interfaces(&self) -> Vec<Provided> {
            vec![Provided::grant("fixture:maps/store")]
        }
        fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
            let get = link.getter::<Merging>();
            store::add_to_linker_instance::<StoreData, Merging>(&mut link.instance()?, get)
        }
    }
}

#[tokio::test]
async fn passes_maps_through_plugins() {
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).plugin(plugin::Merger).build().unwrap();
    let workload = Workload::new(name("w")).with_component(name("map-user"), guest("map-user"));
    host.workload_start(workload).await.unwrap();
    let call = async |text: &str| host.call_wave("default/w", "map-user", text).await.unwrap();
    assert_eq!(call("fixture:maps/merging#merged()").await, ["\"a=1 b=3 c=4\""]);
    assert_eq!(call("fixture:maps/merging#count(1000)").await, ["1500"]);
}

#[tokio::test]
async fn rejects_text_that_is_nested_too_deep() {
    let host = run(&["map-maker"]).await;
    for open in ["[", "(", "some(", "{a: "] {
        let text = format!("{MERGE}({})", open.repeat(100_000));
        assert!(host.call_wave("default/w", "map-maker", &text).await.is_err());
    }
}

#[tokio::test]
async fn limits_handles_by_memory() {
    // Makes so many resources of its own, and drops none.
    let maker = wat::parse_str(
        r#"(component
            (type $thing (resource (rep i32)))
            (core func $new (canon resource.new $thing))
            (core instance $own (export "new" (func $new)))
            (core module $m
                (import "own" "new" (func $new (param i32) (result i32)))
                (func (export "make") (param $n i32) (result i32)
                    (loop $next
                        (drop (call $new (i32.const 1)))
                        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                        (br_if $next (local.get $n)))
                    (i32.const 1)))
            (core instance $i (instantiate $m (with "own" (instance $own))))
            (func (export "make") (param "n" u32) (result bool) (canon lift (core func $i "make"))))"#,
    )
    .unwrap();
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
    for (memory, most) in [("1GiB", 65_536), ("16MiB", 32_768), ("1KiB", 1024)] {
        let mut component = Component::from_bytes(maker.clone());
        component.limits.memory = Some(memory.parse().unwrap());
        host.workload_start(Workload::new(name("w")).with_component(name("maker"), component)).await.unwrap();
        let make = async |n: u32| host.call_wave("default/w", "maker", &format!("make({n})")).await;
        assert_eq!(make(most - 1).await.unwrap(), ["true"], "{memory}");
        let error = make(most + 1).await.unwrap_err().to_string();
        assert!(error.contains("store handle limit exceeded"), "{memory}: {error}");
        host.workload_stop("default/w").await.unwrap();
    }
}

/// Types of WIT's text format, with a value of each in JSON and in WAVE.
const VALUES: &[(&str, &str, &str)] = &[
    ("bool", "true", "true"),
    ("s8", "-128", "-128"),
    ("u16", "65535", "65535"),
    ("s64", "-9223372036854775808", "-9223372036854775808"),
    ("u64", "18446744073709551615", "18446744073709551615"),
    ("f32", "0.1", "0.1"),
    ("f64", "1e-7", "0.0000001"),
    ("f64", "\"nan\"", "nan"),
    ("f32", "\"-inf\"", "-inf"),
    ("char", "\"ü\"", "'ü'"),
    ("string", r#""a\"b\n""#, r#""a\"b\n""#),
    ("(list u8)", "[1,2]", "[1, 2]"),
    ("(tuple u8 string)", "[1,\"a\"]", "(1, \"a\")"),
    ("$point", r#"{"x":1,"y":null}"#, "{x: 1}"),
    ("$point", r#"{"x":1,"y":-2}"#, "{x: 1, y: some(-2)}"),
    ("$shape", "\"empty\"", "empty"),
    ("$shape", "{\"circle\":2}", "circle(2)"),
    ("$color", "\"red\"", "red"),
    ("$flags", "[\"a\",\"c\"]", "{a, c}"),
    ("$flags", "[]", "{}"),
    ("(option u8)", "null", "none"),
    ("(option u8)", "3", "some(3)"),
    ("(option (option u8))", "{\"some\":null}", "some(none)"),
    ("(option (option u8))", "{\"some\":3}", "some(some(3))"),
    ("(result u8 (error string))", "{\"ok\":3}", "ok(3)"),
    ("(result u8 (error string))", "{\"err\":\"no\"}", "err(\"no\")"),
    ("(result)", "{\"ok\":null}", "ok"),
    ("(map string u8)", "{\"a\":1}", "[(\"a\", 1)]"),
    ("(map u8 string)", "[[1,\"a\"]]", "[(1, \"a\")]"),
];

/// A component with a function for each type, which returns its list of values of that type.
fn echo() -> Component {
    let functions = VALUES.iter().enumerate().map(|(i, (ty, ..))| {
        format!(
            r#"(func (export "echo{i}") (param "values" (list {ty})) (result (list {ty}))
                (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))"#
        )
    });
    let functions: String = functions.collect();
    let text = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 2)
                (global $top (mut i32) (i32.const 1024))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.set $top (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
                    (global.get $top)
                    (global.set $top (i32.add (global.get $top) (local.get 3))))
                (func (export "echo") (param i32 i32) (result i32)
                    (i32.store (i32.const 8) (local.get 0)) (i32.store (i32.const 12) (local.get 1)) (i32.const 8)))
            (core instance $i (instantiate $m))
            (type $point' (record (field "x" u8) (field "y" (option s16))))
            (export $point "point" (type $point'))
            (type $shape' (variant (case "empty") (case "circle" u32)))
            (export $shape "shape" (type $shape'))
            (type $color' (enum "red" "green"))
            (export $color "color" (type $color'))
            (type $flags' (flags "a" "b" "c"))
            (export $flags "set" (type $flags'))
            {functions})"#
    );
    Component::from_bytes(wat::parse_str(text).unwrap())
}

#[tokio::test]
async fn values_of_every_type_are_read_and_written_in_json_and_wave() {
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
    host.workload_start(Workload::new(name("w")).with_component(name("echo"), echo())).await.unwrap();
    let call = async |i: usize, argument: &str, format: CallFormat| {
        let request = CallRequest { component: None, call: format!("echo{i}([{argument}])"), format };
        host.call_text("default/w", &request).await.map_err(|error| error.to_string())
    };
    for (i, (ty, json, wave)) in VALUES.iter().enumerate() {
        for argument in [json, wave] {
            assert_eq!(call(i, argument, CallFormat::Json).await.unwrap(), [format!("[{json}]")], "{ty} {argument}");
            assert_eq!(call(i, argument, CallFormat::Wave).await.unwrap(), [format!("[{wave}]")], "{ty} {argument}");
        }
        // No other type's value, unless it looks the same.
        for (other, json, _) in VALUES {
            if let Ok(written) = call(i, json, CallFormat::Json).await {
                let given: serde_json::Value = serde_json::from_str(json).unwrap();
                let written: serde_json::Value = serde_json::from_str(&written[0]).unwrap();
                #[allow(clippy::cast_possible_truncation, reason = "a float of 32 bits is rounded")]
                let float = |value: &serde_json::Value| value.as_f64().map(|value| value as f32);
                let same = written[0] == given || float(&written[0]) == float(&given);
                assert!(same || given == serde_json::json!([]), "{json} of {other} as {ty}: {written}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_json_is_said_with_its_place() {
    let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
    host.workload_start(Workload::new(name("w")).with_component(name("echo"), echo())).await.unwrap();
    let of = |ty: &str| VALUES.iter().position(|value| value.0 == ty).unwrap();
    for (ty, argument, message) in [
        ("u16", "65536", "argument 1 (`values`)[0]: 65536 is not a number from 0 to 65535"),
        ("u16", "1.5", "1.5 is not a number"),
        ("u16", "\"1\"", "expected a number, found a string"),
        ("$point", "{\"x\":1,\"z\":2}", "unknown field `z`; the fields are `x`, `y`"),
        ("$point", "{\"x\":1,\"y\":\"a\"}", "[0].y: expected a number, found a string"),
        ("$point", "{\"y\":1}", "missing field `x`"),
        ("$shape", "\"circle\"", "the case `circle` has a payload"),
        ("$shape", "{\"empty\":1}", "the case `empty` has no payload"),
        ("$color", "\"blue\"", "unknown case `blue`; the cases are `red`, `green`"),
        ("$flags", "[\"d\"]", "[0][0]: unknown flag `d`"),
        ("(option (option u8))", "3", "expected `null` or `{\"some\": …}`"),
        ("(result)", "{\"ok\":1}", "expected `null`"),
        ("(result)", "\"ok\"", "expected `{\"ok\": …}` or `{\"err\": …}`"),
        ("char", "\"ab\"", "expected a string of one character"),
        ("(tuple u8 string)", "[1]", "expected an array of 2, found one of 1"),
    ] {
        let text = format!("echo{}([{argument}])", of(ty));
        let error = host.call_wave("default/w", "echo", &text).await.unwrap_err().to_string();
        assert!(error.contains(message), "{ty} {argument}: {error}");
    }
    // WAVE, with the place in the text.
    let error = host.call_wave("default/w", "echo", "echo0([true, maybe])").await.unwrap_err().to_string();
    assert!(error.contains("at `maybe` (character 14)"), "{error}");
    let long = format!("echo0([{}", "true, ".repeat(1 << 20));
    let error = host.call_wave("default/w", "echo", &long).await.unwrap_err().to_string();
    assert!(error.len() < 1000, "{}", error.len());
}
