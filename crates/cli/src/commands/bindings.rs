//! `wharf bindings`: generates bindings of a world, as builds in Go and C need them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::{Bindings, BindingsLanguage};
use crate::build::{self, bindings};
use crate::error::{CliError, Report};

pub(crate) fn bindings(args: &Bindings) -> Result<ExitCode, CliError> {
    let Bindings { language, wit, world, out } = args;
    let generated = match language {
        BindingsLanguage::C => {
            let out = out.clone().unwrap_or_else(|| PathBuf::from("gen"));
            bindings::c(wit, world.as_deref(), &out)
        }
        BindingsLanguage::Go => {
            let out = out.clone().unwrap_or_else(|| PathBuf::from("bindings"));
            let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            match build::module(folder) {
                Some(module) => bindings::go(wit, world.as_deref(), &out, &module),
                None => Err(format!("no `go.mod` with a line `module NAME` in `{}`", folder.display())),
            }
        }
    };
    generated.map(|()| ExitCode::SUCCESS).map_err(|error| CliError::Build(Report::error(error)))
}
