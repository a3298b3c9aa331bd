//! What a folder is written in, and how that is built unless the manifest says otherwise.

use std::path::{Path, PathBuf};

use super::bindings;
use super::process::{Failed, Step};

/// A language, by the file that its projects have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Go,
    JavaScript,
    Python,
    Make,
}

/// How a component is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recipe {
    /// A command of the manifest.
    Shell(String),
    /// That of the language.
    Default(Language),
}

/// The version of componentize-py that a message names.
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";

impl Language {
    pub(super) const ALL: [Self; 5] = [Self::Rust, Self::Go, Self::JavaScript, Self::Python, Self::Make];

    /// The file that marks a folder.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Go => "go.mod",
            Self::JavaScript => "package.json",
            Self::Python => "pyproject.toml",
            Self::Make => "Makefile",
        }
    }

    /// The language of a folder.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|language| folder.join(language.file()).is_file())
    }

    /// The file that a build of a folder of one component writes, relative to the folder.
    pub(crate) fn output(self, folder: &Path) -> PathBuf {
        match self {
            Self::Rust => {
                let name = package(folder).unwrap_or_else(|| "app".to_owned()).replace('-', "_");
                format!("target/wasm32-wasip2/release/{name}.wasm").into()
            }
            _ => "dist/app.wasm".into(),
        }
    }

    /// What is run.
    async fn run(self, label: &str, folder: &Path, output: &Path) -> Result<(), Failed> {
        match self {
            Self::Rust => {
                let build = ["build", "--release", "--target", "wasm32-wasip2"];
                Step::new("cargo", &build, folder).run(label).await
            }
            Self::Go => go(label, folder, output).await,
            Self::JavaScript => {
                if !folder.join("node_modules").is_dir() {
                    Step::new("npm", &["install", "--no-audit", "--no-fund"], folder).run(label).await?;
                }
                Step::new("npm", &["run", "build"], folder).run(label).await
            }
            Self::Python => {
                let output = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
                // Its own environment, or that of a project of several components.
                let own = ["", ".."].map(|above| folder.join(above).join(".venv/bin/componentize-py"));
                let own = own.into_iter().find(|own| own.is_file()).and_then(|own| std::path::absolute(own).ok());
                let program = own.map_or_else(|| "componentize-py".to_owned(), |own| own.display().to_string());
                let arguments = ["-d", "wit", "componentize", "app", "-o", &output.display().to_string()];
                Step::new(&program, &arguments, folder).run(label).await
            }
            Self::Make => Step::new("make", &[], folder).run(label).await,
        }
    }

    /// What to do when its tool is missing, or when it says that something else is.
    fn hint(self, failed: &Failed) -> Option<String> {
        match (self, failed) {
            (Self::Rust, Failed::NoProgram { .. }) => Some("install Rust: https://rustup.rs".to_owned()),
            (Self::Rust, failed)
                if failed.said(&[
                    "can't find crate for `core`",
                    "can't find crate for `std`",
                    "target may not be installed",
                ]) =>
            {
                Some("the target is not installed: rustup target add wasm32-wasip2".to_owned())
            }
            (Self::Go, Failed::NoProgram { .. }) => Some("install Go 1.25 or later: https://go.dev/dl".to_owned()),
            (Self::JavaScript, Failed::NoProgram { .. }) => {
                Some("install Node.js 20 or later: https://nodejs.org".to_owned())
            }
            (Self::Python, Failed::NoProgram { .. }) => Some(format!(
                "install it in the project: python3 -m venv .venv && .venv/bin/pip install {COMPONENTIZE_PY}"
            )),
            (Self::Make, Failed::NoProgram { .. }) => Some("install make: apt-get install make".to_owned()),
            _ => None,
        }
    }
}

impl Recipe {
    /// Whether one run makes every component of the folder, whatever the output.
    pub(super) fn makes_all(&self) -> bool {
        !matches!(self, Self::Default(Language::Go | Language::Python))
    }

    pub(super) async fn run(&self, label: &str, folder: &Path, output: &Path) -> Result<(), Failed> {
        match self {
            Self::Shell(command) => Step::new("sh", &["-c", command], folder).run(label).await,
            Self::Default(language) => language.run(label, folder, output).await,
        }
    }

    pub(super) fn hint(&self, failed: &Failed) -> Option<String> {
        match self {
            Self::Shell(_) if failed.code() == Some(127) => {
                Some("the shell did not find the program: install it, or correct `build.command`".to_owned())
            }
            Self::Shell(_) => None,
            Self::Default(language) => language.hint(failed),
        }
    }
}

/// Generates bindings of the folder's world, compiles to a core module, and embeds the world in it.
async fn go(label: &str, folder: &Path, output: &Path) -> Result<(), Failed> {
    let (wit, to) = (folder.join("wit"), folder.join("bindings"));
    if wit.is_dir() {
        let module = module(folder).ok_or_else(|| Failed::Other("go.mod has no line `module NAME`".to_owned()))?;
        bindings::go(&wit, None, &to, &module).map_err(Failed::Other)?;
    }
    // The engine reads the module only when it is complete.
    let output = std::path::absolute(output).unwrap_or_else(|_| output.to_owned());
    let core = output.with_extension("core.wasm");
    let flags =
        ["build", "-buildmode=c-shared", "-ldflags=-w -checklinkname=0", "-o", &core.display().to_string(), "."];
    let step = Step::new("go", &flags, folder).env("GOOS", "wasip1").env("GOARCH", "wasm");
    step.run(label).await?;
    if wit.is_dir() {
        bindings::embed(&wit, None, &core).map_err(Failed::Other)?;
    }
    std::fs::rename(&core, &output)
        .map_err(|error| Failed::Other(format!("cannot write `{}`: {error}", output.display())))
}

/// The module's name of a go.mod.
pub(crate) fn module(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("go.mod")).ok()?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("module "))
        .map(|name| name.trim().trim_matches('"').to_owned())
}

/// The package's name of a Cargo.toml.
fn package(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let package = text.split_once("[package]")?.1;
    let lines = package.lines().take_while(|line| !line.trim_start().starts_with('['));
    let name = lines.filter_map(|line| line.trim().strip_prefix("name")).find_map(|rest| rest.trim().strip_prefix('='));
    name.map(|name| name.trim().trim_matches(['"', '\'']).to_owned())
}
