//! Page after page, over a connection that may be lost in between.

use tracing::Instrument;

use super::{
    Page, Source, SourceError,
    source::{Between, PAGE_BYTES, Rows},
};
use crate::domain::SourceKey;

impl Source {
    /// Reads the page after a key, or the first one, up to another key, if there is one; `None` at the end.
    /// After a lost connection it reconnects with growing pauses, until the database was unreachable for too
    /// long.
    ///
    /// # Errors
    /// If the database stays away, or the rows cannot be had.
    pub async fn page(
        &mut self,
        after: Option<&SourceKey>,
        until: Option<&SourceKey>,
    ) -> Result<Option<Page>, SourceError> {
        self.patiently(Rows::Between(Between { after, until })).await
    }

    /// Reads the rows with these keys that still exist and meet the configured condition; `None` if there are
    /// none.
    ///
    /// # Errors
    /// As for [`page`](Self::page).
    pub async fn rows(&mut self, keys: &[SourceKey]) -> Result<Option<Page>, SourceError> {
        self.patiently(Rows::Among(keys)).await
    }

    async fn patiently(&mut self, wanted: Rows<'_>) -> Result<Option<Page>, SourceError> {
        let mut outage = self.outage();
        loop {
            let read = match self.read(wanted).await {
                // Seldom needed, and large.
                Err(error @ SourceError::Rows { .. }) => Box::pin(self.after_failure(wanted, error)).await,
                read => read,
            };
            match read {
                Ok(page) => {
                    self.record_recovery(&outage);
                    return Ok(page);
                }
                Err(SourceError::Database(failure)) => {
                    outage.wait_out(failure).instrument(self.span.clone()).await?;
                }
                Err(error) => return Err(error),
            }
            self.disconnect();
        }
    }

    async fn read(&mut self, wanted: Rows<'_>) -> Result<Option<Page>, SourceError> {
        let fetched = self.fetch(wanted).await?;
        self.expect_same_shape().await?;
        if fetched.bytes < PAGE_BYTES / 2 {
            // One large row must not make all pages after it small.
            self.limit = self
                .limit
                .saturating_mul(2)
                .min(self.connection.settings.page_size);
        }
        Ok(self.page_of(fetched.tokens, fetched.digest))
    }

    /// Reads as much as possible of a page whose query failed.
    async fn after_failure(
        &mut self,
        wanted: Rows<'_>,
        failed: SourceError,
    ) -> Result<Option<Page>, SourceError> {
        self.expect_same_shape().await?;
        if failed.is_about_a_value() {
            self.page_in_parts(wanted, failed).await
        } else {
            Err(failed)
        }
    }

    pub(super) async fn expect_same_shape(&mut self) -> Result<(), SourceError> {
        let connection = self.connection.session().await?;
        self.shape.expect_unchanged(connection, &self.plan).await
    }
}
