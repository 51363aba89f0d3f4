//! Rules about IDs, which make up the destination of a row.

use super::{Found, has_control, in_part, is_padded, is_placeholder, is_plain, not_readable, reason};
use crate::{
    config::AppMap,
    domain::{
        Destination, LegacyToken, Login, LoginId, Reason, Rule, ScopeSet, Subject, Unresolved, quotable,
    },
};

/// The maximum length in bytes, far above any Descope ID. The API's own limit is not published.
const LONGEST_ID: usize = 512;

/// Returns the destination of a row. A row with a user is a user token, within its tenant if it has one; a
/// row with only a tenant is a tenant token.
pub(in crate::validation) fn destination(token: &LegacyToken, apps: &AppMap) -> Result<Destination, Reason> {
    if let Some(unreadable) = token.unreadable.filter(|unreadable| unreadable.decides_place) {
        return Err(not_readable(unreadable));
    }
    let name = token
        .app
        .as_ref()
        .filter(|name| !is_blank(name))
        .ok_or_else(|| reason(Rule::NoApp))?;
    let app_id = apps.resolve(name).ok_or_else(|| {
        let what = format!("the app \"{}\" has no entry under [apps]", quotable(name));
        Reason::of(Rule::AppNotMapped, &what)
    })?;
    let user_id = token.user_id.as_ref().filter(|id| !is_blank(id));
    let tenant_id = token.tenant_id.as_ref().filter(|id| !is_blank(id));
    // A row that lost its user must not be uploaded as a tenant token.
    if user_id.is_none()
        && let Some(reason) = unresolved(&token.login)
    {
        return Err(reason);
    }
    let subject = match (user_id, tenant_id) {
        (Some(_), _) => Subject::User,
        (None, Some(_)) if token.user_id.is_some() || token.login != Login::Absent => {
            return Err(reason(Rule::UserBlank));
        }
        (None, Some(_)) => Subject::Tenant,
        (None, None) => return Err(reason(Rule::NoSubject)),
    };
    // IDs that are too long are not stored in the ledger.
    for (part, id) in [
        ("app", Some(app_id)),
        ("user", user_id.map(String::as_str)),
        ("tenant", tenant_id.map(String::as_str)),
    ] {
        if id.is_some_and(|id| id.len() > LONGEST_ID) {
            return Err(in_part(Rule::IdTooLong, part));
        }
    }
    // A destination is stored, shown and logged, so no part of it may be a token.
    for (part, id) in [
        ("app", Some(app_id)),
        ("user", user_id.map(String::as_str)),
        ("tenant", tenant_id.map(String::as_str)),
        ("external identifier", token.external_identifier.as_deref()),
    ] {
        if id.is_some_and(|id| token.is_within(id)) {
            return Err(in_part(Rule::IdIsToken, part));
        }
    }
    Ok(Destination {
        subject,
        app_id: app_id.to_owned(),
        user_id: user_id.cloned(),
        tenant_id: tenant_id.cloned(),
        external_identifier: token.external_identifier.clone(),
        scopes: ScopeSet::of(&token.scopes),
    })
}

/// Returns the reason why a login ID has no user. The text does not repeat it, as it is personal data.
fn unresolved(login: &Login) -> Option<Reason> {
    match login {
        Login::Absent | Login::Resolved(_) => None,
        Login::Id(login_id) if is_blank(login_id.reveal()) => None,
        Login::Id(login_id) if login_id.reveal().len() > LoginId::LONGEST => {
            Some(in_part(Rule::IdTooLong, "login ID"))
        }
        Login::Unresolved(login_id, Unresolved::Unknown) if is_padded(login_id.reveal()) => {
            Some(in_part(Rule::IdPadded, "login ID"))
        }
        // A login ID that was not looked up counts as unknown.
        Login::Id(_) | Login::Unresolved(_, Unresolved::Unknown) => Some(reason(Rule::LoginIdUnknown)),
        Login::Unresolved(_, Unresolved::Ambiguous) => Some(reason(Rule::LoginIdAmbiguous)),
        Login::Unresolved(_, Unresolved::Refused(code)) => Some(in_part(Rule::LoginIdRefused, code)),
    }
}

/// Checks the form of the IDs.
pub(super) fn check(token: &LegacyToken, destination: &Destination, found: &mut Found) -> Result<(), Reason> {
    let ids = [
        ("app", Some(destination.app_id.as_str())),
        ("user", destination.user_id.as_deref()),
        ("tenant", destination.tenant_id.as_deref()),
    ];
    for (part, id) in ids {
        let Some(id) = id.filter(|id| !is_plain(id)) else {
            continue;
        };
        if is_padded(id) {
            found.broken(Rule::IdPadded, Some(part))?;
        } else if has_control(id) {
            found.broken(Rule::IdControlCharacters, Some(part))?;
        }
    }
    // Not for the app: it is an ID from [apps], or the API knows whether it exists.
    for (part, id) in [
        ("user", destination.user_id.as_deref()),
        ("tenant", destination.tenant_id.as_deref()),
        ("external identifier", destination.external_identifier.as_deref()),
    ] {
        if id.is_some_and(is_placeholder) {
            found.broken(Rule::IdPlaceholder, Some(part))?;
        }
    }
    if destination.tenant_id.is_none() && token.tenant_id.is_some() {
        found.broken(Rule::TenantBlank, None)?;
    }
    if let Some(external) = destination.external_identifier.as_deref() {
        let unclean = external.len() > LONGEST_ID
            || !is_plain(external) && (is_padded(external) || has_control(external));
        if unclean {
            found.broken(Rule::ExternalIdentifierUnclean, None)?;
        }
    }
    Ok(())
}

fn is_blank(text: &str) -> bool {
    // Usually the first character decides.
    !text.starts_with(|first: char| first.is_ascii_graphic()) && text.trim().is_empty()
}
