//! The templates of this program: `templates/<language>/<template>`.

use include_dir::{Dir, include_dir};

use super::files::Project;

static ALL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// The languages, in the order in which they are offered.
pub(super) const LANGUAGES: [(&str, &str); 6] = [
    ("rust", "needs cargo and the target wasm32-wasip2"),
    ("go", "needs Go 1.25 or later"),
    ("python", "needs componentize-py"),
    ("js", "JavaScript; needs Node.js"),
    ("ts", "TypeScript; needs Node.js"),
    ("c", "needs clang with a WASI libc, or the WASI SDK"),
];

/// The templates, in the order in which they are offered.
pub(super) const TEMPLATES: [(&str, &str); 6] = [
    ("http", "answers HTTP requests"),
    ("command", "a program, for `wharf run`"),
    ("library", "exports an interface that other components import"),
    ("middleware", "passes HTTP requests on to another component"),
    ("cron", "a program that runs on a schedule"),
    ("workload", "two components: one serves HTTP and calls the other"),
];

/// A template, with the packages of WASI that it asks for.
pub(super) fn get(language: &str, template: &str) -> Option<Project> {
    let folder = ALL.get_dir(format!("{language}/{template}"))?;
    let mut project = Project::default();
    add(&mut project, folder, folder);
    Some(project)
}

fn add(project: &mut Project, root: &Dir<'_>, folder: &Dir<'_>) {
    for file in folder.files() {
        let Ok(path) = file.path().strip_prefix(root.path()) else { continue };
        // An empty file says which version's packages belong beside it.
        let wasi = path.file_name().and_then(|name| name.to_str()?.strip_prefix("_wasi-"));
        match wasi.and_then(|version| ALL.get_dir(format!("wit-{version}"))) {
            Some(packages) => {
                for package in packages.files() {
                    let name = package.path().file_name().unwrap_or_default();
                    project.add(path.with_file_name("deps").join(name), package.contents().to_vec());
                }
            }
            None => project.add(path.to_owned(), file.contents().to_vec()),
        }
    }
    folder.dirs().for_each(|folder| add(project, root, folder));
}
