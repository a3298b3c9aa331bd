//! A program that embeds Wharf with a plugin of its own: loaded dice, rolled by a component.
//!
//! The plugin opens one bag of dice for each workload, as another would open a connection, and reads a setting of each
//! component. `cargo run -p embed` prints the rolls. No network is used and no file is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use wasmtime::component::HasData;
use wharf::workload::{Workload, manifest::Component};
use wharf::{Binding, Engine, Host, Link, Opening, Plugin, PluginError, Provided, Scope, StoreData, View};

mod bindings {
    wasmtime::component::bindgen!({ inline: "
        package acme:game@1.0.0;
        interface dice { roll: func(sides: u32) -> u32; }
        world player { import dice; }
    " });
}
use bindings::acme::game::dice;

struct DicePlugin;

/// Opened once for each workload: it counts the rolls of all its components.
struct Bag(AtomicU32);

/// Bound to each component: the side that its dice show.
struct Dice {
    shows: u32,
    bag: Arc<Bag>,
}

#[async_trait]
impl Plugin for DicePlugin {
    fn name(&self) -> &'static str {
        "dice"
    }

    fn interfaces(&self) -> Vec<Provided> {
        vec![Provided::grant("acme:game/dice@1.0.0")]
    }

    async fn open(&self, opening: &mut Opening<'_>) -> Result<(), PluginError> {
        opening.insert(Arc::new(Bag(AtomicU32::new(0))));
        Ok(())
    }

    async fn bind(&self, binding: &mut Binding<'_>) -> Result<(), PluginError> {
        let shows = binding.component().config.get("shows").map_or("1", String::as_str);
        let invalid =
            |error| PluginError::new(format!("expected a number, found `{shows}`")).at("config.shows").caused_by(error);
        let shows = shows.parse::<u32>().map_err(invalid)?;
        let bag = binding.opened::<Arc<Bag>>().cloned().ok_or_else(|| PluginError::new("no bag of dice is open"))?;
        binding.insert(Dice { shows, bag });
        Ok(())
    }

    fn link(&self, link: &mut Link<'_>) -> wasmtime::Result<()> {
        let get = link.getter::<Dice>();
        dice::add_to_linker_instance::<StoreData, Dice>(&mut link.instance()?, get)
    }
}

impl HasData for Dice {
    type Data<'a> = &'a Dice;
}

impl View for Dice {
    type Of = Dice;
    fn view(scope: Scope<'_>) -> &Dice {
        scope.binding()
    }
}

impl dice::Host for &Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        let roll = self.bag.0.fetch_add(1, Ordering::Relaxed) + 1;
        println!("roll {roll}: {}", self.shows.min(sides));
        self.shows.min(sides)
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
    host.shutdown().await;
    Ok(())
}
