//! The row digest of a rejected row: a keyed digest of its content, by which a later run recognises that the
//! row fails again as it was.

use super::Validator;
use crate::{
    domain::{LegacyToken, LoginId, Scopes},
    secret::{Fingerprint, Secret},
};

impl Validator {
    /// Returns the digest of a row; `None` if some of its content could not be read, so that a change might
    /// go unnoticed.
    pub(super) fn row_digest(&self, token: &LegacyToken) -> Option<Fingerprint> {
        if token.sealed.is_some() || token.unreadable.is_some() {
            return None;
        }
        let login_id = token.login.id();
        // A user that was looked up is not content of the row.
        let user_id = token.user_id.as_deref().filter(|_| login_id.is_none());
        let scopes = match &token.scopes {
            Scopes::Listed(scopes) => scopes.join("\0"),
            other => format!("{other:?}"),
        };
        // Without this, an absent value would equal an empty one.
        let present = [
            user_id.is_some(),
            login_id.is_some(),
            token.access_token.is_some(),
            token.refresh_token.is_some(),
            token.id_token.is_some(),
        ]
        .map(u8::from);
        Some(self.key.row_fingerprint(&[
            &present,
            bytes(token.app.as_deref()),
            bytes(user_id),
            bytes(login_id.map(LoginId::reveal)),
            bytes(token.tenant_id.as_deref()),
            bytes(token.provider.as_deref()),
            bytes(token.access_token.as_ref().map(Secret::reveal)),
            bytes(token.refresh_token.as_ref().map(Secret::reveal)),
            bytes(token.id_token.as_ref().map(Secret::reveal)),
            format!("{:?}", token.expiry).as_bytes(),
            bytes(token.access_token_type.as_deref()),
            scopes.as_bytes(),
            bytes(token.external_identifier.as_deref()),
            bytes(token.granted_by.as_deref()),
        ]))
    }
}

fn bytes(text: Option<&str>) -> &[u8] {
    text.unwrap_or_default().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::AppMap,
        domain::{DecryptError, DecryptFailure, Login, SourceKey},
        secret::FingerprintKey,
    };

    #[test]
    fn changes_with_the_content_but_not_with_the_user_that_was_looked_up() {
        let validator = Validator::new(AppMap::new(None), FingerprintKey::new(&[7; 32], None));
        let row = LegacyToken {
            app: Some("google".into()),
            login: Login::Id(LoginId::from("a@example.com")),
            access_token: Some(Secret::new("token")),
            ..LegacyToken::empty(SourceKey::from("1"))
        };
        let digest = validator.row_digest(&row);
        let looked_up = LegacyToken {
            login: Login::Resolved(LoginId::from("a@example.com")),
            user_id: Some("user".to_owned()),
            ..row.clone()
        };
        assert_eq!(validator.row_digest(&looked_up), digest);
        let others = [
            LegacyToken {
                app: None,
                ..row.clone()
            },
            LegacyToken {
                access_token: None,
                refresh_token: Some(Secret::new("token")),
                ..row.clone()
            },
            LegacyToken {
                login: Login::Absent,
                user_id: Some("a@example.com".to_owned()),
                ..row.clone()
            },
            LegacyToken {
                scopes: Scopes::Unreadable,
                ..row.clone()
            },
        ];
        for other in others {
            assert_ne!(validator.row_digest(&other), digest, "{other:?}");
        }
        let sealed = DecryptError {
            field: "access_token",
            why: DecryptFailure::Damaged,
        };
        let unread = LegacyToken {
            sealed: Some(sealed),
            ..row
        };
        assert_eq!(validator.row_digest(&unread), None);
    }
}
