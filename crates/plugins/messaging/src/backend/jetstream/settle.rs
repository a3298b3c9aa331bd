//! How a delivery of JetStream is settled.
//!
//! Takes how its handling ended; tells the server, and waits until the server has noted it. A delivery that is dropped
//! is delivered again when its time is over: the server cannot see that it was dropped.

use std::sync::Arc;

use async_nats::jetstream::AckKind;
use async_trait::async_trait;
use tokio::time::Instant;

use super::config::bounded;
use super::slots::Slots;
use crate::backend::nats::Connection;
use crate::backend::{Error, Settle, Settlement};

pub(super) struct PulledSettle {
    pub(super) connection: Arc<Connection>,
    pub(super) slots: Arc<Slots>,
    /// The delivery's number among the slots.
    pub(super) number: u64,
    /// Where the server expects the acknowledgement.
    pub(super) ack: String,
    pub(super) is_handled: bool,
}

impl PulledSettle {
    async fn send(&self, kind: AckKind) -> Result<(), Error> {
        let (subject, time) = (self.ack.clone(), self.connection.timeout());
        match self.connection.request(subject, None, kind.into(), time).await {
            // The consumer is gone, and with it all that was to be settled.
            Ok(_) | Err(Error::NoResponders) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Settle for PulledSettle {
    async fn settle(mut self: Box<Self>, settlement: Settlement) -> Result<(), Error> {
        match settlement {
            Settlement::Done => {
                self.send(AckKind::Ack).await?;
                self.is_handled = true;
                Ok(())
            }
            Settlement::Retry(delay) => self.send(AckKind::Nak((!delay.is_zero()).then_some(bounded(delay)))).await,
        }
    }

    async fn progress(&self) -> Result<(), Error> {
        self.send(AckKind::Progress).await?;
        self.slots.extend(self.number, Instant::now());
        Ok(())
    }
}

impl Drop for PulledSettle {
    fn drop(&mut self) {
        self.slots.release(self.number, self.is_handled);
    }
}
