//! The validate stage: turns pages into batches with validation, the ledger's state and the chunker.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::Arc,
};

use foldhash::fast::RandomState;
use tokio::sync::mpsc;

use super::{
    PipelineError,
    checkpointer::Checkpointer,
    columns::Columns,
    holder_check::HolderCheck,
    notices::Notices,
    outcome_sink::OutcomeSink,
    provider_tokens::{ProviderTokens, TokenPage},
    run_filter::RunFilter,
    sink_item::{SinkItem, barrier},
};
use crate::{
    chunker::{Chunker, spread_witnesses},
    domain::{
        Batch, Decision, DestinationId, Finding, Forgotten, Item, LedgerState, Reason, Rule, Severity,
        Subject, Tally, TokenState, Unsent,
    },
    lookup::{ExistenceCheck, LookupError},
    rate::StopSignal,
    reader::Page,
    uploader::SizeLimit,
    validation::{ExaminedPage, PendingFetch, Validated, Validator},
};

/// The parts of this stage.
pub(super) struct ValidateStage {
    pub(super) validator: Arc<Validator>,
    pub(super) record: OutcomeSink,
    pub(super) checkpointer: Arc<Checkpointer>,
    pub(super) chunker: Chunker,
    pub(super) size_limit: SizeLimit,
    /// Tokens that expire sooner are not read back.
    pub(super) refresh_margin_seconds: i64,
    pub(super) stop: StopSignal,
    pub(super) work: mpsc::Sender<SinkItem>,
    /// The destinations of unsettled pages, by page.
    pub(super) unsettled: VecDeque<(u64, HashSet<DestinationId, RandomState>)>,
    /// The number of tokens that may still be sent, if limited.
    pub(super) limit: Option<Limit>,
    /// Skips comparisons that cannot match.
    pub(super) memory: RunFilter,
    /// The destinations that the ledger may know too little about.
    pub(super) forgotten: Forgotten,
    /// The source was asked for outdated rows at the start.
    pub(super) duplicates_resolved: bool,
    /// Checks that rows blocking others still exist.
    pub(super) holder_check: HolderCheck,
    /// Warnings about rows that are left out.
    pub(super) notices: Notices,
    /// Checks apps, tenants and users of the rows at the API.
    pub(super) check: Option<ExistenceCheck>,
    /// Fetches the tokens of rows without any.
    pub(super) fetching: Option<ProviderTokens>,
    /// Profiles the columns, if all rows are read.
    pub(super) columns: Option<Columns>,
}

/// The most unsettled pages. A deferred batch keeps its page and all later ones open.
const MOST_UNSETTLED: usize = 64;

/// The remaining limit of a run.
#[derive(Debug)]
pub(super) struct Limit {
    asked: u64,
    left: usize,
}

impl Limit {
    pub(super) fn new(asked: u64) -> Self {
        Self {
            asked,
            left: usize::try_from(asked).unwrap_or(usize::MAX),
        }
    }
}

impl ValidateStage {
    /// Processes pages until the input ends, then flushes the chunker.
    pub(super) async fn run(mut self, mut pages: mpsc::Receiver<Page>) -> Result<(), PipelineError> {
        while let Some(page) = pages.recv().await {
            if self.stop.is_triggered() || !self.page(page).await? {
                return Ok(());
            }
            if let Some(Limit { asked, left: 0 }) = self.limit {
                self.stop.limit_reached(asked);
                break;
            }
        }
        if let Some(columns) = &self.columns {
            columns.report();
        }
        let mut full = Vec::new();
        self.chunker.flush(&mut full);
        self.send(full).await;
        Ok(())
    }

    /// Returns `false` if the next stage is gone.
    async fn page(&mut self, page: Page) -> Result<bool, PipelineError> {
        let number = page.number;
        if page.tokens.is_empty() {
            self.checkpointer
                .skip(number, page.last, page.digest, page.unread);
            return Ok(true);
        }
        let selected = i64::try_from(page.tokens.len()).unwrap_or(i64::MAX);
        if let Some(columns) = &mut self.columns {
            columns.look(&page)?;
        }
        // Encoding and hashing are CPU-bound, and would block the runtime's threads.
        let validator = Arc::clone(&self.validator);
        let examined = tokio::task::spawn_blocking(move || validator.examine(number, page.tokens)).await?;
        // Rows settled from here on are found by the lookup below, or are still on the list and waited for.
        self.forget_settled();
        let mut known = self.look_up(&examined).await?;
        if self.is_crowded(examined.contested(&known, self.record.run())) {
            if !self.barrier().await {
                return Ok(false);
            }
            known = self.look_up(&examined).await?;
        }
        let run = self.record.run();
        if !self.holder_check.run(&examined, &mut known, run).await? {
            return Ok(false);
        }
        let screened = examined.resolve(&known, run, self.holder_check.older);
        self.checkpointer.open(number, page.last, page.digest, selected);
        let unfetched = screened.unfetched.iter().map(PendingFetch::destination_id);
        let destinations: HashSet<_, RandomState> = screened
            .items
            .iter()
            .map(|item| item.destination_id)
            .chain(unfetched)
            .collect();
        for id in &destinations {
            self.memory.add_destination(id);
        }
        self.unsettled.push_back((number, destinations));
        self.admit(number, selected, screened).await
    }

