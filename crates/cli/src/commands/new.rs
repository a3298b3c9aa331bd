//! `wharf new`: starts a project from a template.

mod files;
mod templates;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use wharf::workload::Name;

use crate::args::New;
use crate::error::{CliError, Report};
use crate::output::{BOLD, DIM, NAME};
use files::Project;
use templates::{LANGUAGES, TEMPLATES};

/// The names that would not build: keywords of WIT, Rust, Go, Python, JavaScript and C, and packages that these languages have.
const RESERVED: &str = "\
    abstract alloc and as assert async await become bool borrow box break case catch chan char class const \
    constructor continue core crate debugger def default defer del delete do double dyn elif else enum except export \
    extends extern f32 f64 fallthrough false final finally flags float fn for from func function future gen global \
    go goto if impl import in include inline instanceof int interface is lambda let list long loop macro main map \
    match mod move mut new none nonlocal not null option or override own package pass priv proc-macro pub raise \
    range record ref register resource restrict result return s16 s32 s64 s8 select self short signed sizeof static \
    std stream string struct super switch test this throw trait true try tuple type typedef typeof u16 u32 u64 u8 \
    union unsafe unsigned unsized use var variant virtual void volatile where while with world yield";

pub(crate) fn new(args: &New) -> Result<ExitCode, CliError> {
    if args.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.name.as_deref().unwrap_or_default();
    let name = Name::new(name).map_err(|error| {
        let hint = format!("write it in kebab-case, such as `{}`", Name::nearest(name));
        CliError::Usage(Report::with_hint(error, &hint))
    })?;
    if RESERVED.split_whitespace().any(|word| word == name.as_str()) {
        let hint = format!("choose another name, such as `{name}-app`");
        let message = format!("`{name}` cannot name a project: it is a word of WIT or of a programming language");
        return Err(CliError::Usage(Report::with_hint(message, &hint)));
    }
    let target = PathBuf::from(name.as_str());
    if target.symlink_metadata().is_ok() {
        let hint = "choose another name, or remove it";
        return Err(CliError::Usage(Report::with_hint(format!("`{name}` exists already"), hint)));
    }
    let project = match &args.from {
        Some(from) => foreign(from, args.template.as_deref())?,
        None => own(args)?,
    };
    project.write(name.as_str(), &target).map_err(|error| CliError::Host(Report::error(error)))?;
    anstream::println!("Made {BOLD}{name}{BOLD:#} {DIM}in ./{name}{DIM:#}\n");
    anstream::println!("  cd {NAME}{name}{NAME:#}");
    anstream::println!("  wharf dev     {DIM}build, serve, and replace what changes{DIM:#}");
    anstream::println!("  wharf test    {DIM}run its tests{DIM:#}");
    Ok(ExitCode::SUCCESS)
}

fn list() {
    anstream::println!(
        "{BOLD}{:12}{BOLD:#} {}",
        "template",
        LANGUAGES.map(|(language, _)| format!("{language:7}")).join("")
    );
    for (template, what) in TEMPLATES {
        let has = LANGUAGES.map(|(language, _)| {
            format!("{:7}", if templates::get(language, template).is_some() { "yes" } else { "-" })
        });
        anstream::println!("{NAME}{template:12}{NAME:#} {} {DIM}{what}{DIM:#}", has.join(""));
    }
}

/// A template of this program.
fn own(args: &New) -> Result<Project, CliError> {
    let language = choice("--lang", "Language", args.lang.as_deref(), &LANGUAGES, None)?;
    let template = choice("--template", "Template", args.template.as_deref(), &TEMPLATES, Some("http"))?;
    templates::get(&language, &template).ok_or_else(|| {
        let with: Vec<_> = LANGUAGES
            .iter()
            .map(|(language, _)| *language)
            .filter(|language| templates::get(language, &template).is_some())
            .collect();
        let hint = format!("it exists for {}; `wharf new --list` shows all", with.join(", "));
        CliError::Usage(Report::with_hint(format!("there is no template `{template}` for {language}"), &hint))
    })
}

