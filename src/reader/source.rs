//! The source: a session with a checked plan, from which rows are fetched.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Row};
use tokio::time::Instant;
use tracing::Span;

use super::{
    SourceError,
    decode::{self, RowDecoder},
    error::{not_a_key, row_error},
    interner::Interner,
    plan::{Bounds, Plan},
    row_hash::ROW_HASH,
    session::{self, Connection, Perspective},
    shape::Shape,
    validate,
};
use crate::{
    config::SourceSettings,
    domain::{EventKind, EventLog, KeyRange, LegacyToken, RowsDigest, SourceKey},
    postgres::{Outage, Patience},
    secret::{BufferPool, SecretArena},
};

/// A page ends early once it holds this much text, so that memory is bounded whatever the rows are like.
/// Smaller than it could be: what is read, encoded and sent while it is still in the processor's cache costs
/// less.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// Rows that were read together.
#[derive(Debug)]
pub struct Page {
    /// Counts from 0 within a run.
    pub number: u64,
    /// One per row that was read, in the order of the key.
    pub tokens: Vec<LegacyToken>,
    /// The rows that were not read: their range has the digest of rows that are stored as they are.
    pub unread: i64,
    /// The last key of the page: the next one begins after it.
    pub last: SourceKey,
    /// The digest of all rows, as they were read; `None` if it is not known.
    pub digest: Option<RowsDigest>,
}

/// The source, checked and ready to be read.
#[derive(Debug)]
pub struct Source {
    pub(super) connection: Connection,
    pub(super) plan: Plan,
    perspective: Perspective,
    /// The shape when the plan was made.
    pub(super) shape: Shape,
    pub(super) common: Interner,
    /// The bytes of secrets in the previous page: the next one will have about as many.
    secret_bytes: usize,
    buffers: Arc<BufferPool>,
    pub(super) limit: u32,
    next_number: u64,
    event_log: EventLog,
    pub(super) span: Span,
}

impl Source {
    /// Connects and holds the configuration against the database. `patience` says how long the database may
    /// be out of reach later on.
    ///
    /// # Errors
    /// If the database does not answer, does not let us, or does not look as configured.
    pub async fn open(
        settings: &SourceSettings,
        application_name: &str,
        patience: &Patience,
    ) -> Result<Self, SourceError> {
        let mut session = session::connect(settings, application_name, patience).await?;
        let plan = validate::inspect(&mut session, settings).await?;
        let perspective = Perspective::of(&mut session).await?;
        let shape = Shape::of(&mut session, &plan).await?;
        Ok(Self {
            connection: Connection {
                session: Some(session),
                settings: settings.clone(),
                application_name: application_name.to_owned(),
                patience: patience.clone(),
            },
            plan,
            perspective,
            shape,
            common: Interner::default(),
            secret_bytes: 0,
            buffers: Arc::default(),
            limit: settings.page_size,
            next_number: 0,
            event_log: EventLog::default(),
            span: Span::none(),
        })
    }