    async fn look_up(&mut self, examined: &ExaminedPage) -> Result<LedgerState, PipelineError> {
        let mut known = self.record.lookup(examined, &self.memory).await?;
        self.memory.distrust(&mut known, self.record.run());
        known.forgotten = self.forgotten;
        Ok(known)
    }

    /// Records outcomes that need no request and forwards the rest.
    async fn admit(&mut self, page: u64, selected: i64, screened: Validated) -> Result<bool, PipelineError> {
        let Validated {
            mut items,
            mut unfetched,
            warnings,
            mut decisions,
            conflicts,
            superseded_before,
            adopted,
            unchanged,
            committed_before,
        } = screened;
        self.record.adopt(&adopted).await?;
        if let Some(limit) = &mut self.limit {
            // Rows beyond the limit stay pending: their page is not settled, and the next run starts there.
            items.truncate(limit.left);
            limit.left -= items.len();
            unfetched.truncate(limit.left);
            limit.left -= unfetched.len();
        }
        if let Some(fetching) = &self.fetching {
            items.extend(fetching.count(&mut unfetched, &self.validator));
        }
        // Only for rows that are sent.
        let mut warnings: Vec<Finding> = warnings
            .into_iter()
            .filter_map(|(position, rules)| Some((items.get(position)?, rules)))
            .flat_map(|(item, rules)| rules.iter().map(|rule| Finding::warning(item, rule)))
            .collect();
        if !conflicts.is_empty() {
            let keys = items
                .iter()
                .map(|item| &item.key)
                .chain(unfetched.iter().map(PendingFetch::key));
            warnings.extend(
                self.notices
                    .conflicts(conflicts, &keys.collect(), self.record.migration()),
            );
        }
        if let Some(check) = &mut self.check {
            let found = match check.page(selected.unsigned_abs(), &items).await {
                Ok(found) => found,
                Err(LookupError::Stopped) => return Ok(false),
                Err(LookupError::Ledger(error)) => return Err(error.into()),
            };
            items = drop_rejected(items, found, &mut warnings, &mut decisions);
        }
        let settled = Tally {
            committed: committed_before,
            superseded: superseded_before,
            unchanged,
            ..Tally::default()
        };
        let found = TokenPage {
            items,
            warnings,
            decisions,
        };
        if !self.forward(page, found, settled).await? {
            return Ok(false);
        }
        // Taken out, so that it can be used while `self` forwards the results.
        let fetching = self.fetching.take();
        let mut takes_more = true;
        while let Some(fetching) = fetching.as_ref().filter(|_| takes_more) {
            let fetched = match fetching.next(&mut unfetched, &self.validator).await {
                Ok(Some(fetched)) => fetched,
                Ok(None) => break,
                Err(LookupError::Stopped) => return Ok(false),
                Err(LookupError::Ledger(error)) => return Err(error.into()),
            };
            takes_more = self.forward(page, fetched, Tally::default()).await?;
        }
        self.fetching = fetching;
        Ok(takes_more)
    }

