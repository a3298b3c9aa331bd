//! The manifest's JSON Schema, for editors.

use serde_json::{Map, Value, json};

use super::extensions::{Extensions, Level};
use crate::workload::Workload;

/// The JSON Schema (draft 2020-12) of a manifest without plugins, the same for TOML, YAML and JSON.
pub fn schema() -> Value {
    schema_with(&Extensions::builtin())
}

/// The JSON Schema (draft 2020-12) of a manifest on a host with these extensions.
pub fn schema_with(extensions: &Extensions) -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut kinds = Map::new();
    for kind in extensions.triggers() {
        let one = kind.subschema(&mut generator).to_value();
        kinds.insert(kind.key().to_owned(), json!({ "type": "array", "items": one }));
    }
    let mut schema = generator.into_root_schema_for::<Workload>().to_value();
    schema["title"] = "Wharf workload manifest".into();
    schema["$defs"]["Triggers"] = json!({
        "type": "object", "properties": kinds, "additionalProperties": false,
        "description": "The triggers, by kind.",
    });
    for (level, properties) in [(Level::Workload, "/properties"), (Level::Component, "/$defs/Component/properties")] {
        for (key, value) in extensions.at(level) {
            let value = hoist(&mut schema, key, value.clone());
            if let Some(properties) = schema.pointer_mut(properties).and_then(Value::as_object_mut) {
                properties.entry(key).or_insert(value);
            }
        }
    }
    schema
}

/// Moves the definitions of a plugin's schema to the manifest's own, under names that start with the plugin's key.
fn hoist(schema: &mut Value, key: &str, mut value: Value) -> Value {
    let definitions = value.as_object_mut().and_then(|value| {
        value.remove("$schema");
        value.remove("$defs")
    });
    rename(&mut value, key);
    if let (Some(Value::Object(definitions)), Some(all)) = (definitions, schema["$defs"].as_object_mut()) {
        for (name, mut definition) in definitions {
            rename(&mut definition, key);
            all.insert(format!("{key}-{name}"), definition);
        }
    }
    value
}

fn rename(value: &mut Value, key: &str) {
    match value {
        Value::Object(entries) => {
            if let Some(Value::String(reference)) = entries.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/$defs/{key}-{name}");
            }
            entries.values_mut().for_each(|value| rename(value, key));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| rename(value, key)),
        _ => {}
    }
}
