//! `[[triggers.command]]`: a command that runs when the workload starts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TriggerKind;
use crate::name::Name;

/// A component whose `wasi:cli/run` is called when the workload starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandTrigger {
    /// The component.
    pub component: Name,
}

impl TriggerKind for CommandTrigger {
    const KEY: &'static str = "command";
    const INTERFACES: &'static [&'static str] = &["wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0"];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        "command".to_owned()
    }
}
