//! Batches and outcomes as the stages hand them to the ledger.

use std::time::Duration;

use tokenferry::{
    config::{LedgerAccess, LedgerSettings},
    domain::{Batch, Call, Destination, EncodedToken, Evidence, Item, SourceKey, Subject, Version},
    ledger::{BatchOutcome, BatchRef, Ledger, LedgerError, RemainingTokens, Run},
    postgres::{Address, Patience},
    secret::{Fingerprint, SentAttributes},
};

use crate::support::database::TestDatabase;

pub(crate) fn access(database: &TestDatabase) -> LedgerAccess {
    LedgerAccess {
        migration: "tests".to_owned(),
        ledger: LedgerSettings {
            url: Address::parse(database.url()).unwrap(),
            schema: "tokenferry".to_owned(),
            pepper: None,
        },
    }
}

pub(crate) async fn open(access: &LedgerAccess) -> Result<Ledger, LedgerError> {
    Ledger::open(access, 2, &Patience::new(Duration::from_secs(10))).await
}

/// A token on its way to a user of the same name as its row.
pub(crate) fn item(ledger: &Ledger, key: &str) -> Item {
    let destination = Destination::user("google", key);
    Item {
        key: SourceKey::from(key),
        page: 0,
        destination_id: destination.id(),
        identity: destination.identity(),
        destination,
        version: Version::new(Some(1)),
        fingerprint: fingerprint(ledger, key),
        expiry: None,
        parts: ledger
            .key()
            .parts()
            .parts(Some(key), None, SentAttributes::default()),
        evidence: Evidence::default(),
        is_new: true,
        replaces: None,
        encoded: EncodedToken::new(b"{}".to_vec()),
    }
}

pub(crate) fn fingerprint(ledger: &Ledger, key: &str) -> Fingerprint {
    ledger.key().fingerprint(key.as_bytes())
}

pub(crate) fn batch(items: Vec<Item>) -> Batch {
    Batch {
        subject: Subject::User,
        call: Call::Batch,
        items,
        parent: None,
    }
}

pub(crate) async fn begin(ledger: &Ledger) -> Run {
    ledger
        .begin(
            &tokenferry::domain::Selection::All,
            &ledger.key().selection_digest(&[]),
            "the tests",
        )
        .await
        .unwrap()
}

/// Opens a batch with these rows.
pub(crate) async fn open_batch(ledger: &Ledger, run: &Run, keys: &[&str]) -> BatchRef {
    let items = keys.iter().map(|key| item(ledger, key)).collect();
    ledger.open_batch(run, &batch(items), &[]).await.unwrap()
}

pub(crate) fn outcome(batch: BatchRef) -> BatchOutcome {
    BatchOutcome {
        batch,
        attempts: 1,
        http_status: Some(200),
        residue: RemainingTokens::None,
    }
}
