//! The text of a field: its value, decrypted and taken out of its document where that is needed.

use zeroize::Zeroizing;

use super::{
    column_type::Form,
    document::{self, BadDocument},
    plan::{Column, Decrypt},
};
use crate::{
    decrypt::{Decryptor, Wire},
    domain::{DecryptFailure, UnreadableCause},
    secret::Secret,
};

/// The reason why a field has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoText {
    Sealed(DecryptFailure),
    Unreadable(UnreadableCause),
}

impl From<BadDocument> for NoText {
    fn from(bad: BadDocument) -> Self {
        Self::Unreadable(match bad {
            BadDocument::NotJson => UnreadableCause::NotJson,
            BadDocument::NotForm => UnreadableCause::NotForm,
        })
    }
}

/// A text; what is worked out is wiped.
pub(super) enum FieldText<'r> {
    AsItIs(&'r str),
    Opened(Secret),
    Picked(Zeroizing<String>),
}

impl FieldText<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::AsItIs(text) => text,
            Self::Opened(secret) => secret.reveal(),
            Self::Picked(text) => text,
        }
    }
}

/// The values of a row that were decrypted: one that holds several fields is opened once.
#[derive(Default)]
pub(super) struct OpenedValues<'c> {
    kept: Vec<(usize, &'c Decryptor, Result<Secret, DecryptFailure>)>,
    /// A value was plain, and accepted as such.
    pub(super) any_plain: bool,
}

impl<'c> OpenedValues<'c> {
    /// Takes the steps from a value to the text of a field; `None` if there is none. Costs microseconds if
    /// the value is encrypted, so it is done where the row is at hand.
    pub(super) fn text<'r>(
        &mut self,
        column: &'c Column,
        value: &'r str,
    ) -> Result<Option<FieldText<'r>>, NoText> {
        let steps = &column.steps;
        let (whole, leaf) = match &steps.decrypt {
            Some(decrypt) if decrypt.decryptor.format().seals_leaves() => (None, Some(decrypt)),
            whole => (whole.as_ref(), None),
        };
        let mut text = match whole {
            Some(decrypt) => FieldText::Opened(self.open(column, decrypt, value)?),
            None => FieldText::AsItIs(value),
        };
        if let Some(member) = &steps.pick {
            // An encrypted nothing is no document.
            if text.as_str().trim().is_empty() {
                return Ok(None);
            }
            match document::pick(text.as_str(), member)? {
                Some(picked) if column.field.is_token() && !picked.may_be_token => {
                    return Err(NoText::Unreadable(UnreadableCause::NotScalar));
                }
                Some(picked) => text = FieldText::Picked(picked.text),
                None => return Ok(None),
            }
        }
        if let Some(decrypt) = leaf.filter(|_| !text.as_str().is_empty()) {
            let wire = Wire {
                text: text.as_str(),
                is_bytes: false,
                companions: &[],
            };
            text = FieldText::Opened(self.unseal(&decrypt.decryptor, wire).map_err(NoText::Sealed)?);
        }
        if let Some(prefix) = &steps.strip_prefix
            && let Some(rest) = text.as_str().strip_prefix(prefix.as_str())
        {
            text = FieldText::Picked(Zeroizing::new(rest.to_owned()));
        }
        // Empty is how many programs write "none", encrypted or not.
        Ok(Some(text).filter(|text| !text.as_str().is_empty()))
    }

    fn open(&mut self, column: &Column, decrypt: &'c Decrypt, value: &str) -> Result<Secret, NoText> {
        let (position, decryptor) = (column.position, &decrypt.decryptor);
        let known = self
            .kept
            .iter()
            .find(|(at, with, _)| *at == position && *with == decryptor);
        if let Some((_, _, opened)) = known {
            return opened.clone().map_err(NoText::Sealed);
        }
        let wire = Wire {
            text: value,
            is_bytes: column.form == Form::Bytes,
            companions: &decrypt.companions,
        };
        let opened = self.unseal(decryptor, wire);
        // Kept only if another field may ask for it.
        if column.steps.pick.is_some() {
            self.kept.push((position, decryptor, opened.clone()));
        }
        opened.map_err(NoText::Sealed)
    }

    fn unseal(&mut self, decryptor: &Decryptor, wire: Wire<'_>) -> Result<Secret, DecryptFailure> {
        let opened = decryptor.open(wire)?;
        self.any_plain |= opened.was_plain;
        Ok(opened.text)
    }
}