/// What was chosen on the command line, or else on the terminal. Without a terminal, `default` if there is one.
fn choice(
    flag: &str,
    title: &str,
    given: Option<&str>,
    known: &[(&str, &str)],
    default: Option<&str>,
) -> Result<String, CliError> {
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if let Some(given) = given {
        if known.iter().any(|(name, _)| *name == given) {
            return Ok(given.to_owned());
        }
        let hint = format!("known ones are {}", names());
        return Err(CliError::Usage(Report::with_hint(format!("unknown {} `{given}`", title.to_lowercase()), &hint)));
    }
    if !std::io::stdin().is_terminal() {
        return default.map(str::to_owned).ok_or_else(|| {
            let hint = format!("set `{flag}` to one of {}", names());
            CliError::Usage(Report::with_hint(format!("no {} is chosen", title.to_lowercase()), &hint))
        });
    }
    anstream::println!("{BOLD}{title}{BOLD:#}");
    for (number, (name, what)) in known.iter().enumerate() {
        anstream::println!("  {} {NAME}{name:12}{NAME:#} {DIM}{what}{DIM:#}", number + 1);
    }
    loop {
        anstream::print!("Number or name [1]: ");
        std::io::stdout().flush().ok();
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let answer = line.trim();
        let by_number = answer.parse::<usize>().ok().and_then(|number| known.get(number.checked_sub(1)?));
        let chosen = known.iter().find(|(name, _)| *name == answer).or(by_number);
        match (chosen, answer.is_empty(), read) {
            (Some((name, _)), ..) => return Ok((*name).to_owned()),
            (None, true, Ok(1..)) => return Ok(known[0].0.to_owned()),
            (None, _, Ok(0) | Err(_)) => return Err(CliError::Usage(Report::error("nothing was chosen"))),
            _ => anstream::println!("{DIM}known ones are {}{DIM:#}", names()),
        }
    }
}

/// A template of a folder or a git repository.
fn foreign(from: &str, template: Option<&str>) -> Result<Project, CliError> {
    let folder = PathBuf::from(from);
    let is_bare = folder.join("HEAD").is_file() && folder.join("objects").is_dir();
    if folder.is_dir() && !is_bare {
        return read(&folder, template);
    }
    let is_address =
        from.contains("://") || from.contains('@') || Path::new(from).extension().is_some_and(|end| end == "git");
    if (!is_address && !is_bare) || from.starts_with('-') {
        let hint = "name a folder, or the address of a git repository";
        return Err(CliError::Usage(Report::with_hint(format!("no such template: `{from}`"), hint)));
    }
    let clone = files::scratch().map_err(|error| CliError::Host(Report::error(error)))?;
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--depth", "1", "--", from]).arg(clone.path()).env("GIT_TERMINAL_PROMPT", "0");
    let status = git.stdin(Stdio::null()).status();
    let status = status.map_err(|error| {
        CliError::Host(Report::with_context(error, "cannot run git; install it, or name a folder".to_owned()))
    })?;
    if !status.success() {
        return Err(CliError::Usage(Report::error(format!("git cannot clone `{from}`"))));
    }
    read(clone.path(), template)
}

fn read(folder: &Path, template: Option<&str>) -> Result<Project, CliError> {
    let usage = |error: String| CliError::Usage(Report::error(error));
    let folder = match template {
        None => folder.to_owned(),
        Some(template) => {
            let is_plain = Path::new(template).components().all(|part| matches!(part, std::path::Component::Normal(_)));
            // A link could lead out of a repository.
            let real = |path: &Path| path.canonicalize().ok();
            let is_inside = real(folder).zip(real(&folder.join(template))).is_some_and(|(a, b)| b.starts_with(a));
            if !is_plain || !is_inside || !folder.join(template).is_dir() {
                let hint = "name a folder of it, without `..`";
                let message = format!("there is no template `{template}` in `{}`", folder.display());
                return Err(CliError::Usage(Report::with_hint(message, hint)));
            }
            folder.join(template)
        }
    };
    Project::read(&folder).map_err(usage)
}
