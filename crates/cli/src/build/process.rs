//! A build's command: its output goes to standard error line by line, and it ends with its group when it is dropped.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::interrupt::Group;
use crate::logging;
use crate::output::{DIM, NAME};

/// The longest line that is shown, in bytes.
const MAX_LINE: usize = 2 * 1024;
/// How many lines are shown. A build that prints more goes on without an echo; its last lines follow if it fails.
const MAX_SHOWN: usize = 5_000;
/// How many lines are remembered.
const LAST: usize = 60;

/// A command to run in a folder.
pub(super) struct Step {
    program: String,
    arguments: Vec<String>,
    folder: PathBuf,
    env: Vec<(&'static str, String)>,
}

/// Why a build failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// The program does not exist.
    NoProgram { program: String },
    /// The program ended like this, after it printed these lines last.
    Ended { program: String, status: ExitStatus, last: Vec<String> },
    /// Anything else.
    Other(String),
}

impl Failed {
    /// The exit code of the command.
    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Self::Ended { status, .. } => status.code(),
            _ => None,
        }
    }

    /// Whether the command printed any of these texts at its end.
    pub(super) fn said(&self, texts: &[&str]) -> bool {
        let Self::Ended { last, .. } = self else { return false };
        last.iter().any(|line| texts.iter().any(|text| line.contains(text)))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram { program } => write!(f, "there is no program `{program}`"),
            Self::Ended { program, status, .. } => match status.code() {
                Some(code) => write!(f, "`{program}` ended with exit code {code}"),
                None => write!(f, "`{program}` was killed ({status})"),
            },
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Step {
    pub(super) fn new(program: &str, arguments: &[&str], folder: &Path) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { program: program.to_owned(), arguments, folder: folder.to_owned(), env: Vec::new() }
    }

    pub(super) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Runs it to its end.
    pub(super) async fn run(self, label: &str) -> Result<(), Failed> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder).envs(self.env);
        if let Ok(wharf) = std::env::current_exe() {
            command.env("WHARF", wharf);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.folder.is_dir() => Failed::NoProgram { program: self.program.clone() },
            _ => Failed::Other(format!("cannot start `{}` in `{}`: {error}", self.program, self.folder.display())),
        })?;
        let mut group = Group::of(child.id());
        let echo = Arc::new(Echo { label: label.to_owned(), lines: Mutex::default() });
        let out = child.stdout.take().map(|pipe| echo.clone().lines(pipe));
        let err = child.stderr.take().map(|pipe| echo.clone().lines(pipe));
        let read = async {
            tokio::join!(
                async {
                    if let Some(out) = out {
                        out.await;
                    }
                },
                async {
                    if let Some(err) = err {
                        err.await;
                    }
                }
            );
        };
        // A process in the background may keep the pipes open.
        let status = tokio::select! {
            status = child.wait() => status,
            () = read => child.wait().await,
        };
        let status = status.map_err(|error| Failed::Other(format!("cannot wait for `{}`: {error}", self.program)))?;
        group.release();
        if status.success() {
            return Ok(());
        }
        let last = echo.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if last.count > MAX_SHOWN {
            last.last.iter().for_each(|line| echo.print(line));
        }
        Err(Failed::Ended { program: self.program, status, last: last.last.iter().cloned().collect() })
    }
}

#[derive(Default)]
struct Lines {
    count: usize,
    last: VecDeque<String>,
}

struct Echo {
    label: String,
    lines: Mutex<Lines>,
}

impl Echo {
    async fn lines(self: Arc<Self>, pipe: impl AsyncRead + Unpin) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            let bytes = pipe.fill_buf().await.unwrap_or_default();
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            add(&mut line, &bytes[..end.unwrap_or(bytes.len())]);
            let (ended, used) = (bytes.is_empty(), end.map_or(bytes.len(), |end| end + 1));
            if end.is_some() {
                self.line(&line);
                line.clear();
            }
            pipe.consume(used);
            if ended {
                if !line.is_empty() {
                    self.line(&line);
                }
                return;
            }
        }
    }

    fn line(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let text: String =
            text.chars().map(|char| if char.is_control() && char != '\t' { ' ' } else { char }).collect();
        if text.trim().is_empty() {
            return;
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.count += 1;
        match lines.count {
            count if count <= MAX_SHOWN => self.print(&text),
            count if count == MAX_SHOWN + 1 => self.print("… more than 5,000 lines; the rest is not shown"),
            _ => {}
        }
        if lines.last.len() == LAST {
            lines.last.pop_front();
        }
        lines.last.push_back(text);
    }

    fn print(&self, line: &str) {
        logging::print(&format!("{NAME}{}{NAME:#} {DIM}│{DIM:#} {line}\n", self.label));
    }
}

/// Adds to a line, up to its longest.
fn add(line: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_LINE.saturating_sub(line.len());
    line.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
