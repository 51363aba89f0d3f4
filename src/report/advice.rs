//! Advice for failures, by code.

use crate::domain::{Rule, Superseded};

/// Returns advice for a known code; `None` if only the API's own text explains it.
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
            "the API rejects the token as malformed: compare the row with one that was uploaded"
        }
        "E152110" => {
            "the provider or the API considers the token invalid: the user has to connect again, unless the outbound app \
             uses another client than the one that the token was issued to"
        }
        "batch_rejected" => {
            "fix the token that was rejected in the same batch, or set `batch.on_failure` to \"isolate\""
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
            "something else has written there since the upload, or Descope stores the field differently: check the \
             token in its console"
        }
        "last_refresh_failed" => {
            "check in Descope's console why the refresh failed: the outbound app must use the client that the token \
             was issued to, and a refresh token that the old system has used is invalid"
        }
        "token_missing" => "the token, its user or its tenant was deleted since the upload",
        "replaced_another"
        | "outcome_since"
        | "another_token_shown"
        | "refreshed_since"
        | "changed_since"
        | "not_shown"
        | "id_not_shown" => "check the token in Descope's console, and delete it there if necessary",
        Superseded::NEWER_ROW => {
            "the API cannot distinguish tokens with the same app, user, tenant, scopes and external identifier. If they are \
             separate connections, such as two accounts of one user, map `external_identifier`; if the older row is \
             obsolete, exclude it with `source.where`"
        }
        Superseded::NEWER_ELSEWHERE => {
            "a destination holds one token: exclude such rows from one of the migrations with `source.where`"
        }
        Superseded::OLDER_VERSION => {
            "the source may be a lagging replica, or restored from a backup. If it is right, `tokenferry migrate \
             --allow-older` sends such rows"
        }
        Superseded::OTHER_MIGRATION => {
            "map `updated_at` in both migrations, or exclude such rows from one of them with `source.where`"
        }
        "outcome_unknown" => "run `tokenferry migrate` again: it reads back before it sends anything",
        "connect_failed" | "connection_lost" | "timeout" => {
            "check the network and the API's status, then run `tokenferry migrate` again"
        }
        _ if code.starts_with("http_5") => "the API had a temporary problem: run `tokenferry migrate` again",
        _ => return None,
    })
}
