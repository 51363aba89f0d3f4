//! Provider tokens: those that Descope stores for social logins, fetched one by one because there is no bulk
//! call.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Answered, LookupClient, LookupError, Quota};
use crate::{
    config::LookupSettings,
    descope::{ProviderToken, ProviderTokenResult},
    domain::{LoginId, Reason, Rule},
};

/// The description of a failure.
const WHAT: &str = "provider tokens could not be fetched";

/// The fetcher of provider tokens.
#[derive(Debug)]
pub struct ProviderTokenFetcher {
    lookup_client: Arc<LookupClient>,
    concurrency: usize,
    force_refresh: bool,
}

impl ProviderTokenFetcher {
    /// Returns a fetcher that shares the quota of lookups of users. With `force_refresh`, providers renew
    /// each token before it is returned.
    #[must_use]
    pub fn new(lookup_client: Arc<LookupClient>, settings: &LookupSettings, force_refresh: bool) -> Self {
        Self {
            lookup_client,
            concurrency: settings.concurrency,
            force_refresh,
        }
    }

    /// Fetches the tokens of these login IDs and providers. Returns each token, or the reason why there is
    /// none, in their order.
    ///
    /// # Errors
    /// If the run is stopped.
    pub async fn fetch(
        &self,
        wanted: Vec<(LoginId, String)>,
    ) -> Result<Vec<Result<ProviderToken, Reason>>, LookupError> {
        stream::iter(wanted)
            .map(|(login_id, provider)| self.one(login_id, provider))
            .buffered(self.concurrency)
            .try_collect()
            .await
    }

    async fn one(
        &self,
        login_id: LoginId,
        provider: String,
    ) -> Result<Result<ProviderToken, Reason>, LookupError> {
        let answered = self.lookup_client.ask(Quota::Users, WHAT, |client| {
            client.provider_token(login_id.reveal(), &provider, self.force_refresh)
        });
        let broken = |rule: Rule| Err(Reason::of(rule, rule.what()));
        Ok(match answered.await? {
            Answered::Found(ProviderTokenResult::Token(token)) => Ok(token),
            Answered::Found(ProviderTokenResult::NoUser) => broken(Rule::ProviderUserUnknown),
            Answered::Found(ProviderTokenResult::Nothing) | Answered::Absent => broken(Rule::ProviderNoToken),
            // The text of the API may repeat the login ID.
            Answered::Refused(refusal) => {
                let rule = Rule::ProviderRefused;
                Err(Reason::of(rule, &format!("{} ({})", rule.what(), refusal.code)))
            }
        })
    }
}
