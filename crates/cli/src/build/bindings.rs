//! Bindings of a world for languages whose compilers make core modules, and the world in such a module.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use include_dir::{Dir, include_dir};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// The package that Go's bindings import, which the project finds in its own folder.
static GO_PACKAGE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/third-party/go-pkg");

/// Writes bindings for C: `<world>.c`, `<world>.h` and an object file with the world.
pub(crate) fn c(wit: &Path, world: Option<&str>, to: &Path) -> Result<(), String> {
    generate(wit, world, to, |_| wit_bindgen_c::Opts::default().build())
}

/// Writes bindings for a Go module, and the package that they import.
pub(crate) fn go(wit: &Path, world: Option<&str>, to: &Path, module: &str) -> Result<(), String> {
    let folder = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let options = wit_bindgen_go::Opts {
        format: wit_bindgen_go::Format::False,
        pkg_name: Some(format!("{module}/{folder}")),
        export_pkg_name: Some(module.to_owned()),
        ..wit_bindgen_go::Opts::default()
    };
    generate(wit, world, to, |_| options.build())?;
    write_all(&GO_PACKAGE, &to.join("pkg"))
}

/// Embeds a world in a core module.
pub(crate) fn embed(wit: &Path, world: Option<&str>, module: &Path) -> Result<(), String> {
    let (resolve, world) = read(wit, world)?;
    let at = |error: std::io::Error| format!("`{}`: {error}", module.display());
    let mut bytes = std::fs::read(module).map_err(at)?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    std::fs::write(module, bytes).map_err(at)
}

fn read(wit: &Path, world: Option<&str>) -> Result<(Resolve, WorldId), String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], world).map_err(|error| format!("`{}`: {error:#}", wit.display()))?;
    Ok((resolve, world))
}

fn generate(
    wit: &Path,
    world: Option<&str>,
    to: &Path,
    generator: impl FnOnce(&Resolve) -> Box<dyn WorldGenerator>,
) -> Result<(), String> {
    let (mut resolve, world) = read(wit, world)?;
    let mut files = Files::default();
    let generated = quietly(|| generator(&resolve).generate(&mut resolve, world, &mut files));
    let unsupported = || "the generator of bindings does not support a type of this world".to_owned();
    generated.ok_or_else(unsupported)?.map_err(|error| format!("{error:#}"))?;
    for (name, bytes) in files.iter() {
        write(&to.join(name), bytes)?;
    }
    Ok(())
}

/// Runs what may panic on input that it does not support, without the panic's message.
fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    done.ok()
}

fn write_all(folder: &Dir<'_>, to: &Path) -> Result<(), String> {
    for file in folder.files() {
        write(&to.join(file.path()), file.contents())?;
    }
    folder.dirs().try_for_each(|folder| write_all(folder, to))
}

/// Writes a file, unless it is there with these bytes: its time says when it changed.
fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    if std::fs::read(file).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let at = |error: std::io::Error| format!("cannot write `{}`: {error}", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(at)?;
    }
    std::fs::write(file, bytes).map_err(at)
}
