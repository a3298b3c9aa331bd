//! The manifest's JSON Schema, for editors.

use crate::workload::Workload;

/// The JSON Schema (draft 2020-12) of a manifest, the same for TOML, YAML and JSON.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Workload);
    schema.insert("title".into(), "Wharf workload manifest".into());
    schema.to_value()
}
