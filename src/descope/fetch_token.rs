//! Fetch of the token at a destination.

use serde::{Deserialize, Serialize};

use super::{Client, LookupOutcome, Refusal, StoredToken};
use crate::{
    domain::{Probe, Subject},
    metrics::Purpose,
};

/// The last created token of an owner.
const USER_LATEST: &str = "v1/mgmt/outbound/app/user/token/latest";
const TENANT_LATEST: &str = "v1/mgmt/outbound/app/tenant/token/latest";
/// The token with exactly the requested scopes.
const USER_SCOPED: &str = "v1/mgmt/outbound/app/user/token";
const TENANT_SCOPED: &str = "v1/mgmt/outbound/app/tenant/token";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FetchRequest<'a> {
    app_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<FetchOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_identifier: Option<&'a str>,
    /// `/latest` rejects the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    scopes: Option<&'a [String]>,
}

/// The fetch options. `forceRefresh` is never sent: a read-back must not change the stored token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FetchOptions {
    with_refresh_token: bool,
}

/// The way in which a token of an owner is selected.
#[derive(Clone, Copy)]
enum By {
    Scopes,
    Recency,
}

/// The response. A missing token is reported by status and code, so a response without a token is unusable.
#[derive(Deserialize)]
struct FetchAnswer {
    token: StoredToken,
}

impl Client {
    /// Fetches the token at a destination. A token with scopes is requested by exactly these; if there is
    /// none, the latest token of the owner is requested, because the API may write scopes in another form.
    /// The token is absent only if both are, and the caller must compare the result with the probe.
    ///
    /// A fetch makes the API refresh a token whose access token has expired: see
    /// [`RefreshMargin`](crate::domain::RefreshMargin). `pays` is awaited before a second request is sent; if
    /// it returns false, there is no result.
    pub async fn latest(
        &self,
        probe: &Probe,
        pays: impl AsyncFnOnce() -> bool,
    ) -> LookupOutcome<StoredToken> {
        if probe.scopes.is_empty() {
            return self.fetch(probe, By::Recency).await;
        }
        match self.fetch(probe, By::Scopes).await {
            LookupOutcome::Absent if pays().await => self.fetch(probe, By::Recency).await,
            LookupOutcome::Absent => no_answer("not_asked", "the second of two requests was not sent"),
            other => other,
        }
    }

    async fn fetch(&self, probe: &Probe, by: By) -> LookupOutcome<StoredToken> {
        let path = match (by, probe.subject) {
            (By::Scopes, Subject::User) => USER_SCOPED,
            (By::Scopes, Subject::Tenant) => TENANT_SCOPED,
            (By::Recency, Subject::User) => USER_LATEST,
            (By::Recency, Subject::Tenant) => TENANT_LATEST,
        };
        let request = FetchRequest {
            app_id: &probe.app_id,
            user_id: probe.user_id.as_deref(),
            tenant_id: probe.tenant_id.as_deref(),
            options: probe.with_refresh_token.then_some(FetchOptions {
                with_refresh_token: true,
            }),
            external_identifier: probe.external_identifier.as_deref(),
            scopes: match by {
                By::Scopes => Some(probe.scopes.as_slice()),
                By::Recency => None,
            },
        };
        let request = self.http().post(self.url(path)).json(&request);
        let outcome = self.ask::<FetchAnswer>(Purpose::ReadBack, request).await;
        outcome.and_then(|FetchAnswer { mut token }| {
            if token.shows_something() {
                token.found_by_scopes = matches!(by, By::Scopes);
                LookupOutcome::Found(token)
            } else {
                no_answer("unreadable_answer", "the response contains no token")
            }
        })
    }
}

fn no_answer<T>(code: &'static str, text: &str) -> LookupOutcome<T> {
    LookupOutcome::TryAgain {
        retry_after: None,
        refusal: Refusal::wire(code, text),
    }
}
