//! Writes of large objects to S3, in parts.
//!
//! Takes the parts of a body in order; gives an object once all are there. Never leaves parts behind: an upload that
//! does not complete is aborted, also when its future is dropped. Only the end of the process prevents that; a
//! lifecycle rule of the bucket removes what it leaves.

use std::time::Duration;

use bytes::Bytes;
use object_store::{MultipartUpload, Result as StoreResult};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{COMPLETION, allowance, bounded, failed};
use crate::backend::Error;

/// How many bytes a part has.
pub(super) const PART: usize = 8 * 1024 * 1024;
/// The most parts that S3 takes.
const MAX_PARTS: usize = 10_000;

/// An upload in progress.
pub(super) struct Upload {
    /// `None` once the upload is complete or aborted.
    upload: Option<Box<dyn MultipartUpload>>,
    /// The part that is on its way.
    part: Option<JoinHandle<Result<StoreResult<()>, Error>>>,
    parts: usize,
    timeout: Duration,
}

impl Upload {
    pub(super) fn new(upload: Box<dyn MultipartUpload>, timeout: Duration) -> Self {
        Self { upload: Some(upload), part: None, parts: 0, timeout }
    }

    /// Starts to send a part when the one before has arrived.
    pub(super) async fn send(&mut self, part: Bytes) -> Result<(), Error> {
        self.flush().await?;
        let Some(upload) = &mut self.upload else { return Ok(()) };
        self.parts += 1;
        if self.parts > MAX_PARTS {
            let max = MAX_PARTS * PART / (1024 * 1024 * 1024);
            return Err(Error::QuotaExceeded(format!("limit reached: an object in S3 has up to {max} GiB")));
        }
        let limit = allowance(self.timeout, part.len() as u64);
        let sent = upload.put_part(part.into());
        // A task of its own sends while the caller gathers the next part.
        self.part = Some(tokio::spawn(bounded(limit, sent)));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let Some(part) = &mut self.part else { return Ok(()) };
        let sent = part.await;
        self.part = None;
        let sent = sent.unwrap_or_else(|error| Err(Error::Other(format!("a part was cut off: {error}"))));
        sent?.map_err(|error| failed(&error))
    }

    pub(super) async fn complete(&mut self) -> Result<(), Error> {
        self.flush().await?;
        if let Some(upload) = &mut self.upload {
            bounded(self.timeout * COMPLETION, upload.complete()).await?.map_err(|error| failed(&error))?;
        }
        self.upload = None;
        Ok(())
    }

    /// Deletes the parts that arrived.
    pub(super) async fn abort(mut self) {
        if let Some(upload) = self.upload.take() {
            abort(upload, self.part.take(), self.timeout).await;
        }
    }
}

async fn abort(
    mut upload: Box<dyn MultipartUpload>,
    part: Option<JoinHandle<Result<StoreResult<()>, Error>>>,
    timeout: Duration,
) {
    // A part that arrives after the abort would stay.
    if let Some(part) = part {
        let _ = part.await;
    }
    if !matches!(bounded(timeout, upload.abort()).await, Ok(Ok(()))) {
        tracing::warn!("an upload to S3 cannot be aborted: its parts stay until a lifecycle rule removes them");
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.upload.take(), Handle::try_current()) {
            runtime.spawn(abort(upload, self.part.take(), self.timeout));
        }
    }
}
