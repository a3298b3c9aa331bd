//! Builds the guests whose components are committed, and finds stale ones.
//!
//! A guest is stale if the hash of its sources or of its component differs from the one recorded at its build. The check
//! compiles nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A workspace of guests. Paths are relative to the checkout.
struct Set {
    workspace: &'static str,
    /// The folder that has a folder for each guest.
    crates: &'static str,
    /// The folder of the built components.
    output: &'static str,
    /// The prefix of the components' file names.
    prefix: &'static str,
    /// Files and folders that every guest of the set depends on.
    shared: &'static [&'static str],
}

const SETS: [Set; 6] = [
    Set {
        workspace: "guests",
        crates: "guests/rust",
        output: "guests/prebuilt",
        prefix: "",
        shared: &["guests/Cargo.toml", "guests/Cargo.lock", "guests/wit", "guests/shared"],
    },
    Set {
        workspace: "guests/stores",
        crates: "guests/stores",
        output: "guests/stores/prebuilt",
        prefix: "",
        shared: &["guests/stores/Cargo.toml", "guests/stores/Cargo.lock", "guests/stores/wit", "guests/stores/shared"],
    },
    Set {
        workspace: "examples/blobs",
        crates: "examples/blobs",
        output: "examples/blobs/components",
        prefix: "blobs-",
        shared: &["examples/blobs/Cargo.toml", "examples/blobs/Cargo.lock", "examples/blobs/wit"],
    },
    Set {
        workspace: "examples/guestbook",
        crates: "examples/guestbook",
        output: "examples/guestbook/components",
        prefix: "guestbook-",
        shared: &["examples/guestbook/Cargo.toml", "examples/guestbook/Cargo.lock", "examples/guestbook/wit"],
    },
    Set {
        workspace: "examples/postgres",
        crates: "examples/postgres",
        output: "examples/postgres/components",
        prefix: "postgres-",
        shared: &[
            "examples/postgres/Cargo.toml",
            "examples/postgres/Cargo.lock",
            "examples/postgres/.cargo/config.toml",
        ],
    },
    Set {
        workspace: "examples/shop",
        crates: "examples/shop",
        output: "examples/shop/components",
        prefix: "shop-",
        shared: &["examples/shop/Cargo.toml", "examples/shop/Cargo.lock", "examples/shop/wit"],
    },
];

