//! Third-party triggers and plugins' settings, and one message for each violation however the workload came about.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use wharf_workload::manifest::{
    Access, ByteSize, Component, Extensions, Format, HttpPath, HttpTrigger, Instances, InstancesMode, Mount, Settings,
    SettingsError, SettingsKey, Source, TriggerEntry, TriggerKind, Volume, parse_with, schema_with,
};
use wharf_workload::{Name, Problem, Workload, validate};

/// A kind of trigger as a third party would write it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Cron {
    component: Name,
    schedule: Schedule,
    #[serde(default)]
    jitter: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Schedule {
    Hourly,
    Daily,
}

impl TriggerKind for Cron {
    const KEY: &'static str = "cron";
    const INTERFACES: &'static [&'static str] = &["wasi:cli/run@0.2.0"];

    fn component(&self) -> &Name {
        &self.component
    }

    fn label(&self) -> String {
        format!("cron {:?}", self.schedule)
    }

    fn check(all: &[Self]) -> Vec<SettingsError> {
        let mut seen = HashSet::new();
        let twice = all.iter().enumerate().filter(|(_, t)| !seen.insert((&t.component, &t.schedule)));
        twice.map(|(i, _)| SettingsError::new(format!("{i}.schedule"), "duplicate schedule")).collect()
    }
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Store {
    backend: String,
    url: Option<String>,
}

fn extensions() -> Extensions {
    let keyvalue = SettingsKey::new("keyvalue").in_workload::<BTreeMap<String, Store>>().in_component::<Vec<String>>();
    Extensions::builtin().with_trigger::<Cron>().with_settings(keyvalue)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    parse_with(text, Format::Toml, &extensions()).problems.iter().map(ToString::to_string).collect()
}

const START: &str = "name = 'a'\n[components.web]\nsource = 'web.wasm'\n";

#[test]
fn a_third_partys_trigger_is_typed() {
    let text = format!("{START}[[triggers.cron]]\ncomponent = 'web'\nschedule = 'daily'\n");
    let workload = parse_with(&text, Format::Toml, &extensions()).workload.unwrap();
    let expected = Cron { component: name("web"), schedule: Schedule::Daily, jitter: None };
    assert_eq!(workload.triggers.of::<Cron>(), Ok(vec![expected.clone()]));
    let (kind, index, entry) = workload.triggers.entries().next().unwrap();
    assert_eq!((kind, index, &entry.component), ("cron", 0, &name("web")));
    assert_eq!(extensions().trigger("cron").unwrap().label(entry), "cron Daily");
    let mut built = Workload::new(name("a")).with_component(name("web"), Component::from_path("web.wasm"));
    built.triggers.push(expected).unwrap();
    assert!(validate(&built, &extensions()).is_empty());
    assert_eq!(
        validate(&built, &Extensions::builtin())[0].to_string(),
        "unknown key `cron` in `triggers`",
        "a host without the kind"
    );
}

#[test]
fn a_third_partys_section_has_the_messages_of_the_manifests_own() {
    let cron = "[[triggers.cron]]\nschedul = 'daily'\nzz = 1\n[[triggers.cron]]\ncomponent = 'web'\nschedule = 'weekly'\njitter = 'x'\n";
    assert_eq!(
        problems(&format!("{START}{cron}")),
        [
            "4:1: missing required key `component` in `triggers.cron.0`",
            "4:1: missing required key `schedule` in `triggers.cron.0`",
            "5:1: unknown key `schedul` in `triggers.cron.0` (did you mean `schedule`?)",
            "6:1: unknown key `zz` in `triggers.cron.0` (known keys are `component`, `jitter` and `schedule`)",
            "9:1: invalid `triggers.cron.1.schedule`: unknown variant `weekly`, expected `hourly` or `daily`",
            "10:1: expected an integer for `triggers.cron.1.jitter`, found a string",
        ]
    );
    let cron = "[[triggers.cron]]\ncomponent = 'web'\nschedule = 'weekly'\n";
    assert_eq!(
        problems(&format!("{START}{cron}")),
        ["6:1: invalid `triggers.cron.0.schedule`: unknown variant `weekly`, expected `hourly` or `daily`"]
    );
    let cron = "[[triggers.cron]]\ncomponent = 'web'\nschedule = 'daily'\n";
    assert_eq!(problems(&format!("{START}{cron}{cron}")), ["9:1: duplicate schedule"]);
}

