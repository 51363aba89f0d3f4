//! User resolver: finds the users of login IDs in the cache of the ledger, then by searches for many at once,
//! then by one request for each that no search found.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use fail::fail_point;
use futures_util::{StreamExt, TryStreamExt, stream};
use tracing::{debug, warn};

use super::{
    Answered, LookupClient, LookupError, Quota,
    match_users::{Match, has, match_users},
};
use crate::{
    config::{ApiSettings, LookupSettings},
    descope::{Client, USER_NOT_FOUND, User},
    domain::{LegacyToken, Login, LoginId, Unresolved},
    ledger::{Ledger, LedgerError},
    secret::Fingerprint,
};

/// The description of a failure.
const WHAT: &str = "the users of login IDs could not be looked up";

/// Number of responses about another user after which the login ID counts as unknown.
const ODD_ANSWERS: u8 = 2;

/// The resolver of the users of rows that have only a login ID.
#[derive(Debug)]
pub struct UserResolver {
    lookup_client: Arc<LookupClient>,
    ledger: Ledger,
    project_id: String,
    settings: LookupSettings,
}

/// A login ID, and its digest in the ledger.
type Wanted = (LoginId, Fingerprint);

type Found = (LoginId, Result<String, Unresolved>);

impl UserResolver {
    /// Returns a resolver for one run. It first forgets the users whose tokens the API rejected, so that
    /// their login IDs are looked up again.
    ///
    /// # Errors
    /// If the database of the ledger stays unreachable.
    pub async fn new(
        lookup_client: Arc<LookupClient>,
        ledger: Ledger,
        settings: &ApiSettings,
    ) -> Result<Self, LedgerError> {
        ledger.forget_refused_users(&USER_NOT_FOUND).await?;
        Ok(Self {
            lookup_client,
            ledger,
            project_id: settings.project_id.clone(),
            settings: settings.lookup,
        })
    }

    /// Sets the user of each row that needs one, or the reason why there is none. A row that names its user
    /// keeps it.
    ///
    /// # Errors
    /// If the run is stopped, or the database of the ledger stays unreachable. No row has changed then.
    pub async fn resolve(&self, tokens: &mut [LegacyToken]) -> Result<(), LookupError> {
        let wanted: HashSet<LoginId> = tokens.iter().filter_map(needed).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let found = self.users(wanted).await?;
        for token in tokens {
            let Some(login_id) = needed(token) else { continue };
            match found.get(login_id) {
                Some(Ok(user_id)) => {
                    token.login = Login::Resolved(login_id.clone());
                    token.user_id = Some(user_id.clone());
                }
                Some(Err(why)) => token.login = Login::Unresolved(login_id.clone(), why.clone()),
                None => {}
            }
        }
        Ok(())
    }

    async fn users(
        &self,
        wanted: HashSet<LoginId>,
    ) -> Result<HashMap<LoginId, Result<String, Unresolved>>, LookupError> {
        let key = self.ledger.key();
        let wanted: Vec<Wanted> = wanted
            .into_iter()
            .map(|login_id| {
                let digest = key.login_digest(&self.project_id, login_id.reveal());
                (login_id, digest)
            })
            .collect();
        let digests: Vec<Fingerprint> = wanted.iter().map(|(_, digest)| *digest).collect();
        let remembered = self.ledger.known_users(&digests, self.settings.remember).await?;
        let (known, mut unknown): (Vec<Wanted>, Vec<Wanted>) = wanted
            .into_iter()
            .partition(|(_, digest)| remembered.contains_key(digest));
        // The order is fixed, so that the same rows send the same requests.
        unknown.sort_unstable();
        if !unknown.is_empty() {
            debug!(
                remembered = known.len(),
                asked = unknown.len(),
                "looking up users"
            );
        }
        let lists: Vec<Vec<Wanted>> = unknown
            .chunks(self.settings.per_request)
            .map(<[Wanted]>::to_vec)
            .collect();
        let asked: Vec<Vec<Found>> = stream::iter(lists)
            .map(|list| self.list(list))
            .buffer_unordered(self.settings.concurrency)
            .try_collect()
            .await?;
        let known = known.into_iter().filter_map(|(login_id, digest)| {
            let user_id = remembered.get(&digest)?;
            Some((login_id, Ok(user_id.clone())))
        });
        Ok(known.chain(asked.into_iter().flatten()).collect())
    }

