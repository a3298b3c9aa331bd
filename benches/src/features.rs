//! The cost of newer WebAssembly features, compared with the same operation without them.

use std::time::Instant;

use wasmtime::{Linker, Module, Store};
use wharf::Engine;

use crate::{Result, median};

const ROUNDS: usize = 9;

/// A module that adds up a mebibyte of memory `n` times, with addresses of this type.
fn summing(ty: &str) -> String {
    format!(
        r#"(module (memory {kind} 16) (func (export "run") (param $n i32) (result i32) (local $i {ty}) (local $sum i32)
            (loop $again
                (local.set $i ({ty}.const 0))
                (loop $next
                    (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $i))))
                    (local.set $i ({ty}.add (local.get $i) ({ty}.const 4)))
                    (br_if $next ({ty}.lt_u (local.get $i) ({ty}.const 1048576))))
                (local.set $n (i32.sub (local.get $n) (i32.const 262144)))
                (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
            (local.get $sum)))"#,
        kind = if ty == "i64" { "i64" } else { "" },
    )
}

/// A module that counts down by calls. `call` returns to each caller, `return_call` to the first.
fn calling(call: &str) -> String {
    format!(
        r#"(module (func $down (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
                (else ({call} $down (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "run") (param $n i32) (result i32)
                (loop $again (drop (call $down (i32.const 1000)))
                    (local.set $n (i32.sub (local.get $n) (i32.const 1000)))
                    (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
                (i32.const 0)))"#
    )
}

const THROWING: &str = r#"(module (tag $t (param i32)) (func $thrower (throw $t (i32.const 1)))
    (func (export "run") (param $n i32) (result i32)
        (loop $again
            (drop (block $caught (result i32) (try_table (catch $t $caught) (call $thrower)) (i32.const 0)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $again (local.get $n)))
        (i32.const 0)))"#;

const ALLOCATING: &str = r#"(module (type $box (struct (field i32) (field i32)))
    (func (export "run") (param $n i32) (result i32) (local $last (ref null $box))
        (loop $again
            (local.set $last (struct.new $box (local.get $n) (i32.const 1)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $again (local.get $n)))
        (struct.get $box 1 (local.get $last))))"#;

pub(crate) fn run() -> Result {
    println!("| | ns |\n|---|---|");
    for (what, module, times) in [
        ("a load from memory, addresses of 32 bits", summing("i32"), 1 << 26),
        ("the same, of 64 bits", summing("i64"), 1 << 26),
        ("a call that returns", calling("call"), 1 << 24),
        ("a tail call", calling("return_call"), 1 << 24),
        ("an exception, thrown and caught one call up", THROWING.to_owned(), 1 << 16),
        ("an object that is collected", ALLOCATING.to_owned(), 1 << 22),
    ] {
        println!("| {what} | {:.2} |", measure(&module, times)?);
    }
    Ok(())
}

/// The time of one of `times` iterations in nanoseconds.
fn measure(module: &str, times: u32) -> Result<f64> {
    let engine = Engine::builder().pooling(false).build()?;
    let module = Module::new(engine.wasmtime(), wat::parse_str(module)?)?;
    let mut store = Store::new(engine.wasmtime(), ());
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = Linker::new(engine.wasmtime()).instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<u32, u32>(&mut store, "run")?;
    let mut each = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        run.call(&mut store, times)?;
        each.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(times));
    }
    Ok(median(each))
}
