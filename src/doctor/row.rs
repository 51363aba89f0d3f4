//! One row, taken through everything but sending: what was read, what the rules say, and the request that
//! would be sent, with every secret masked.

use crate::{
    config::{Field, Settings},
    descope,
    domain::{Expiry, LegacyToken, Login, Reason, Rule, Scopes, SourceKey},
    postgres::Patience,
    reader::{Source, SourceError},
    secret::{FingerprintKey, Secret},
    validation::Validator,
};

/// What became of a row.
#[derive(Debug)]
pub struct RowExamination {
    /// The row's key, as the source prints it; what was asked for may be another text of it.
    pub key: SourceKey,
    /// The mapped fields and what was read for them; secrets by length and shape.
    pub fields: Vec<(&'static str, String)>,
    /// The warnings of the row, or the reason why it would not be sent.
    pub verdict: Result<Vec<Rule>, Reason>,
    /// The app that it would go to.
    pub app_id: Option<String>,
    /// The token as it would be sent, with secrets masked; `None` if it would not be sent.
    pub request: Option<String>,
}

/// Reads one row and examines it; `None` if there is no such row, or `source.where` leaves it out.
///
/// # Errors
/// If the source cannot be read.
pub async fn examine_row(settings: &Settings, key: &str) -> Result<Option<RowExamination>, SourceError> {
    let mut source = Source::open(&settings.source, "tokenferry check", &Patience::none()).await?;
    let page = source.rows(&[SourceKey::from(key)]).await?;
    let row = page.and_then(|page| page.tokens.into_iter().next());
    Ok(row.map(|row| examine(settings, &row)))
}

fn examine(settings: &Settings, row: &LegacyToken) -> RowExamination {
    // The fingerprint is not compared with a ledger.
    let validator = Validator::new(settings.apps.clone(), FingerprintKey::new(&[0; 32], None))
        .tolerating(settings.tolerated)
        .fetching(settings.source.provider.clone());
    let now = chrono::Utc::now().timestamp();
    let mut known = row.clone();
    if let (None, Some(login_id)) = (&row.user_id, row.login.id()) {
        // Only the API knows the user; any ID passes the local rules.
        known.user_id = Some("LOOKED-UP".to_owned());
        known.login = Login::Resolved(login_id.clone());
    }
    let checked = validator.as_sent(&known, now);
    let request = checked.as_ref().ok().map(|sent| {
        let masked = masked(&known);
        let encoded = descope::encode(&masked, &sent.destination, sent.lifetime.expiry);
        String::from_utf8_lossy(encoded.reveal()).into_owned()
    });
    let verdict = checked.as_ref().map_or_else(
        |reason| Err(reason.clone()),
        |_| {
            // A row whose token is fetched has warnings only after that.
            let warnings = validator.check(&known, now).unwrap_or_default();
            Ok(warnings.iter().collect())
        },
    );
    RowExamination {
        key: row.key.clone(),
        fields: fields(settings, row),
        verdict,
        app_id: row
            .app
            .as_deref()
            .and_then(|name| settings.apps.resolve(name))
            .filter(|id| !row.is_within(id))
            .map(str::to_owned),
        request,
    }
}

/// What was read for every mapped field.
fn fields(settings: &Settings, row: &LegacyToken) -> Vec<(&'static str, String)> {
    // A column of tokens may be mapped to a field that is none.
    let name = |name: &str| {
        if row.is_within(name) {
            shape(name)
        } else {
            format!("\"{name}\"")
        }
    };
    let text = |text: Option<&str>| text.map_or_else(|| "none".to_owned(), name);
    let secret = |secret: &Option<Secret>| {
        secret
            .as_ref()
            .map_or_else(|| "none".to_owned(), |secret| shape(secret.reveal()))
    };
    let show = |field: &Field| match field {
        Field::App => text(row.app.as_deref()),
        Field::UserId => text(row.user_id.as_deref()),
        Field::LoginId => row
            .login
            .id()
            .map_or_else(|| "none".to_owned(), |id| shape(id.reveal())),
        Field::TenantId => text(row.tenant_id.as_deref()),
        Field::AccessToken => secret(&row.access_token),
        Field::RefreshToken => secret(&row.refresh_token),
        Field::IdToken => secret(&row.id_token),
        Field::AccessTokenExpiry => match row.expiry {
            Expiry::Unknown => "unknown".to_owned(),
            Expiry::At(seconds) => chrono::DateTime::from_timestamp(seconds, 0).map_or_else(
                || seconds.to_string(),
                |time| time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            ),
            Expiry::Never => "never".to_owned(),
            Expiry::Unreadable => "no point in time".to_owned(),
        },
        Field::AccessTokenType => text(row.access_token_type.as_deref()),
        Field::Scopes => match &row.scopes {
            Scopes::Absent => "none".to_owned(),
            Scopes::Listed(scopes) if scopes.iter().any(|scope| row.is_within(scope)) => {
                shape(&scopes.join(" "))
            }
            Scopes::Listed(scopes) => scopes.join(" "),
            Scopes::Unreadable => "no list of scopes".to_owned(),
        },
        Field::ExternalIdentifier => text(row.external_identifier.as_deref()),
        Field::GrantedBy => text(row.granted_by.as_deref()),
        Field::UpdatedAt => row
            .version
            .get()
            .map_or_else(|| "none".to_owned(), |version| version.to_string()),
        Field::Provider => text(row.provider.as_deref()),
    };
    let mapped = settings.source.columns.keys();
    mapped.map(|field| (field.name(), show(field))).collect()
}

/// The length of a secret and the kinds of characters in it.
fn shape(secret: &str) -> String {
    let has = |is_kind: fn(char) -> bool| secret.chars().any(is_kind);
    let found: Vec<&str> = [
        ("letters", has(|c| c.is_ascii_alphabetic())),
        ("digits", has(|c| c.is_ascii_digit())),
        ("punctuation", has(|c| c.is_ascii_punctuation())),
        ("white space", has(char::is_whitespace)),
        ("others", has(|c| !c.is_ascii())),
    ]
    .into_iter()
    .filter_map(|(name, is_there)| is_there.then_some(name))
    .collect();
    format!("{} characters: {}", secret.chars().count(), found.join(", "))
}

/// The same token with its secrets replaced by their lengths, wherever they are. What decides its destination
/// holds none, or it would not be sent.
fn masked(row: &LegacyToken) -> LegacyToken {
    let length = |text: &str| format!("({} characters)", text.chars().count());
    let mask = |secret: &Option<Secret>| secret.as_ref().map(|secret| Secret::new(length(secret.reveal())));
    let name = |name: &str| {
        if row.is_within(name) {
            length(name)
        } else {
            name.to_owned()
        }
    };
    let scopes = match &row.scopes {
        Scopes::Listed(scopes) => Scopes::Listed(scopes.iter().map(|scope| name(scope)).collect()),
        other => other.clone(),
    };
    LegacyToken {
        scopes,
        access_token_type: row.access_token_type.as_deref().map(|kind| name(kind).into()),
        granted_by: row.granted_by.as_deref().map(name),
        access_token: mask(&row.access_token),
        refresh_token: mask(&row.refresh_token),
        id_token: mask(&row.id_token),
        ..row.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn a_shape_tells_kinds_and_no_characters() {
        assert_eq!(shape("ya29.ab"), "7 characters: letters, digits, punctuation");
        assert_eq!(shape(" é"), "2 characters: white space, others");
    }
}