#[test]
fn plugins_own_keys_of_the_manifest() {
    let text = "name = 'a'\n[components.web]\nsource = 'web.wasm'\nkeyvalue = ['sessions']\n[keyvalue.sessions]\nbackend = 'memory'\n";
    let workload = parse_with(text, Format::Toml, &extensions()).workload.unwrap();
    assert_eq!(workload.settings["keyvalue"].value(), &json!({ "sessions": { "backend": "memory" } }));
    assert_eq!(workload.components["web"].settings["keyvalue"].decode::<Vec<String>>(), Ok(vec!["sessions".into()]));
    let serialised = serde_json::to_value(&workload).unwrap();
    assert_eq!(serialised["keyvalue"]["sessions"]["backend"], "memory", "in place");
    assert_eq!(serialised["components"]["web"]["keyvalue"][0], "sessions", "in place");

    assert_eq!(
        problems(
            "name = 'a'\nkeyvalu = 1\n[components.web]\nsource = 'web.wasm'\nkeyvalue = [1]\n[keyvalue.s]\nbackand = 'x'\n"
        ),
        [
            "2:1: unknown key `keyvalu` (did you mean `keyvalue`?)",
            "5:13: expected a string for `components.web.keyvalue.0`, found an integer",
            "6:11: missing required key `backend` in `keyvalue.s`",
            "7:1: unknown key `backand` in `keyvalue.s` (did you mean `backend`?)",
        ]
    );
}

#[test]
fn the_schema_has_the_extensions_keys() {
    let schema = schema_with(&extensions());
    assert_eq!(schema["properties"]["keyvalue"]["additionalProperties"]["$ref"], "#/$defs/keyvalue-Store");
    assert_eq!(schema["$defs"]["keyvalue-Store"]["required"], json!(["backend"]));
    assert_eq!(schema["$defs"]["Component"]["properties"]["keyvalue"]["items"]["type"], "string");
    assert_eq!(schema["$defs"]["Triggers"]["properties"]["cron"]["items"]["$ref"], "#/$defs/Cron");
    assert_eq!(schema["$defs"]["Cron"]["required"], json!(["component", "schedule"]));
}

#[test]
fn settings_say_where_they_do_not_decode_and_not_what_was_there() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        stores: Vec<BTreeMap<String, u32>>,
    }
    let settings = Settings::new(json!({ "stores": [{}, { "size": "x" }] }));
    let error = settings.decode::<Outer>().unwrap_err();
    assert_eq!(error.path, "stores.1.size");
    assert_eq!(error.message, "invalid `stores.1.size`: invalid type: string, expected u32");
}

/// A violation: in the table of `components.web` or at the end of a manifest, the same in Rust, and its message.
type Violation = (&'static str, fn(&mut Workload), &'static str);

fn web(workload: &mut Workload) -> &mut Component {
    workload.components.get_mut("web").unwrap()
}

fn route(host: Option<&str>) -> HttpTrigger {
    HttpTrigger { component: name("web"), host: host.map(str::to_owned), path: HttpPath::default() }
}

fn mount(volume: &str, guest: &str) -> Vec<Mount> {
    vec![Mount { volume: name(volume), guest: guest.into(), access: Access::Read }]
}

fn of_a_component() -> Vec<Violation> {
    vec![
        (
            "source = 'a'\nenv = { 'A=B' = 'x' }",
            |w| drop(web(w).env.insert("A=B".into(), "x".into())),
            "invalid key `A=B` in `components.web.env`: empty, or contains `=` or a NUL character",
        ),
        (
            "source = ''",
            |w| web(w).source = Source::Path("".into()),
            "expected a path for `components.web.source`, found an empty string",
        ),
        (
            "source = 'oci://x/y'",
            |w| web(w).source = Source::Path("oci://x/y".into()),
            "unsupported scheme `oci://` in `components.web.source`",
        ),
        (
            "source = 'a'\nvolumes = [{ volume = 'dat', guest = '/d' }]",
            |w| web(w).volumes = mount("dat", "/d"),
            "`web` mounts unknown volume `dat`",
        ),
        (
            "source = 'a'\nvolumes = [{ volume = 'data', guest = 'd/..' }]",
            |w| web(w).volumes = mount("data", "d/.."),
            "expected a path without `..` for `components.web.volumes.0.guest`, found `d/..`",
        ),
        (
            "source = 'a'\ninstances = { mode = 'fresh', calls = 1 }",
            |w| web(w).instances = Some(Instances { calls: Some(1), ..Instances::default() }),
            "`calls` in `components.web.instances` requires mode `reuse`",
        ),
        (
            "source = 'a'\ninstances = { mode = 'warm' }",
            |w| web(w).instances = Some(Instances { mode: InstancesMode::Warm, ..Instances::default() }),
            "missing required key `size` in `components.web.instances`",
        ),
        (
            "source = 'a'\nnats = 1",
            |w| drop(web(w).settings.insert("nats".into(), Settings::new(json!(1)))),
            "unknown key `nats` in `components.web`",
        ),
    ]
}

