//! Inputs: where manifests may read secrets and configuration from.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use wharf::PluginError;
use zeroize::Zeroizing;

/// An environment: a variable by its name, and all of them.
pub trait Environment: Send + Sync + 'static {
    /// The value of a variable.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// All variables whose name and value are text.
    fn variables(&self) -> Vec<(String, String)>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let all = std::env::vars_os();
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }
}

/// Where the manifests of a host may read secrets and configuration from. By default from nowhere: a manifest that others write could
/// name any file or variable that the host can read.
#[derive(Clone, Default)]
pub struct InputPolicy {
    files: bool,
    environment: Option<Arc<dyn Environment>>,
}

const HINT: &str = "the host's operator decides it: `stores.inputs` in the host configuration";

impl InputPolicy {
    /// Lets manifests name files.
    #[must_use]
    pub fn with_files(self) -> Self {
        Self { files: true, ..self }
    }

    /// Lets manifests name variables of this environment.
    #[must_use]
    pub fn with_environment(self, environment: impl Environment) -> Self {
        Self { environment: Some(Arc::new(environment)), ..self }
    }

    /// Lets manifests name variables, if `other` does.
    #[must_use]
    pub(crate) fn environment_of(self, other: &Self) -> Self {
        Self { environment: other.environment.clone(), ..self }
    }

    /// Checks that a manifest may name a file.
    ///
    /// # Errors
    /// [`PluginError`] when it may not.
    pub fn check_file(&self) -> Result<(), PluginError> {
        let refused = || PluginError::new("this host lets no manifest read files of its own").hint(HINT);
        self.files.then_some(()).ok_or_else(refused)
    }

    /// Checks that a manifest may name a variable of the environment.
    ///
    /// # Errors
    /// [`PluginError`] when it may not.
    pub fn check_environment(&self) -> Result<(), PluginError> {
        let refused = || PluginError::new("this host lets no manifest read its environment").hint(HINT);
        self.environment.is_some().then_some(()).ok_or_else(refused)
    }

    /// The value of a variable, if manifests may name variables.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.environment.as_ref()?.variable(name)
    }

    /// All variables that manifests may name.
    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        self.environment.iter().flat_map(|environment| environment.variables())
    }
}

/// Reads a file of at most `most` bytes. Pipes and devices are refused: they may block, or never end.
///
/// # Errors
/// When it is not a regular file, is larger, or cannot be read.
pub async fn read_file(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let metadata = tokio::fs::metadata(path).await?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(most)).unwrap_or_default() + 1));
    tokio::fs::File::open(path).await?.take(most + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it exceeds {most} bytes")));
    }
    Ok(bytes)
}

impl fmt::Debug for InputPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let environment = self.environment.is_some();
        f.debug_struct("InputPolicy").field("files", &self.files).field("environment", &environment).finish()
    }
}
