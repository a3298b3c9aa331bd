//! Waits until files change. It says that something did, not what: who waits compares the files' states, so that an event too many or an
//! overflow of the queue does no harm.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::error::{CliError, Report};

/// How long files have to be still.
const QUIET: Duration = Duration::from_millis(20);
/// How long to wait for that at most.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often to look for folders that are not there.
const AGAIN: Duration = Duration::from_secs(1);

/// Watches folders, not those below them.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// Folders that do not exist, or cannot be watched.
    missing: bool,
    happened: Arc<Notify>,
}

impl Watch {
    pub(crate) fn new() -> Result<Self, CliError> {
        let happened = Arc::new(Notify::new());
        let notify = happened.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change. An error may hide one.
            let reads = |event: &notify::Event| {
                matches!(event.kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
            };
            let is_change = !event.as_ref().is_ok_and(reads);
            if is_change {
                notify.notify_one();
            }
        });
        let watcher =
            watcher.map_err(|error| CliError::Host(Report::with_context(error, "cannot watch files".to_owned())))?;
        Ok(Self { watcher, watched: BTreeSet::new(), missing: false, happened })
    }

    /// Watches these folders and no others.
    pub(crate) fn set<'a>(&mut self, folders: impl IntoIterator<Item = &'a Path>) {
        let wanted: BTreeSet<PathBuf> = folders.into_iter().map(Path::to_owned).collect();
        for gone in self.watched.difference(&wanted) {
            // It may not exist any more.
            self.watcher.unwatch(gone).ok();
        }
        let first = !self.missing;
        self.missing = false;
        let (mut watched, mut problem) = (BTreeSet::new(), None);
        for folder in wanted {
            // A folder that was removed and made again is another one.
            if self.watched.contains(&folder) && folder.is_dir() && !first {
                self.watcher.unwatch(&folder).ok();
                self.watched.remove(&folder);
            }
            let is_watched = self.watched.contains(&folder) && folder.is_dir();
            match if is_watched { Ok(()) } else { self.watcher.watch(&folder, RecursiveMode::NonRecursive) } {
                Ok(()) => drop(watched.insert(folder)),
                Err(error) => {
                    self.missing = true;
                    problem = Some((folder, error));
                }
            }
        }
        self.watched = watched;
        if let (true, Some((folder, error))) = (first, problem) {
            tracing::warn!(folder = %folder.display(), %error, "cannot watch a folder; looking at it every second");
        }
    }

    /// Waits until something may have changed, and is still again.
    pub(crate) async fn changed(&self) {
        let happened = self.happened.notified();
        if self.missing {
            timeout(AGAIN, happened).await.ok();
        } else {
            happened.await;
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && timeout(QUIET, self.happened.notified()).await.is_ok() {}
    }
}
