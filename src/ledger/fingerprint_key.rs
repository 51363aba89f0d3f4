//! The fingerprint key, created once per ledger.

use zeroize::Zeroizing;

use super::LedgerError;
use crate::{
    postgres::Session,
    secret::{FingerprintKey, Secret},
};

/// Returns the ledger's key, mixed with the pepper, and creates it if there is none. If two processes create
/// it at once, both use the key of the first.
pub(super) async fn fetch_or_make(
    connection: &mut Session,
    pepper: Option<&Secret>,
) -> Result<FingerprintKey, LedgerError> {
    let fresh: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
    let check = FingerprintKey::new(&fresh, pepper.map(Secret::reveal)).check();
    sqlx::query!(
        "insert into fingerprint_key (key_bytes, key_check) values ($1, $2) on conflict do nothing",
        &fresh[..],
        &check.as_bytes()[..],
    )
    .execute(&mut *connection)
    .await?;
    fetch(connection, pepper)
        .await?
        .ok_or_else(|| LedgerError::Contradiction("its fingerprint key is missing".to_owned()))
}

/// Returns the ledger's key, mixed with the pepper; `None` if it was not created yet.
pub(super) async fn fetch(
    connection: &mut Session,
    pepper: Option<&Secret>,
) -> Result<Option<FingerprintKey>, LedgerError> {
    let kept = sqlx::query!("select key_bytes, key_check from fingerprint_key")
        .fetch_optional(&mut *connection)
        .await?;
    let Some(kept) = kept else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(kept.key_bytes);
    let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| LedgerError::Pepper)?;
    let key = FingerprintKey::new(bytes, pepper.map(Secret::reveal));
    if key.check().as_bytes()[..] == kept.key_check[..] {
        Ok(Some(key))
    } else {
        Err(LedgerError::Pepper)
    }
}