    /// Looks up a list, and records the results at once, so that they are not looked up again after an
    /// interruption.
    async fn list(&self, list: Vec<Wanted>) -> Result<Vec<Found>, LookupError> {
        let digests: HashMap<LoginId, Fingerprint> = list.iter().cloned().collect();
        let mut lists = vec![list.into_iter().map(|(login_id, _)| login_id).collect::<Vec<_>>()];
        let mut found: Vec<Found> = Vec::with_capacity(digests.len());
        while let Some(list) = lists.pop() {
            let matches = match self.search(&list).await? {
                Some(users) => match_users(&list, &users),
                None if list.len() > 1 => {
                    let mut list = list;
                    let rest = list.split_off(list.len() / 2);
                    lists.extend([list, rest]);
                    continue;
                }
                None => match_users(&list, &[]),
            };
            for (login_id, matched) in list.into_iter().zip(matches) {
                let user = match matched {
                    Match::User(user_id) => Ok(user_id),
                    Match::Unresolved(Unresolved::Unknown) => self.lookup_single(&login_id).await?,
                    Match::Unresolved(why) => Err(why),
                };
                found.push((login_id, user));
            }
        }
        let remembered: Vec<(Fingerprint, String)> = found
            .iter()
            .filter_map(|(login_id, user)| {
                let user_id = user.as_ref().ok()?;
                Some((*digests.get(login_id)?, user_id.clone()))
            })
            .collect();
        self.ledger.remember_users(&remembered).await?;
        fail_point!("resolved");
        Ok(found)
    }

    /// Returns all users that have one of the login IDs, page after page; `None` if the API rejects the list.
    async fn search(&self, list: &[LoginId]) -> Result<Option<Vec<User>>, LookupError> {
        let asked: Vec<&str> = list.iter().map(LoginId::reveal).collect();
        let mut users: HashMap<String, User> = HashMap::new();
        for number in 0.. {
            let answered = self
                .lookup_client
                .ask(Quota::Search, WHAT, |client| client.search_users(&asked, number));
            let page = match answered.await? {
                Answered::Found(page) => page,
                Answered::Absent => break,
                Answered::Refused(refusal) => {
                    if list.len() > 1 {
                        warn!(
                            code = %refusal.code, status = refusal.status, login_ids = list.len(),
                            "the API rejects a search for this many login IDs, or one of them, retrying in halves; if this \
                             repeats, lower `api.lookup.per_request`"
                        );
                    }
                    return Ok(None);
                }
            };
            let (before, of_page) = (users.len(), page.users.len());
            users.extend(page.users.into_iter().map(|user| (user.id.clone(), user)));
            let is_last = match page.total {
                Some(total) => users.len() as u64 >= total,
                None => of_page < Client::SEARCH_LIMIT as usize,
            };
            // A page without new users is the last one, even if the total is higher.
            if is_last || users.len() == before {
                break;
            }
        }
        Ok(Some(users.into_values().collect()))
    }

    /// Looks up a login ID that no search found. The comparison of the API decides, unless it returns another
    /// user.
    async fn lookup_single(&self, login_id: &LoginId) -> Result<Result<String, Unresolved>, LookupError> {
        for _ in 0..ODD_ANSWERS {
            let answered = self.lookup_client.ask(Quota::Users, WHAT, |client| {
                client.user_with_login_id(login_id.reveal())
            });
            match answered.await? {
                Answered::Found(user) if has(&user, login_id) => return Ok(Ok(user.id)),
                Answered::Found(_) => {
                    warn!("the API returned a user without the requested login ID, ignoring that user");
                }
                Answered::Absent => break,
                Answered::Refused(refusal) => return Ok(Err(Unresolved::Refused(refusal.code.into_owned()))),
            }
        }
        Ok(Err(Unresolved::Unknown))
    }
}

/// Returns the login ID of a row that names no user, if the row has one.
fn needed(token: &LegacyToken) -> Option<&LoginId> {
    let blank = |text: &str| text.trim().is_empty();
    let has_user = !token.user_id.as_deref().is_none_or(blank);
    match &token.login {
        login @ Login::Id(_) if !has_user => login.id(),
        _ => None,
    }
}
