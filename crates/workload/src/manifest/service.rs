//! `service`: a component that runs as long as its workload does, and when it is restarted.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::decode::{Decode, Diagnostics, Table, one_of};
use super::tree::{Node, Value};

/// A service: a component with `wasi:cli/run` that starts with the workload and stops last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// When it is restarted.
    pub restart: Restart,
    /// The number of restarts in a row after which it is not restarted again; unlimited if `None`. A run of a minute resets the
    /// count.
    pub max_restarts: Option<u32>,
}

/// When a service that ends is restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whenever it ends.
    Always,
    /// When it fails: it traps, reaches a limit, or ends with another exit code than 0.
    #[default]
    OnFailure,
    /// Never.
    Never,
}

impl Restart {
    const ALL: [(&'static str, Self); 3] =
        [("always", Self::Always), ("on-failure", Self::OnFailure), ("never", Self::Never)];
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::default() {
            return serializer.serialize_bool(true);
        }
        let bound = self.max_restarts;
        let mut table = serializer.serialize_struct("Service", 1 + usize::from(bound.is_some()))?;
        table.serialize_field("restart", &self.restart)?;
        if let Some(bound) = bound {
            table.serialize_field("max-restarts", &bound)?;
        }
        table.end()
    }
}

impl JsonSchema for Service {
    fn schema_name() -> Cow<'static, str> {
        "Service".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whether the component is a service, or when the service is restarted.",
            "anyOf": [
                { "type": "boolean" },
                {
                    "type": "object",
                    "properties": {
                        "restart": generator.subschema_for::<Restart>(),
                        "max-restarts": { "type": "integer", "minimum": 1 },
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Decode for Restart {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        one_of(&Self::ALL, node, path, diagnostics)
    }
}

/// `true`, `false`, or the table of a [`Service`].
impl Decode for Option<Service> {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.value {
            Value::Bool(service) => return Some(service.then(Service::default)),
            Value::Table(_) => {}
            _ => {
                diagnostics.wrong_type(path, "a boolean or a table", node);
                return None;
            }
        }
        let mut table = Table::open(node, path, diagnostics)?;
        let service = Service {
            restart: table.get("restart", diagnostics).unwrap_or_default(),
            max_restarts: table.get("max-restarts", diagnostics),
        };
        table.finish(diagnostics);
        Some(Some(service))
    }
}
