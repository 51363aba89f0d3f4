//! The local rules: what must be true of a row before it may be sent.

use crate::{
    config::AppMap,
    model::{Destination, Expiry, LegacyToken, Reason, Scopes, Subject},
};

/// Where the row goes. A row with a user is a user token, with its tenant if it has one; a row with only a tenant is a
/// tenant token.
pub(super) fn destination(token: &LegacyToken, apps: &AppMap) -> Result<Destination, Reason> {
    let blank = |text: &String| text.trim().is_empty();
    let name = token.app.as_ref().filter(|name| !blank(name)).ok_or_else(|| {
        Reason::validation(
            "no_app",
            "the row names no app: fill the column mapped to `app`, or exclude the row",
        )
    })?;
    let app_id = apps.resolve(name).ok_or_else(|| {
        let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        Reason::validation(
            "app_not_mapped",
            format!("the app \"{name}\" has no entry under [apps]: add one, or exclude the row"),
        )
    })?;
    let user_id = token.user_id.clone().filter(|id| !blank(id));
    let tenant_id = token.tenant_id.clone().filter(|id| !blank(id));
    let subject = match (&user_id, &tenant_id) {
        (Some(_), _) => Subject::User,
        (None, Some(_)) => Subject::Tenant,
        (None, None) => {
            return Err(Reason::validation(
                "no_subject",
                "the row names neither a user nor a tenant: fill one of the two columns, or exclude the row",
            ));
        }
    };
    Ok(Destination {
        subject,
        app_id: app_id.to_owned(),
        user_id,
        tenant_id,
        external_identifier: token.external_identifier.clone(),
    })
}

/// Whether the rest of the row may be sent, and the expiry to send with it: seconds since 1970 that fit the API's
/// int32, or nothing where the source knows none.
pub(super) fn sendable(token: &LegacyToken) -> Result<Option<i32>, Reason> {
    if token.access_token.is_none() && token.refresh_token.is_none() {
        return Err(Reason::validation(
            "no_token",
            "the row has neither an access token nor a refresh token: let the user connect again, or exclude the row",
        ));
    }
    if token.scopes == Scopes::Unreadable {
        return Err(Reason::validation(
            "scopes_unreadable",
            "the scopes are no list: they must be text[], a JSON array of texts, or text separated by spaces or commas",
        ));
    }
    match token.expiry {
        Expiry::Unknown => Ok(None),
        Expiry::At(seconds) => match i32::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Ok(Some(seconds)),
            _ => Err(Reason::validation(
                "expiry_out_of_range",
                "the expiry is before 1970 or after 2038-01-19, which the API does not take: correct it, or empty it if it is unknown",
            )),
        },
        Expiry::Unreadable => Err(Reason::validation(
            "expiry_unreadable",
            "the expiry is no point in time: it must be a timestamp, or epoch seconds or milliseconds",
        )),
    }
}