/// The hashes of the last build: `prebuilt.toml` beside the components.
#[derive(Default, Serialize, Deserialize)]
struct Record {
    /// The compiler that built them.
    compiler: String,
    guests: BTreeMap<String, Built>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Built {
    /// The hash of the sources.
    sources: String,
    /// The hash of the component.
    component: String,
}

/// Checks that no guest is stale.
///
/// # Errors
/// One message for each stale guest.
pub(crate) fn check(root: &Path) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for set in &SETS {
        let record = read_record(root, set);
        for name in names(root, set) {
            let stale = match (record.guests.get(&name), hash_guest(root, set, &name)) {
                (_, Err(error)) => Some(error),
                (None, _) => Some("it has no recorded build".to_owned()),
                (Some(built), Ok(now)) if built.sources != now.sources => Some("its sources have changed".to_owned()),
                (Some(built), Ok(now)) if built.component != now.component => {
                    Some("its component is not the recorded one".to_owned())
                }
                _ => None,
            };
            if let Some(reason) = stale {
                problems.push(format!("guest `{name}` is stale: {reason}; run `cargo xtask guests`"));
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Builds all guests, or those of one workspace, and records their hashes.
pub(crate) fn build(root: &Path, workspace: Option<&str>) -> Result<(), Vec<String>> {
    let wanted = |set: &&Set| workspace.is_none_or(|workspace| set.workspace == workspace.trim_end_matches('/'));
    let sets: Vec<&Set> = SETS.iter().filter(wanted).collect();
    if sets.is_empty() {
        let known: Vec<_> = SETS.iter().map(|set| set.workspace).collect();
        return Err(vec![format!("no such workspace of guests; known ones are {}", known.join(", "))]);
    }
    for set in sets {
        build_set(root, set).map_err(|error| vec![format!("{}: {error}", set.workspace)])?;
    }
    if workspace.is_some() { Ok(()) } else { check(root) }
}

fn build_set(root: &Path, set: &Set) -> Result<(), String> {
    let toolchain = Toolchain::find(root)?;
    let target = cache_folder().join("guests");
    let mut record = Record { compiler: toolchain.version()?, guests: BTreeMap::new() };
    fs::create_dir_all(root.join(set.output)).map_err(|e| e.to_string())?;
    let names = names(root, set);
    if names.is_empty() {
        return Err(format!("no guests in {}", root.join(set.crates).display()));
    }
    for name in names {
        let package = package_name(root, set, &name)?;
        let triple = toolchain.target(&root.join(set.crates).join(&name));
        toolchain.cargo(root, &root.join(set.workspace), &target, &package, triple)?;
        let release = target.join(triple).join("release");
        let built = [format!("{}.wasm", package.replace('-', "_")), format!("{package}.wasm")];
        let built = built.iter().map(|file| release.join(file)).find(|file| file.exists());
        let built = built.ok_or_else(|| format!("cargo built no component for `{package}`"))?;
        fs::copy(&built, component(root, set, &name)).map_err(|e| e.to_string())?;
        record.guests.insert(name.clone(), hash_guest(root, set, &name)?);
    }
    let text = toml::to_string(&record).map_err(|e| e.to_string())?;
    let text =
        format!("# Generated by `cargo xtask guests`: the hashes of each guest's sources and component.\n{text}");
    fs::write(root.join(set.output).join("prebuilt.toml"), text).map_err(|e| e.to_string())
}

/// The compiler for guests: rustup's if it has the target wasm32-wasip2, otherwise the one that `guests/toolchain.sh`
/// unpacks.
enum Toolchain {
    Rustup,
    Unpacked(PathBuf),
}

impl Toolchain {
    fn find(root: &Path) -> Result<Self, String> {
        let installed = Command::new("rustup").args(["target", "list", "--installed"]).output();
        if installed.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).lines().any(|line| line == WASIP2)) {
            return Ok(Self::Rustup);
        }
        let folder = cache_folder().join("guest-toolchain");
        if !folder.join("env.sh").exists() {
            let script = root.join("guests/toolchain.sh");
            let ran = Command::new("bash").arg(script).arg(&folder).status().map_err(|e| e.to_string())?;
            if !ran.success() {
                return Err(format!(
                    "no toolchain for guests: run `rustup target add {WASIP2}`, or see guests/toolchain.sh"
                ));
            }
        }
        Ok(Self::Unpacked(folder))
    }

    fn version(&self) -> Result<String, String> {
        let rustc = match self {
            Self::Rustup => PathBuf::from("rustc"),
            Self::Unpacked(folder) => folder.join("bin/rustc"),
        };
        let out = Command::new(rustc).arg("-V").output().map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// The target of a guest. Without WASI in the standard library a guest imports only what it calls itself; a guest that
    /// needs WASI there sets the target in its Cargo.toml.
    fn target(&self, guest: &Path) -> &'static str {
        let manifest = fs::read_to_string(guest.join("Cargo.toml")).unwrap_or_default();
        match self {
            Self::Unpacked(_) if !manifest.contains("target = \"wasm32-wasip2\"") => "wasm32-unknown-unknown",
            _ => WASIP2,
        }
    }

    fn cargo(&self, root: &Path, workspace: &Path, target: &Path, package: &str, triple: &str) -> Result<(), String> {
        // The component must be the same wherever it is built, so the paths of this machine are remapped.
        let home = std::env::var("HOME").unwrap_or_default();
        let cargo_home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{home}/.cargo"));
        let (root, cache) = (root.display(), cache_folder().display().to_string());
        let remap = [
            format!("{root}=/wharf"),
            format!("{cargo_home}=/cargo"),
            format!("{cache}=/cache"),
            // The compiler applies the last prefix that matches.
            format!("{cache}/guest-toolchain/sysroot/usr=/rust"),
        ];
        // Cargo names the folder of a registry's sources after the registry's host.
        let sources = fs::read_dir(format!("{cargo_home}/registry/src")).into_iter().flatten().flatten();
        let sources = sources.map(|source| format!("{}=/crates", source.path().display()));
        let remap: Vec<_> = remap.into_iter().chain(sources).collect();
        let mut flags: Vec<_> = remap.iter().map(|pair| format!("--remap-path-prefix={pair}")).collect();
        // The variable overrides the flags in a workspace's configuration, so those are repeated here.
        flags.push("--cfg=getrandom_backend=\"custom\"".to_owned());
        let env = match self {
            Self::Rustup => String::new(),
            Self::Unpacked(folder) => format!(". {}/env.sh && ", folder.display()),
        };
        let std = if matches!(self, Self::Rustup) { "" } else { "-Z build-std=std,panic_abort" };
        let script = format!("{env}exec cargo build {std} --target {triple} --release --locked -p {package}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(workspace);
        // Cargo sets variables for xtask, which must not affect the guest's build.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && name != "CARGO_HOME") {
            command.env_remove(name);
        }
        command.env("CARGO_TARGET_DIR", target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        let status = command.status().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("cannot build `{package}`")) }
    }
}

const WASIP2: &str = "wasm32-wasip2";

/// The user's cache folder for Wharf. Builds in it are independent of the checkout.
fn cache_folder() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    base.unwrap_or_else(home).join("wharf")
}