    /// Another session with the same source, for use beside this one; opened when it is first used.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            connection: self.connection.another(),
            plan: self.plan.clone(),
            perspective: self.perspective.clone(),
            shape: self.shape.clone(),
            common: Interner::default(),
            secret_bytes: 0,
            buffers: Arc::clone(&self.buffers),
            limit: self.connection.settings.page_size,
            next_number: 0,
            event_log: self.event_log.clone(),
            span: Span::none(),
        }
    }

    /// Outages are noted there.
    #[must_use]
    pub fn with_event_log(mut self, event_log: EventLog) -> Self {
        self.event_log = event_log;
        self
    }

    /// Takes the memory of secrets from the run's pool.
    #[must_use]
    pub fn with_buffers(mut self, buffers: &Arc<BufferPool>) -> Self {
        self.buffers = Arc::clone(buffers);
        self
    }

    /// Logs outages in this span, whichever task reads the pages.
    #[must_use]
    pub fn with_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    /// The outages that a piece of work lives through that begins now.
    #[must_use]
    pub fn outage(&self) -> Outage {
        Outage::of("source", &self.connection.patience)
    }

    /// Notes an outage that is over, if there was one.
    pub fn record_recovery(&self, outage: &Outage) {
        if let Some(since) = self.span.in_scope(|| outage.over()) {
            self.event_log
                .record_span(EventKind::SourceAway, since, Instant::now());
        }
    }

    /// The name of the database, where the URL says it.
    #[must_use]
    pub fn database(&self) -> Option<String> {
        self.connection.settings.url.database().map(str::to_owned)
    }

    /// Returns the role and search path with which it is read.
    #[must_use]
    pub fn perspective(&self) -> &Perspective {
        &self.perspective
    }

    /// About how many rows there are, where the planner has an idea.
    pub async fn expected_rows(&mut self) -> Option<u64> {
        let Connection {
            session, settings, ..
        } = &mut self.connection;
        validate::expected_rows(session.as_mut()?, settings).await
    }

    /// Lets go of a connection that failed.
    pub fn disconnect(&mut self) {
        self.connection.session = None;
    }

    pub(super) async fn fetch(&mut self, wanted: Rows<'_>) -> Result<Fetched, SourceError> {
        let connection = self.connection.session().await?;
        let sql = match wanted {
            Rows::Between(between) => self.plan.page(between.bounds(), self.limit),
            Rows::Among(_) => self.plan.rows(),
        };
        let mut query = sqlx::query(AssertSqlSafe(sql));
        query = match wanted {
            Rows::Between(between) => between.keys().fold(query, |query, key| query.bind(key.as_str())),
            Rows::Among(keys) => {
                query.bind(keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>())
            }
        };
        let (after, is_page) = match wanted {
            Rows::Between(between) => (between.after, true),
            Rows::Among(_) => (None, false),
        };
        let mut digest = (is_page && self.plan.has_row_hashes()).then(RowsDigest::default);
        let mut rows = query.fetch(connection);
        let arena = SecretArena::pooled(&self.buffers, self.secret_bytes + self.secret_bytes / 8);
        let mut decoded = RowDecoder::new(self.limit.min(10_000) as usize, arena);
        loop {
            let row = match rows.try_next().await {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => match row_error(error, decoded.last_key().or(after)) {
                    // The rows before it are good; the next page begins with this one.
                    error if error.is_about_a_value() && decoded.len() > 0 && is_page => {
                        break;
                    }
                    error => return Err(error),
                },
            };
            let previous = decoded.last_key().or(after);
            let key = match decode::key(&row).map_err(|error| row_error(error, previous))? {
                None => return Err(not_a_key(previous, "has none")),
                Some(key)
                    if previous.is_some_and(|previous| !self.plan.key.ascends(previous.as_str(), key)) =>
                {
                    return Err(not_a_key(previous, "does not come after it"));
                }
                Some(key) => SourceKey::from(key),
            };
            if let Some(digest) = &mut digest {
                let hash = row
                    .try_get(ROW_HASH)
                    .map_err(|error| row_error(error, decoded.last_key().or(after)))?;
                digest.add(hash);
            }
            decoded
                .push(&row, key, &self.plan.columns, &mut self.common)
                .map_err(|error| row_error(error, decoded.last_key().or(after)))?;
            // Rows that were asked for by their keys would not be asked for again.
            if decoded.bytes() >= PAGE_BYTES && is_page {
                // The next pages ask for what fits.
                self.limit = u32::try_from(decoded.len()).unwrap_or(self.limit).max(1);
                break;
            }
        }
        drop(rows);
        self.secret_bytes = decoded.secret_bytes();
        let bytes = decoded.bytes();
        Ok(Fetched {
            tokens: decoded.finish(),
            bytes,
            digest,
        })
    }

    /// The next page, if there is anything on it.
    pub(super) fn page_of(&mut self, tokens: Vec<LegacyToken>, digest: Option<RowsDigest>) -> Option<Page> {
        let last = tokens.last()?.key.clone();
        Some(self.number(tokens, 0, last, digest))
    }

    /// The page in place of a range that was not read.
    #[must_use]
    pub fn unread_page(&mut self, range: KeyRange<RowsDigest>) -> Page {
        self.number(Vec::new(), range.digest.rows, range.until, Some(range.digest))
    }

    fn number(
        &mut self,
        tokens: Vec<LegacyToken>,
        unread: i64,
        last: SourceKey,
        digest: Option<RowsDigest>,
    ) -> Page {
        let number = self.next_number;
        self.next_number += 1;
        Page {
            number,
            tokens,
            unread,
            last,
            digest,
        }
    }
}

/// Rows that were read by one query.
pub(super) struct Fetched {
    pub(super) tokens: Vec<LegacyToken>,
    /// The bytes of text in all rows.
    pub(super) bytes: usize,
    pub(super) digest: Option<RowsDigest>,
}

/// A request for rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    Between(Between<'a>),
    Among(&'a [SourceKey]),
}

/// A key before the rows, and their last key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Between<'a> {
    pub(super) after: Option<&'a SourceKey>,
    pub(super) until: Option<&'a SourceKey>,
}

impl<'a> Between<'a> {
    pub(super) fn bounds(self) -> Bounds {
        Bounds {
            after: self.after.is_some(),
            until: self.until.is_some(),
        }
    }

    /// The parameters of a query with these bounds.
    pub(super) fn keys(self) -> impl Iterator<Item = &'a SourceKey> {
        self.after.into_iter().chain(self.until)
    }
}
