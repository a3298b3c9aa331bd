//! Deliveries out of a [`Ledger`]: how they are settled, and what happens when they are not.
//!
//! Takes a message that a ledger handed out; gives a [`Delivery`]. Dropping the delivery returns it to its ledger at
//! once, since its handling has ended without a word.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::ledger::{Handed, Ledger};
use super::{Delivery, Error, Settle, Settlement};

/// Where a delivery's ledger is. It may be gone: then nothing is left to settle.
pub(crate) trait Holder: Send + Sync + 'static {
    /// Calls with the ledger that has this key, if there is one.
    fn with(&self, key: u64, act: &mut dyn FnMut(&mut Ledger));
}

struct Settler<H: Holder> {
    holder: Arc<H>,
    key: u64,
    item: u64,
    attempt: u32,
    is_settled: bool,
}

/// The delivery of what a ledger handed out.
pub(crate) fn delivery<H: Holder>(holder: &Arc<H>, key: u64, handed: Handed) -> Delivery {
    let Handed { item, attempt, message } = handed;
    let settle = Box::new(Settler { holder: holder.clone(), key, item, attempt, is_settled: false });
    Delivery { message, attempt, settle }
}

impl<H: Holder> Settler<H> {
    fn report(&mut self, settlement: Settlement) {
        self.is_settled = true;
        let (item, attempt) = (self.item, self.attempt);
        self.holder.with(self.key, &mut |ledger| ledger.settle(item, attempt, settlement, Instant::now()));
    }
}

#[async_trait]
impl<H: Holder> Settle for Settler<H> {
    async fn settle(mut self: Box<Self>, settlement: Settlement) -> Result<(), Error> {
        self.report(settlement);
        Ok(())
    }

    async fn progress(&self) -> Result<(), Error> {
        self.holder.with(self.key, &mut |ledger| ledger.progress(self.item, self.attempt, Instant::now()));
        Ok(())
    }
}

impl<H: Holder> Drop for Settler<H> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.report(Settlement::Retry(Duration::ZERO));
        }
    }
}

/// Waits until a time, or for ever when there is none.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
