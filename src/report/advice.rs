//! Advice for failures, by code.

use crate::domain::{Rule, Superseded};

/// A sentence for the codes that are known; `None` for what only the API's own words explain.
#[must_use]
pub fn advice(code: &str) -> Option<&'static str> {
    if let Some(rule) = Rule::find(code) {
        return Some(rule.advice());
    }
    Some(match code {
        "E112102" | "E062108" => {
            "the user does not exist in this Descope project: create it, or correct its ID in the source"
        }
        "E011001" | "E011002" | "E011003" | "E011004" => {
            "the API takes the token for malformed: compare the row with one that went through"
        }
        "E152110" => {
            "the provider, or the API, takes the token for dead: the user has to connect again, unless the outbound app has \
             another client than the one that the token was given to"
        }
        "batch_rejected" => {
            "fix the token that was refused in the same batch, or set `batch.on_failure` to \"isolate\""
        }
        "rate_limited" => "lower `api.rate_limit.requests`: something else uses the same quota",
        "access_token_differs"
        | "refresh_token_differs"
        | "refresh_token_lost"
        | "refresh_token_added"
        | "expiry_differs"
        | "type_differs"
        | "scopes_differ"
        | "granted_by_differs" => {
            "something else has written there since the upload, or Descope keeps the field otherwise: look at the token in its \
             console"
        }
        "last_refresh_failed" => {
            "see in Descope's console why the refresh failed: the client of the outbound app has to be the one that the token was \
             given to, and a refresh token that the old system has used up is dead"
        }
        "token_missing" => "it was deleted since the upload, or its user or tenant was",
        "replaced_another"
        | "outcome_since"
        | "another_token_shown"
        | "refreshed_since"
        | "changed_since"
        | "not_shown"
        | "id_not_shown" => {
            "look at the token in Descope's console, and delete it there if it really is to go"
        }
        Superseded::NEWER_ROW => {
            "the API cannot tell two tokens apart that have app, user, tenant, scopes and external identifier in common. If they are \
             connections of their own, such as two accounts of one user, map `external_identifier` to what tells them apart; if the older \
             row is dead, leave it out by `source.where`"
        }
        Superseded::NEWER_ELSEWHERE => {
            "one destination can hold one token: let `source.where` leave such rows to one of the migrations"
        }
        Superseded::OLDER_VERSION => {
            "the source may be a replica that lags behind, or restored from a backup. If it is right, `tokenferry migrate --allow-older` \
             sends such rows"
        }
        Superseded::OTHER_MIGRATION => {
            "map `updated_at` in both migrations, or let `source.where` leave such rows to one of them"
        }
        "outcome_unknown" => "run `tokenferry migrate` again: it asks the API before it sends anything",
        "connect_failed" | "connection_lost" | "timeout" => {
            "check the network and the API's status, then run `tokenferry migrate` again"
        }
        _ if code.starts_with("http_5") => "the API had trouble: run `tokenferry migrate` again",
        _ => return None,
    })
}
