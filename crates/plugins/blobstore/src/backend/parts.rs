//! Cuts a body into parts of one size, for services that store an object in parts.
//!
//! Takes pieces of any size; gives parts that are full, except for the last. Holds one part.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;

use super::{Body, Error};

/// The parts of a body.
pub(super) struct Parts {
    body: Body,
    rest: Bytes,
    size: usize,
}

impl Parts {
    pub(super) fn new(body: Body, size: usize) -> Self {
        Self { body, rest: Bytes::new(), size }
    }

    /// The next part. One that is not full, which may be empty, is the last.
    pub(super) async fn next(&mut self) -> Result<Bytes, Error> {
        // The pieces are copied: many small ones, kept as they are, would occupy far more than their bytes.
        let mut part = BytesMut::new();
        loop {
            part.extend_from_slice(&self.rest.split_to(self.rest.len().min(self.size - part.len())));
            if part.len() == self.size {
                return Ok(part.freeze());
            }
            match self.body.try_next().await? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(part.freeze()),
            }
        }
    }
}
