//! Why a plugin refuses a workload or a component.

use std::error::Error;
use std::fmt;

use workload::manifest::SettingsError;

/// Why a plugin refuses a workload or a component: what is wrong, where in the manifest, and what to do.
///
/// ```
/// use wharf::PluginError;
///
/// let error = PluginError::new("expected a number for `shows`, found `six`").at("config.shows").hint("write `shows = \"6\"`");
/// assert_eq!(error.place(), Some("config.shows"));
/// ```
#[derive(Debug)]
pub struct PluginError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    message: String,
    place: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
    others: Vec<PluginError>,
}

impl PluginError {
    /// An error with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts { message: message.into(), place: None, hint: None, source: None, others: Vec::new() }))
    }

    /// Adds the place in the manifest, as a dotted path: below the component in [`Plugin::bind`](crate::Plugin::bind), below the
    /// workload in [`Plugin::open`](crate::Plugin::open).
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// Puts the place below another: `url` becomes `keyvalue.url`.
    #[must_use]
    pub fn below(mut self, place: &str) -> Self {
        self.0.place = Some(match self.0.place.as_deref() {
            None | Some("") => place.to_owned(),
            Some(inner) => format!("{place}.{inner}"),
        });
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds another error, so that an author sees all of them at once.
    ///
    /// ```
    /// use wharf::PluginError;
    ///
    /// let both = PluginError::new("no folder `a`").and(PluginError::new("no folder `b`"));
    /// assert_eq!(both.to_string(), "no folder `a`; no folder `b`");
    /// ```
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.others.push(other);
        self
    }

    /// Combines errors into one. `None` if there are none.
    pub fn all(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        errors.into_iter().reduce(Self::and)
    }

    /// The errors that were combined into this one, this one first.
    pub(crate) fn into_each(mut self) -> Vec<Self> {
        let others = std::mem::take(&mut self.0.others);
        std::iter::once(self).chain(others.into_iter().flat_map(Self::into_each)).collect()
    }

    /// The place in the manifest, relative to the component or the workload.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// What to do.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// With the place below the settings; [`PluginError::below`] adds that of the settings.
impl From<SettingsError> for PluginError {
    fn from(error: SettingsError) -> Self {
        let (place, hint) = (Some(error.path), error.hint);
        Self(Box::new(Parts { message: error.message, place, hint, source: None, others: Vec::new() }))
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        self.0.others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}

impl Error for PluginError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
