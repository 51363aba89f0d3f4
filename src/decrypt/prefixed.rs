//! Values that begin with the name of their key: Better Auth and Twenty.

use zeroize::Zeroizing;

use super::{
    cipher::Cipher,
    derive::{KeyBytes, hkdf_sha256, sha256},
    encoding::Encoding,
    json_envelope::named,
    steps::Steps,
    value::Companions,
};
use crate::domain::DecryptFailure;

/// Hex of nonce, ciphertext and tag, with `$ba$VERSION$` before it if the secrets have versions.
pub(super) fn better_auth(
    keys: &[KeyBytes],
    versions: &[(String, KeyBytes)],
    text: &str,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let steps = Steps::new(Encoding::Hex, Cipher::XChaCha20Poly1305);
    let Some(rest) = text.strip_prefix("$ba$") else {
        return steps.open(keys, &steps.cut_text(text)?);
    };
    let (version, sealed) = rest.split_once('$').ok_or(DecryptFailure::Damaged)?;
    let parts = steps.cut_text(sealed).map_err(|_| DecryptFailure::Damaged)?;
    steps.open([named(versions, version)?], &parts)
}

const TWENTY: &str = "enc:v2:";

/// The name of a key of Twenty's: the first digits of its hash.
pub(super) fn twenty_name(key: &[u8]) -> String {
    let digest = sha256(key);
    let first = digest.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
    format!("{first:08x}")
}

/// The key depends on the workspace of the row.
pub(super) fn twenty(
    keys: &[(String, KeyBytes)],
    text: &str,
    companions: &Companions,
) -> Result<Zeroizing<Vec<u8>>, DecryptFailure> {
    let Some(rest) = text.strip_prefix(TWENTY) else {
        let is_another_version = text.starts_with("enc:v");
        return Err(if is_another_version {
            DecryptFailure::Damaged
        } else {
            DecryptFailure::NotEncrypted
        });
    };
    let (name, sealed) = rest.split_once(':').ok_or(DecryptFailure::Damaged)?;
    let steps = Steps::new(Encoding::Base64, Cipher::AesGcm);
    let parts = steps.cut_text(sealed).map_err(|_| DecryptFailure::Damaged)?;
    let workspace = companions.context.as_deref().unwrap_or_default();
    let info = [b"twenty:", TWENTY.as_bytes(), workspace.as_bytes()];
    let key = hkdf_sha256(named(keys, name)?, &[0; 32], &info, 32);
    steps.open(key.as_ref(), &parts)
}
