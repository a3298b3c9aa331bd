//! The API as an [OpenAPI](https://spec.openapis.org/oas/v3.1.1) document, for generators and for people.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::version::{API_VERSION, Method, Operation, ROUTES, Route};
use crate::{ApiError, CallRequest, CallResponse, Heartbeat, LogPage, WorkloadPage, WorkloadStatus};

/// The document. `docs/openapi.json` is this text.
///
/// ```
/// let document = wharf_api::openapi::document();
/// assert_eq!(document["paths"]["/v1/heartbeat"]["get"]["operationId"], "heartbeat");
/// ```
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut schemas = schemas.take_definitions(true);
    let mut workload = workload::manifest::schema();
    // Its own references begin at itself.
    workload["$id"] = "workload.json".into();
    schemas.insert("Workload".to_owned(), workload);
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Wharf host API",
            "version": format!("{API_VERSION}"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let (name, summary) = describe(route.operation);
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let query = |name: &str, ty: &str, what: &str| json!({ "name": name, "in": "query", "description": what, "schema": { "type": ty } });
    match route.operation {
        Operation::WorkloadList => parameters.extend([
            query("after", "string", "the id after which the page begins"),
            query("limit", "integer", "the most workloads of the page: 100 by default, 1,000 at most"),
        ]),
        Operation::WorkloadLogs => parameters.extend([
            query("from", "integer", "the number of the first line"),
            query("wait_ms", "integer", "how long to wait for a line, in milliseconds"),
        ]),
        _ => {}
    }
    let mut found = json!({
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": { "default": { "description": "an error", "content": content(schemas.subschema_for::<ApiError>()) } },
    });
    let workload = || json!({ "$ref": "#/components/schemas/Workload" });
    let body = match route.operation {
        Operation::WorkloadStart | Operation::WorkloadUpdate => Some(content(workload())),
        Operation::Call => Some(content(schemas.subschema_for::<CallRequest>())),
        Operation::BlobPut => Some(json!({ "application/wasm": {} })),
        _ => None,
    };
    if let Some(body) = body {
        found["requestBody"] = json!({ "required": true, "content": body });
    }
    let (status, body) = match route.operation {
        Operation::Heartbeat => ("200", of::<Heartbeat>(schemas)),
        Operation::WorkloadList => ("200", of::<WorkloadPage>(schemas)),
        Operation::WorkloadLogs => ("200", of::<LogPage>(schemas)),
        Operation::Call => ("200", of::<CallResponse>(schemas)),
        Operation::BlobHead => ("200", None),
        Operation::BlobPut => ("204", None),
        Operation::WorkloadStart | Operation::WorkloadUpdate | Operation::WorkloadStop | Operation::WorkloadStatus => {
            ("200", of::<WorkloadStatus>(schemas))
        }
    };
    let mut response = json!({ "description": "success" });
    if let Some(body) = body {
        response["content"] = body;
    }
    found["responses"][status] = response;
    if route.method == Method::Head {
        // A response to `HEAD` has no body.
        found["responses"]["default"] = json!({ "description": "an error" });
    }
    found
}

/// The content of a response of this type.
#[allow(clippy::unnecessary_wraps, reason = "other responses have none")]
fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Option<Value> {
    Some(content(schemas.subschema_for::<T>()))
}

fn content(schema: impl Into<Value>) -> Value {
    json!({ "application/json": { "schema": schema.into() } })
}

fn describe(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::Heartbeat => ("heartbeat", "Reports that the host is alive, and which workloads it has"),
        Operation::WorkloadStart => ("workloadStart", "Starts a workload; it serves when this returns"),
        Operation::WorkloadUpdate => ("workloadUpdate", "Replaces a running workload without refusing a call"),
        Operation::WorkloadStop => ("workloadStop", "Stops a workload, after the calls in progress"),
        Operation::WorkloadStatus => ("workloadStatus", "Reports on a workload"),
        Operation::Call => ("call", "Calls an exported function of an entry component"),
        Operation::WorkloadList => ("workloadList", "Lists workloads in the order of their ids, page by page"),
        Operation::WorkloadLogs => ("workloadLogs", "What a workload logged"),
        Operation::BlobHead => ("blobHead", "Asks whether the host has a component"),
        Operation::BlobPut => ("blobPut", "Gives the host a component"),
    }
}