/// The names of the fixture guests.
pub(crate) fn fixture_names(root: &Path) -> Vec<String> {
    SETS[..2].iter().flat_map(|set| names(root, set)).collect()
}

/// The names of the guests of a set: the folders with a Cargo.toml.
fn names(root: &Path, set: &Set) -> Vec<String> {
    let entries = fs::read_dir(root.join(set.crates)).into_iter().flatten().flatten();
    let guests = entries.filter(|entry| entry.path().join("Cargo.toml").exists());
    let mut names: Vec<_> = guests.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn package_name(root: &Path, set: &Set, name: &str) -> Result<String, String> {
    let path = root.join(set.crates).join(name).join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let manifest: toml::Table = text.parse().map_err(|e| format!("{}: {e}", path.display()))?;
    let package = manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str());
    package.map(str::to_owned).ok_or_else(|| format!("missing `package.name` in {}", path.display()))
}

fn component(root: &Path, set: &Set, name: &str) -> PathBuf {
    root.join(set.output).join(format!("{}{name}.wasm", set.prefix))
}

fn hash_guest(root: &Path, set: &Set, name: &str) -> Result<Built, String> {
    let mut files = Vec::new();
    let own = root.join(set.crates).join(name);
    for path in set.shared.iter().map(|path| root.join(path)).chain([own]) {
        collect(&path, &mut files);
    }
    files.sort();
    let mut sources = Sha256::new();
    for file in files {
        let bytes = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let path = file.strip_prefix(root).unwrap_or(&file);
        sources.update(format!("{}\0{}\0", path.display(), bytes.len()));
        sources.update(bytes);
    }
    let path = component(root, set, name);
    let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    Ok(Built { sources: hex(&sources.finalize()), component: hex(&Sha256::digest(bytes)) })
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        collect(&entry.path(), files);
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn read_record(root: &Path, set: &Set) -> Record {
    let text = fs::read_to_string(root.join(set.output).join("prebuilt.toml")).unwrap_or_default();
    toml::from_str(&text).unwrap_or_default()
}
