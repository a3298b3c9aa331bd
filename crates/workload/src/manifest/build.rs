//! `build`: how a component is made from its sources. A host ignores it; the program `wharf` builds with it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::decode::{Decode, Diagnostics, Table};
use super::tree::{Node, Value};

/// How a component is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// A command for the shell. `None` is the default of the language that the folder is in.
    pub command: Option<String>,
    /// The folder in which the command runs, and whose files it depends on. A relative path starts at the manifest's folder, which
    /// is the default.
    pub workdir: Option<PathBuf>,
    /// Patterns of the files that it depends on, as in a `.gitignore`, relative to `workdir`. All files that version control does not
    /// ignore if empty.
    pub watch: Vec<String>,
}

impl Build {
    /// Resolves a relative `workdir` against `folder`.
    pub(crate) fn under(&mut self, folder: &Path) {
        self.workdir = Some(self.workdir.as_ref().map_or_else(|| folder.to_owned(), |workdir| folder.join(workdir)));
    }
}

impl Serialize for Build {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { command, workdir, watch } = self;
        if *self == Self::default() {
            return serializer.serialize_bool(true);
        }
        let mut table = serializer.serialize_map(None)?;
        if let Some(command) = command {
            table.serialize_entry("command", command)?;
        }
        if let Some(workdir) = workdir {
            table.serialize_entry("workdir", workdir)?;
        }
        if !watch.is_empty() {
            table.serialize_entry("watch", watch)?;
        }
        table.end()
    }
}

impl JsonSchema for Build {
    fn schema_name() -> Cow<'static, str> {
        "Build".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How the component is built: `true` for the default of its language, a command for the shell, or a table.",
            "anyOf": [
                { "type": "boolean" },
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "command": { "type": "string" },
                        "workdir": { "type": "string" },
                        "watch": { "type": "array", "items": { "type": "string" } },
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// `true`, `false`, a command, or the table of a [`Build`].
impl Decode for Option<Build> {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Bool(build) => return Some(build.then(Build::default)),
            Value::String(_) => {
                let command = String::decode(node, path, diagnostics)?;
                return Some(Some(Build { command: Some(command), ..Build::default() }));
            }
            Value::Table(_) => {}
            _ => {
                diagnostics.wrong_type(path, "a boolean, a command or a table", node);
                return None;
            }
        }
        let mut table = Table::open(node, path, diagnostics)?;
        let build = Build {
            command: table.get("command", diagnostics),
            workdir: table.get::<String>("workdir", diagnostics).map(Into::into),
            watch: table.get("watch", diagnostics).unwrap_or_default(),
        };
        table.finish(diagnostics);
        Some(Some(build))
    }
}