fn elsewhere() -> Vec<Violation> {
    vec![
        (
            "[[triggers.http]]\ncomponent = 'web'\nhost = 'a:80'",
            |w| w.triggers.push(route(Some("a:80"))).unwrap(),
            "invalid `triggers.http.0.host`: expected a host name, found `a:80`",
        ),
        (
            "[[triggers.http]]\ncomponent = 'web'\n[[triggers.http]]\ncomponent = 'web'",
            |w| [route(None), route(None)].into_iter().for_each(|r| w.triggers.push(r).unwrap()),
            "duplicate route `/...` for any host: `web` and `web`",
        ),
        (
            "[[triggers.htp]]\ncomponent = 'web'",
            |w| {
                let settings = Settings::new(json!({ "component": "web" }));
                w.triggers.push_entry("htp", TriggerEntry { component: name("web"), settings });
            },
            "unknown key `htp` in `triggers`",
        ),
        (
            "[volumes.empty]\nhost = ''",
            |w| drop(w.volumes.insert(name("empty"), Volume::Host { host: "".into() })),
            "expected a path for `volumes.empty.host`, found an empty string",
        ),
        ("[nats]", |w| drop(w.settings.insert("nats".into(), Settings::new(json!({})))), "unknown key `nats`"),
    ]
}

#[test]
fn a_violation_has_one_message_by_manifest_by_json_and_by_rust() {
    let extensions = Extensions::builtin();
    let of_a_component = of_a_component().into_iter().map(|(text, violate, message)| (text, violate, "", message));
    let elsewhere = elsewhere().into_iter().map(|(text, violate, message)| ("source = 'a'", violate, text, message));
    for (inside, violate, after, message) in of_a_component.chain(elsewhere) {
        let text = format!("name = 'a'\n[components.web]\n{inside}\n[volumes.data]\nhost = 'data'\n{after}\n");
        let parsed = parse_with(&text, Format::Toml, &extensions);
        let by_manifest: Vec<_> = parsed.problems.iter().map(|p| (p.message.clone(), p.hint.clone())).collect();

        let mut workload = Workload::new(name("a")).with_component(name("web"), Component::from_path("a"));
        workload.volumes.insert(name("data"), Volume::Host { host: "data".into() });
        violate(&mut workload);
        let said = |problems: Vec<Problem>| -> Vec<_> {
            problems.iter().map(|p| (p.to_string(), Some(p.hint()).filter(|hint| !hint.is_empty()))).collect()
        };
        let by_rust = said(validate(&workload, &extensions));
        let received: Workload = serde_json::from_value(serde_json::to_value(&workload).unwrap()).unwrap();
        let by_json = said(validate(&received, &extensions));
        assert_eq!(by_rust[0].0, message);
        assert_eq!(by_rust, by_manifest, "{text}");
        assert_eq!(by_rust, by_json, "{text}");
    }
}

#[test]
fn what_no_text_can_say_is_validated_too() {
    let mut web = Component::from_path("a");
    web.limits.memory = Some(ByteSize(0));
    web.args = vec!["a\0b".into()];
    let workload = Workload::new(name("a")).with_component(name("web"), web);
    let found: Vec<_> = validate(&workload, &Extensions::builtin()).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "`components.web.args.0` contains a NUL character",
            "expected a value above 0 for `components.web.limits.memory`, found 0",
        ]
    );
}

#[test]
fn a_workload_that_does_not_decode_names_every_problem() {
    let error = serde_json::from_value::<Workload>(json!({ "name": "A", "components": { "web": { "source": 1 } } }));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("invalid `name`") && error.contains("expected a string for `components.web.source`"),
        "{error}"
    );
}

#[test]
fn bytes_in_memory_travel_as_their_digest() {
    let workload = Workload::new(name("a")).with_component(name("web"), Component::from_bytes(*b"abc"));
    let received: Workload = serde_json::from_value(serde_json::to_value(&workload).unwrap()).unwrap();
    let Source::Digest(digest) = received.components["web"].source else { panic!("a digest") };
    assert_eq!(digest, wharf_workload::manifest::Digest::of(b"abc"));
    assert!(validate(&received, &Extensions::builtin()).is_empty());
}
