//! Batches and outcomes as the stages hand them to the ledger.

use std::time::Duration;

use tokenferry::{
    config::{LedgerAccess, LedgerSettings},
    ledger::{Ledger, LedgerError, OutcomeOf, Run},
    model::{Batch, Call, Destination, EncodedToken, Fingerprint, Item, Secret, SourceKey, Subject, Version},
};

use crate::support::database::TestDatabase;

pub(crate) fn access(database: &TestDatabase) -> LedgerAccess {
    LedgerAccess {
        migration: "tests".to_owned(),
        ledger: LedgerSettings {
            url: Secret::new(database.url()),
            schema: "tokenferry".to_owned(),
            pepper: None,
        },
    }
}

pub(crate) async fn open(access: &LedgerAccess) -> Result<Ledger, LedgerError> {
    Ledger::open(access, 2, Duration::from_secs(10)).await
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
        has_access_token: true,
        has_refresh_token: false,
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
        .begin(&tokenferry::model::Selection::All, "the tests")
        .await
        .unwrap()
}

/// Opens a batch with these rows.
pub(crate) async fn open_batch(ledger: &Ledger, run: &Run, keys: &[&str]) -> i64 {
    let items = keys.iter().map(|key| item(ledger, key)).collect();
    let digest = ledger.key().value_digest("at");
    ledger
        .open_batch(run, &batch(items), 0, false, &digest)
        .await
        .unwrap()
}

pub(crate) fn outcome(batch: i64) -> OutcomeOf {
    OutcomeOf {
        batch,
        attempts: 1,
        http_status: Some(200),
    }
}
