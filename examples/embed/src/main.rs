//! A program that embeds Wharf and brings a plugin of its own: dice for components, loaded per component's `config`.
//!
//! `cargo run -p embed` prints what a component rolled. No network is touched and no file is read.

use wasmtime::component::HasData;
use wharf::plugin::Provided;
use wharf::workload::{Workload, manifest::Component};
use wharf::{Binding, Ctx, Engine, Host, HostApi, Link, Plugin, PluginError, Scope, View};

mod bindings {
    wasmtime::component::bindgen!({ inline: "
        package acme:game@1.0.0;
        interface dice { roll: func(sides: u32) -> u32; }
        world player { import dice; }
    " });
}
use bindings::acme::game::dice;

/// Dice that are loaded: they always show the same, if there is such a side.
struct DicePlugin;

/// What one component's dice show.
struct Dice(u32);

impl Plugin for DicePlugin {
    fn name(&self) -> &'static str {
        "dice"
    }
    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:game/dice@1.0.0")]
    }
    fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let shows = binding.component().config.get("shows").map_or("1", String::as_str);
        let shows = shows.parse().map_err(|_| PluginError(format!("config `shows` is a number, not `{shows}`")))?;
        binding.keep(Dice(shows))
    }
    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Dice>();
        dice::add_to_linker_instance::<Ctx, Dice>(&mut link.instance()?, get)
    }
}

impl HasData for Dice {
    type Data<'a> = &'a Dice;
}

impl View for Dice {
    type Of = Dice;
    fn view(scope: Scope<'_>) -> &Dice {
        scope.grants.binding()
    }
}

impl dice::Host for &Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0.min(sides)
    }
}

const PLAYER: &str = r#"(component
    (import "acme:game/dice@1.0.0" (instance $dice (export "roll" (func (param "sides" u32) (result u32)))))
    (core func $roll (canon lower (func $dice "roll")))
    (core module $m (import "" "roll" (func $roll (param i32) (result i32)))
        (func (export "play") (result i32) (i32.add (call $roll (i32.const 6)) (call $roll (i32.const 6)))))
    (core instance $i (instantiate $m (with "" (instance (export "roll" (func $roll))))))
    (func (export "play") (result u32) (canon lift (core func $i "play"))))"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let host = Host::builder(Engine::builder().build()?).plugin(DicePlugin).build()?;
    let mut player = Component::from_bytes(wat::parse_str(PLAYER)?);
    player.config.insert("shows".into(), "5".into());
    host.workload_start(Workload::new("game".parse()?).with_component("player".parse()?, player)).await?;
    println!("two dice show {}", host.call_wave("default/game", "player", "play()").await?.concat());
    Ok(())
}
