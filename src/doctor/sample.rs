//! The sample: a few hundred rows spread over the source, validated as a run would.

use std::collections::BTreeMap;

use super::{Area, Check, FailureClass, database};
use crate::{
    config::{Expression, Field, SourceSettings},
    domain::{LegacyToken, Login, Rule},
    reader::SourceError,
    validation::{ColumnProfile, Validator},
};

const AREA: Area = Area::Source;

/// The size of the sample.
pub(super) const ROWS: u32 = 300;

/// Checks the mapping and the token columns by the sample.
pub(super) fn checks(settings: &SourceSettings, validator: &Validator, rows: &[LegacyToken]) -> Vec<Check> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut profile = ColumnProfile::default();
    for row in rows {
        profile.add(row);
    }
    vec![mapping(settings, validator, rows, &profile), tokens(&profile)]
}

/// Returns true if most rows would fail because their app is not mapped.
pub(super) fn is_about_apps(check: &Check) -> bool {
    let says = format!(" would fail as {}:", Rule::AppNotMapped.code());
    check.name == "mapping" && check.class.is_some() && check.detail.contains(&says)
}

pub(super) fn unreadable(error: SourceError) -> Check {
    const NAME: &str = "mapping";
    match error {
        SourceError::Database(failure) => database::broken(AREA, NAME, &failure),
        error => {
            let advice = "correct the expressions under [source.columns] and `source.where`";
            Check::failed(AREA, FailureClass::Configuration, NAME, error.to_string(), advice)
        }
    }
}

/// Rows that fail for the same reason.
struct Failing {
    rows: usize,
    /// The reason of the first one, with advice.
    reason: String,
}

fn mapping(
    settings: &SourceSettings,
    validator: &Validator,
    rows: &[LegacyToken],
    profile: &ColumnProfile,
) -> Check {
    const NAME: &str = "mapping";
    let count = rows.len();
    let failing = failing(settings, validator, rows);
    let most = failing.iter().max_by_key(|(_, failing)| failing.rows);
    if let Some((code, failing)) = most.filter(|(_, failing)| failing.rows * 2 > count) {
        let place = field_of(code, &failing.reason).map_or_else(String::new, |field| place(settings, field));
        let detail = format!(
            "{place}{} of {count} sampled rows would fail as {code}: {}",
            failing.rows, failing.reason
        );
        let advice = "correct the mapping or the rows, and check all rows with `migrate --dry-run`";
        return Check::failed(AREA, FailureClass::Configuration, NAME, detail, advice);
    }
    let (durations, expiries) = profile.durations();
    if profile.holds_durations() {
        let detail = format!(
            "{}{durations} of {expiries} sampled expiries are before 2005: they look like durations",
            place(settings, Field::AccessTokenExpiry)
        );
        let advice = Rule::ExpiryImplausible.advice();
        return Check::failed(AREA, FailureClass::Configuration, NAME, detail, advice);
    }
    if failing.is_empty() {
        return Check::ok(AREA, NAME, format!("all {count} sampled rows would be uploaded"));
    }
    let failed: usize = failing.values().map(|failing| failing.rows).sum();
    let codes: Vec<String> = failing
        .iter()
        .map(|(code, failing)| format!("{code} ({})", failing.rows))
        .collect();
    Check::warning(
        AREA,
        NAME,
        format!(
            "{failed} of {count} sampled rows would fail: {}",
            codes.join(", ")
        ),
        "`migrate --dry-run` checks all rows, and `failures` lists them",
    )
}

/// Counts by code the rows that local rules reject. Rows that a run would first complete by a lookup are left
/// out.
fn failing(
    settings: &SourceSettings,
    validator: &Validator,
    rows: &[LegacyToken],
) -> BTreeMap<String, Failing> {
    let now = chrono::Utc::now().timestamp();
    let mut found: BTreeMap<String, Failing> = BTreeMap::new();
    for row in rows {
        let mut row = row.clone();
        if let (None, Some(login_id)) = (&row.user_id, row.login.id()) {
            // Only the API knows the user; any ID passes the local rules.
            row.user_id = Some(login_id.reveal().to_owned());
            row.login = Login::Resolved(login_id.clone());
        }
        let Err(reason) = validator.check(&row, now) else {
            continue;
        };
        let is_fetched = settings.provider.is_some() && reason.code == Rule::NoToken.code();
        // Counted by another check.
        let is_counted = reason.code == Rule::NotDecryptable.code();
        if !is_fetched && !is_counted {
            let failing = found.entry(reason.code.into_owned()).or_insert(Failing {
                rows: 0,
                reason: reason.text,
            });
            failing.rows += 1;
        }
    }
    found
}

/// Returns the key of a field and its mapping.
fn place(settings: &SourceSettings, field: Field) -> String {
    let mapped = match settings.columns.get(&field).map(|mapping| &mapping.expression) {
        Some(Expression::Column(name)) => format!(" (the column \"{name}\")"),
        Some(Expression::Sql(_)) => " (an expression)".to_owned(),
        None => " (not mapped)".to_owned(),
    };
    format!("`{}`{mapped}: ", field.key())
}

/// Returns the field that a reason is about. If the code does not tell, the text names it.
fn field_of(code: &str, reason: &str) -> Option<Field> {
    let says = |part: &str| reason.contains(part);
    let quoted = |field: &Field| says(&format!("`{}`", field.name()));
    if code == Rule::UnreadableValue.code() {
        return Field::COLUMNS.into_iter().find(quoted);
    }
    let field = match code.split('_').next().unwrap_or_default() {
        "expiry" => Field::AccessTokenExpiry,
        "scopes" => Field::Scopes,
        "app" => Field::App,
        "token" if says("(refresh token)") => Field::RefreshToken,
        "token" if says("(ID token)") => Field::IdToken,
        "token" => Field::AccessToken,
        "id" if says("(app)") => Field::App,
        "id" if says("(tenant)") => Field::TenantId,
        "id" | "user" => Field::UserId,
        _ => match code {
            "no_app" => Field::App,
            "no_subject" => Field::UserId,
            "no_token" => Field::AccessToken,
            _ => return None,
        },
    };
    Some(field)
}

/// Checks whether the token columns look like tokens.
fn tokens(profile: &ColumnProfile) -> Check {
    const NAME: &str = "tokens";
    let suspicions = profile.suspicions();
    if suspicions.is_empty() {
        return Check::ok(AREA, NAME, "the token columns look normal");
    }
    let list: Vec<String> = suspicions.iter().map(ToString::to_string).collect();
    Check::warning(
        AREA,
        NAME,
        list.join("; "),
        "compare one of them with the provider's documentation: encrypted tokens need `decrypt`, and another \
         column may be the right one",
    )
}
