//! Checks a value against the JSON schema of its type: unknown keys, missing keys and types, all at once.
//!
//! Takes a schema that `schemars` derives and a value; returns every error that shows from the shape alone. serde stops at
//! the first error, and knows no similar names: this check runs before it, so that an extension's section has the same
//! messages as the manifest's own. serde checks the constraints on a value, such as a pattern or a range.

use serde_json::Value;

use super::decode::{child, expected, known_keys, missing_key, part, unknown_key};
use super::settings::SettingsError;

/// How many references in a row are followed: a schema that refers to itself must not loop.
const MAX_REFERENCES: usize = 16;

/// Every error of `value`, whose path in the manifest is `place`. Paths are relative to the value.
pub(crate) fn check(schema: &Value, value: &Value, place: &str) -> Vec<SettingsError> {
    let mut checker = Checker { root: schema, place, errors: Vec::new() };
    checker.visit(schema, value, "");
    checker.errors
}

struct Checker<'a> {
    root: &'a Value,
    place: &'a str,
    errors: Vec<SettingsError>,
}

impl<'a> Checker<'a> {
    fn visit(&mut self, schema: &'a Value, value: &Value, path: &str) {
        let Some(schema) = self.resolve(schema, value) else { return };
        if let Some(wanted) = mismatch(schema, value) {
            let message = expected(&wanted, &child(self.place, path), kind(value));
            self.errors.push(SettingsError::new(path, message));
            return;
        }
        match value {
            Value::Object(entries) => self.table(schema, entries, path),
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return };
                for (i, item) in items.iter().enumerate() {
                    self.visit(schema, item, &child(path, &i.to_string()));
                }
            }
            _ => {}
        }
    }

    fn table(&mut self, schema: &'a Value, entries: &serde_json::Map<String, Value>, path: &str) {
        let place = child(self.place, path);
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        // A struct is closed even if its author did not write `deny_unknown_fields`: a typo must not go unnoticed.
        let open = ["anyOf", "oneOf", "allOf"].iter().any(|key| schema.get(key).is_some());
        // serde checks the keys of a map that are not plain strings.
        let patterns = schema.get("patternProperties").is_some();
        let closed =
            !patterns && (others == Some(&Value::Bool(false)) || (others.is_none() && properties.is_some() && !open));
        for (key, value) in entries {
            if let Some(schema) = properties.and_then(|properties| properties.get(key)) {
                self.visit(schema, value, &child(path, &part(key)));
            } else if closed {
                let known: Vec<_> = properties.into_iter().flat_map(|p| p.keys()).map(String::as_str).collect();
                let error = SettingsError::new(child(path, &part(key)), unknown_key(key, &place));
                self.errors.push(error.with_hint(known_keys(key, &known)));
            } else if let Some(schema) = others {
                self.visit(schema, value, &child(path, &part(key)));
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !entries.contains_key(key) {
                self.errors.push(SettingsError::new(child(path, key), missing_key(key, &place)));
            }
        }
    }

    /// Follows references, and the one alternative of an optional value that is not null.
    fn resolve(&self, mut schema: &'a Value, value: &Value) -> Option<&'a Value> {
        for _ in 0..MAX_REFERENCES {
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                schema = self.root.pointer(reference.strip_prefix('#')?)?;
                continue;
            }
            let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) else { return Some(schema) };
            let is_null = |schema: &Value| schema.get("type").is_some_and(|ty| ty == "null");
            match alternatives.iter().filter(|s| !is_null(s)).collect::<Vec<_>>().as_slice() {
                [one] if alternatives.len() > 1 && !value.is_null() => schema = one,
                // serde decides which alternative a value matches.
                _ => return None,
            }
        }
        None
    }
}

/// The types that the schema allows, if the value has none of them.
fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    let types: Vec<&str> = match schema.get("type")? {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let has = |ty: &str| match ty {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    if types.iter().any(|ty| has(ty)) {
        return None;
    }
    let name = |ty: &&str| match *ty {
        "null" => None,
        "boolean" => Some("a boolean"),
        "integer" => Some("an integer"),
        "number" => Some("a number"),
        "string" => Some("a string"),
        "array" => Some("an array"),
        _ => Some("a table"),
    };
    Some(types.iter().filter_map(name).collect::<Vec<_>>().join(" or "))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;

    use super::check;

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Store {
        url: String,
        size: Option<u32>,
        replicas: Option<Vec<Replica>>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Replica {
        host: String,
    }

    #[test]
    fn every_error_of_the_shape_is_found() {
        let schema = schemars::schema_for!(Store).to_value();
        let value = serde_json::json!({ "siz": 1, "replicas": [{ "host": 3 }, {}], "labels": { "any": "x", "no": 1 } });
        let errors: Vec<_> = check(&schema, &value, "s").into_iter().map(|e| format!("{}: {e}", e.path)).collect();
        assert_eq!(
            errors,
            [
                "labels.no: expected a string for `s.labels.no`, found an integer",
                "replicas.0.host: expected a string for `s.replicas.0.host`, found an integer",
                "replicas.1.host: missing required key `host` in `s.replicas.1`",
                "siz: unknown key `siz` in `s` (did you mean `size`?)",
                "url: missing required key `url` in `s`",
            ]
        );
        let fine = serde_json::json!({ "url": "x", "size": null, "replicas": [{ "host": "a" }], "labels": {} });
        assert!(check(&schema, &fine, "").is_empty());
        assert_eq!(check(&schema, &serde_json::json!(1), "")[0].message, "expected a table, found an integer");
    }
}
