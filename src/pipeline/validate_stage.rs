//! From pages to batches: validation, the ledger's state, chunker.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use foldhash::fast::RandomState;
use tokio::sync::mpsc;

use super::{
    PipelineError,
    checkpointer::Checkpointer,
    columns::Columns,
    holder_check::HolderCheck,
    ledger_filter::LedgerFilter,
    notices::Notices,
    outcome_sink::OutcomeSink,
    provider_tokens::{ProviderTokens, TokenPage},
    sink_item::{SinkItem, barrier},
};
use crate::{
    chunker::{Chunker, spread_witnesses},
    domain::{
        Batch, Decision, DestinationId, Finding, Forgotten, Item, LedgerState, Reason, Rule, Severity, Tally,
        TokenState, Unsent,
    },
    lookup::{ExistenceCheck, LookupError},
    rate::StopSignal,
    reader::Page,
    uploader::SizeLimit,
    validation::{ExaminedPage, PendingFetch, Validated, Validator},
};

/// What this stage works with.
pub(super) struct ValidateStage {
    pub(super) validator: Arc<Validator>,
    pub(super) record: OutcomeSink,
    pub(super) checkpointer: Arc<Checkpointer>,
    pub(super) chunker: Chunker,
    pub(super) size_limit: SizeLimit,
    /// What expires sooner is not read back.
    pub(super) refresh_margin_seconds: i64,
    pub(super) stop: StopSignal,
    pub(super) work: mpsc::Sender<SinkItem>,
    /// Destinations of pages that are not settled yet, by page.
    pub(super) unsettled: VecDeque<(u64, HashSet<DestinationId, RandomState>)>,
    /// How many tokens may still be sent, where that is limited.
    pub(super) limit: Option<Limit>,
    /// What the ledger need not be asked.
    pub(super) memory: LedgerFilter,
    /// What it cannot tell.
    pub(super) forgotten: Forgotten,
    /// The source was asked for outdated rows when the run began.
    pub(super) duplicates_resolved: bool,
    /// Looks whether rows are there still that keep others from their destinations.
    pub(super) holder_check: HolderCheck,
    /// What was said about rows that are left out.
    pub(super) notices: Notices,
    /// Asks the API about what is about to go.
    pub(super) check: Option<ExistenceCheck>,
    /// Fetches the tokens of rows that have none.
    pub(super) fetching: Option<ProviderTokens>,
    /// What the columns look like, where all rows are read.
    pub(super) columns: Option<Columns>,
}

/// So many pages may wait for an end. A batch that was put aside keeps its page open, and all pages after it with that.
const MOST_UNSETTLED: usize = 64;

/// How far a run goes that is to end early.
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
    /// Works on pages until there are none, then gives out what is left in the chunker.
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

    /// `false` if nobody takes batches any more.
    async fn page(&mut self, page: Page) -> Result<bool, PipelineError> {
        let number = page.number;
        let selected = i64::try_from(page.tokens.len()).unwrap_or(i64::MAX);
        if let Some(columns) = &mut self.columns {
            columns.look(&page)?;
        }
        // Encoding and digests keep a core busy for a while; the runtime's own threads have connections to serve.
        let validator = Arc::clone(&self.validator);
        let examined = tokio::task::spawn_blocking(move || validator.examine(number, page.tokens)).await?;
        // What has an end from here on is seen by the look below or, being still on the list, waited for.
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
        self.checkpointer.open(number, page.last, selected);
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
        // Another migration may have begun since, and may have the same destinations.
        if self.record.meet_siblings().await? {
            self.memory.forget_destinations();
        }
        let keys = examined.keys().filter(|key| self.memory.may_know_row(key));
        let destinations = examined
            .destinations()
            .filter(|id| self.memory.may_know_destination(id));
        let mut known = self.record.lookup(keys, destinations).await?;
        self.memory.distrust(&mut known, self.record.run());
        known.forgotten = self.forgotten;
        Ok(known)
    }

    /// Records what needs no request and hands on the rest.
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
            // What is left out is pending: its page is not settled, and the next run begins there.
            items.truncate(limit.left);
            limit.left -= items.len();
            unfetched.truncate(limit.left);
            limit.left -= unfetched.len();
        }
        if let Some(fetching) = &self.fetching {
            items.extend(fetching.count(&mut unfetched, &self.validator));
        }
        // Of those that go up, and of no others.
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
        // Taken out, so that it can be asked while the rest hands on what it found.
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

    /// Hands rows of a page on, and records those that go nowhere; `settled` counts others that have their end.
    async fn forward(&mut self, page: u64, rows: TokenPage, settled: Tally) -> Result<bool, PipelineError> {
        let TokenPage {
            mut items,
            mut warnings,
            mut decisions,
        } = rows;
        if !self.duplicates_resolved {
            self.record.departing(&items).await?;
        }
        let size = self.size_limit.get();
        self.chunker.resize(size.tokens, size.bytes);
        let readable_until = chrono::Utc::now()
            .timestamp()
            .saturating_add(self.refresh_margin_seconds);
        spread_witnesses(&mut items, size.tokens, |item| item.can_testify(readable_until));
        let mut full = Vec::new();
        for item in items {
            if let Err(item) = self.chunker.push(item, &mut full) {
                warnings.retain(|warning| warning.key != item.key);
                decisions.push(too_large(*item));
            }
        }
        self.chunker.detach();
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
        Ok(self.send(full).await)
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

    /// Returns true if another token is on its way to one of these destinations, and which of two arrives last would be chance; or
    /// whether too many pages wait for an end.
    fn is_crowded(&self, mut destinations: impl Iterator<Item = DestinationId>) -> bool {
        self.unsettled.len() > MOST_UNSETTLED
            || destinations.any(|id| {
                self.memory.may_know_destination(&id)
                    && self.unsettled.iter().any(|(_, page)| page.contains(&id))
            })
    }

    /// Waits until everything that was handed on has its end in the ledger.
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

/// The items that may go, without those that the API says go nowhere.
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
        "the token alone is {} bytes, more than a request may have",
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
        end: Unsent::Failed(reason),
    }
}