    /// Forwards rows of a page and records the ones that are rejected; `settled` counts other rows with
    /// outcomes.
    async fn forward(&mut self, page: u64, rows: TokenPage, settled: Tally) -> Result<bool, PipelineError> {
        let TokenPage {
            mut items,
            mut warnings,
            mut decisions,
        } = rows;
        if !self.duplicates_resolved {
            self.record.departing(&items).await?;
        }
        let readable_until = chrono::Utc::now()
            .timestamp()
            .saturating_add(self.refresh_margin_seconds);
        let smallest = Subject::ALL
            .map(|subject| self.size_limit.get(subject).tokens)
            .into_iter()
            .min();
        spread_witnesses(&mut items, smallest.unwrap_or(1), |item| {
            item.can_testify(readable_until)
        });
        self.checkpointer
            .replace(items.iter().filter_map(|item| item.replaces.clone()));
        for item in self.chunker.take_oversized(&mut items) {
            warnings.retain(|warning| warning.key != item.key);
            decisions.push(too_large(item));
        }
        let count = |state| {
            i64::try_from(decisions.iter().filter(|d| d.state() == state).count()).unwrap_or(i64::MAX)
        };
        let ended = Tally {
            failed: count(TokenState::Failed),
            superseded: settled.superseded + count(TokenState::Superseded),
            ..settled
        };
        let reasons: Vec<Reason> = decisions
            .iter()
            .filter_map(|decision| decision.failure().cloned())
            .collect();
        warnings.extend(self.notices.older_versions(&decisions));
        self.record.page(decisions, warnings).await?;
        for reason in reasons {
            self.checkpointer.failed.add(&reason.code, &reason.text, 1);
        }
        self.checkpointer.settle(page, ended);
        Ok(self.chunk(items).await)
    }

    /// Forwards tokens in batches. Each batch leaves as soon as it is full, as the size of the next one may
    /// have changed by then. Returns `false` if the next stage is gone.
    async fn chunk(&mut self, items: Vec<Item>) -> bool {
        let mut full = Vec::new();
        self.resize();
        for item in items {
            self.chunker.push(item, &mut full);
            if !full.is_empty() {
                if !self.send(mem::take(&mut full)).await {
                    return false;
                }
                let settled = self.size_limit.settled();
                if self.stop.run_until_stopped(settled).await.is_none() {
                    return false;
                }
                self.resize();
            }
        }
        self.chunker.detach();
        true
    }

    fn resize(&mut self) {
        for subject in Subject::ALL {
            self.chunker.resize(subject, self.size_limit.get(subject));
        }
    }

    async fn send(&self, batches: Vec<Batch>) -> bool {
        for batch in batches {
            if self.work.send(SinkItem::Batch(batch)).await.is_err() {
                return false;
            }
        }
        true
    }

    fn forget_settled(&mut self) {
        let settled_below = self.checkpointer.settled_below();
        while self
            .unsettled
            .front()
            .is_some_and(|(page, _)| *page < settled_below)
        {
            self.unsettled.pop_front();
        }
    }

    /// Returns true if another token is in flight to one of these destinations, since their order of arrival
    /// would be random, or if too many pages are unsettled.
    fn is_crowded(&self, mut destinations: impl Iterator<Item = DestinationId>) -> bool {
        self.unsettled.len() > MOST_UNSETTLED
            || destinations.any(|id| {
                self.memory.may_be_sent_to(&id) && self.unsettled.iter().any(|(_, page)| page.contains(&id))
            })
    }

    /// Waits until everything forwarded has an outcome in the ledger.
    async fn barrier(&mut self) -> bool {
        let mut full = Vec::new();
        self.chunker.flush(&mut full);
        if !self.send(full).await {
            return false;
        }
        let passed = barrier(&self.work).await;
        self.unsettled.clear();
        passed
    }
}

/// Returns the items without those that the API check rejects.
fn drop_rejected(
    items: Vec<Item>,
    found: Vec<Option<(Rule, Reason)>>,
    warnings: &mut Vec<Finding>,
    decisions: &mut Vec<Decision>,
) -> Vec<Item> {
    let mut kept = Vec::with_capacity(items.len());
    let mut gone = HashSet::new();
    for (item, found) in items.into_iter().zip(found) {
        match found {
            None => kept.push(item),
            Some((rule, _)) if rule.severity() == Severity::Warning => {
                warnings.push(Finding::warning(&item, rule));
                kept.push(item);
            }
            Some((_, reason)) => {
                gone.insert(item.key.clone());
                decisions.push(failed(item, reason));
            }
        }
    }
    if !gone.is_empty() {
        warnings.retain(|warning| !gone.contains(&warning.key));
    }
    kept
}

fn too_large(item: Item) -> Decision {
    let what = format!(
        "the token alone is {} bytes, which exceeds the maximum request size",
        item.encoded.len()
    );
    failed(item, Reason::of(Rule::TooLarge, &what))
}

fn failed(item: Item, reason: Reason) -> Decision {
    Decision {
        key: item.key,
        destination: Some(item.destination),
        app: None,
        version: item.version,
        row_digest: Some(item.fingerprint),
        end: Unsent::Failed(reason),
    }
}
