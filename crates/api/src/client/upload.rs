//! The components' bytes, which go to the host before the workload does.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use workload::component::MAX_BYTES;
use workload::manifest::{Digest, Source};
use workload::{Name, Workload};

use super::connection::Content;
use super::failure::Failure;
use super::{Client, refusal};
use crate::diagnostic::Diagnostic;
use crate::error::{ApiError, ErrorCode};
use crate::version::{Operation, Route};

/// Uploads the bytes of every component that the host does not have. Returns the workload with bytes in the place of
/// paths, so that its sources are digests on the wire.
pub(super) async fn components(client: &Client, workload: Workload) -> Result<Workload, ApiError> {
    let workload = read(workload).await?;
    let mut seen = HashSet::new();
    for component in workload.components.values() {
        let Source::Bytes(bytes) = &component.source else { continue };
        let digest = Digest::of(bytes);
        if seen.insert(digest) && !exists(client, digest).await? {
            put(client, digest, bytes.clone()).await?;
        }
    }
    Ok(workload)
}

async fn exists(client: &Client, digest: Digest) -> Result<bool, ApiError> {
    let route = Route::of(Operation::BlobHead);
    let response = client.send(route, route.path_with(&[digest]), Content::Empty).await?;
    match response.status.as_u16() {
        200..300 => Ok(true),
        404 => Ok(false),
        status => Err(Failure::Head { status }.into()),
    }
}

async fn put(client: &Client, digest: Digest, bytes: Arc<[u8]>) -> Result<(), ApiError> {
    let route = Route::of(Operation::BlobPut);
    let content = Content::Blob(Bytes::from_owner(bytes));
    let response = client.send(route, route.path_with(&[digest]), content).await?;
    if response.status.is_success() { Ok(()) } else { Err(refusal(&response)) }
}

/// The workload with the bytes of its files in the place of their paths, or a diagnostic for each file that cannot be
/// read.
async fn read(mut workload: Workload) -> Result<Workload, ApiError> {
    let mut unread = Vec::new();
    for (name, component) in &mut workload.components {
        let Source::Path(path) = &component.source else { continue };
        match read_file(path).await {
            Ok(bytes) => component.source = Source::Bytes(bytes.into()),
            Err(error) => unread.push(diagnostic(name, path, &error)),
        }
    }
    if unread.is_empty() {
        return Ok(workload);
    }
    let message = format!("the workload `{}` is not valid", workload.id());
    Err(ApiError::new(ErrorCode::Invalid, message).with_diagnostics(unread))
}

/// Reads one byte more than a component can have at most: a host refuses what is that large, with its own error.
async fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn diagnostic(component: &Name, path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(format!("cannot read `{}`, the source of `{component}`: {error}", path.display()))
        .at(format!("components.{component}.source"))
        .with_hint("build the component, or correct the path; a relative path in a manifest starts at its folder")
}
