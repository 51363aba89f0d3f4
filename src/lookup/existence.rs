//! Existence check: finds missing apps, tenants and users of tokens before the first token is sent.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Answered, LookupClient, LookupError, Quota};
use crate::{
    config::LookupSettings,
    descope::{App, AppType, Client, UserStatus},
    domain::{Item, Reason, Rule, quotable},
};

/// The description of a failure.
const WHAT: &str = "apps, tenants and users could not be looked up";

/// Maximum number of users that are remembered, so that memory is bounded for a table of any size. Beyond it,
/// some users are looked up again.
const MOST_REMEMBERED: usize = 250_000;

/// The check of all apps, tenants and users that tokens name, each once.
#[derive(Debug)]
pub struct ExistenceCheck {
    lookup_client: Arc<LookupClient>,
    settings: LookupSettings,
    sample: Option<Sample>,
    /// The problem of each app; `None` until the list was fetched.
    apps: Option<HashMap<String, Option<Reason>>>,
    tenants: Option<HashMap<String, Option<Reason>>>,
    /// The problem of each user, by a digest of the ID.
    users: HashMap<(u64, u64), Option<Rule>>,
}

/// A sample of the users, spread evenly over the rows.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    wanted: u64,
    rows: u64,
    seen: u64,
    taken: u64,
}

impl Sample {
    /// Returns a sample of `wanted` users among `rows` rows.
    #[must_use]
    pub fn new(wanted: u64, rows: u64) -> Self {
        Self {
            wanted,
            rows: rows.max(1),
            seen: 0,
            taken: 0,
        }
    }

    /// Chooses users of the next rows.
    fn choose<'a>(&mut self, rows: u64, users: &[&'a str]) -> Vec<&'a str> {
        self.seen += rows;
        let due = u128::from(self.wanted) * u128::from(self.seen) / u128::from(self.rows);
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(self.wanted);
        let count = usize::try_from(due.saturating_sub(self.taken))
            .unwrap_or(usize::MAX)
            .min(users.len());
        self.taken += count as u64;
        (0..count).map(|nth| users[nth * users.len() / count]).collect()
    }
}

impl ExistenceCheck {
    /// Returns a check of everything, or of a sample of the users.
    #[must_use]
    pub fn new(lookup_client: Arc<LookupClient>, settings: LookupSettings, sample: Option<Sample>) -> Self {
        Self {
            lookup_client,
            settings,
            sample,
            apps: None,
            tenants: None,
            users: HashMap::new(),
        }
    }

    /// Returns the problem of each of these tokens, in their order. An error hides a warning. The tokens are
    /// all that would be sent of `rows` rows.
    ///
    /// # Errors
    /// If the run is stopped.
    pub async fn page(
        &mut self,
        rows: u64,
        items: &[Item],
    ) -> Result<Vec<Option<(Rule, Reason)>>, LookupError> {
        self.ask_about_apps(items).await?;
        self.ask_about_tenants(items).await?;
        let users = self.ask_about_users(rows, items).await?;
        let broken = |reasons: &Option<HashMap<String, Option<Reason>>>, id: &str| {
            reasons
                .as_ref()
                .and_then(|reasons| reasons.get(id).cloned().flatten())
        };
        Ok(items
            .iter()
            .map(|item| {
                let place = &item.destination;
                let of_tenant = || broken(&self.tenants, place.tenant_id.as_deref()?);
                let of_user = || {
                    let user_id = place.user_id.as_deref()?;
                    users
                        .get(user_id)
                        .copied()
                        .or_else(|| self.users.get(&digest(user_id)).copied())?
                };
                if let Some(reason) = broken(&self.apps, &place.app_id).or_else(of_tenant) {
                    return Rule::find(&reason.code).map(|rule| (rule, reason));
                }
                let rule = of_user()?;
                Some((rule, Reason::of(rule, rule.what())))
            })
            .collect())
    }

    async fn ask_about_apps(&mut self, items: &[Item]) -> Result<(), LookupError> {
        let mut known = match self.apps.take() {
            Some(known) => known,
            None => {
                let listed = self.lookup_client.ask(Quota::Plain, WHAT, Client::apps).await?;
                let apps = found(listed).unwrap_or_default();
                apps.into_iter()
                    .map(|app| (app.id.clone(), judge(&app)))
                    .collect()
            }
        };
        let named: HashSet<&str> = items
            .iter()
            .map(|item| item.destination.app_id.as_str())
            .collect();
        let missing = sorted(named.into_iter().filter(|id| !known.contains_key(*id)));
        for id in missing {
            // The list may be incomplete, for example without the apps of one tenant. A request by ID is
            // conclusive.
            let app = self
                .lookup_client
                .ask(Quota::Plain, WHAT, |client| client.app(id))
                .await?;
            let reason = match found(app) {
                Some(app) => judge(&app),
                None => Some(Reason::of(
                    Rule::AppUnknown,
                    &format!("the outbound app \"{}\" does not exist", quotable(id)),
                )),
            };
            known.insert(id.to_owned(), reason);
        }
        self.apps = Some(known);
        Ok(())
    }

    async fn ask_about_tenants(&mut self, items: &[Item]) -> Result<(), LookupError> {
        let named: HashSet<&str> = items
            .iter()
            .filter_map(|item| item.destination.tenant_id.as_deref())
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        let mut known: HashMap<String, Option<Reason>> = match self.tenants.take() {
            Some(known) => known,
            None => {
                let listed = self
                    .lookup_client
                    .ask(Quota::Plain, WHAT, Client::tenants)
                    .await?;
                let ids = found(listed).unwrap_or_default();
                ids.into_iter().map(|id| (id, None)).collect()
            }
        };
        let missing = sorted(named.into_iter().filter(|id| !known.contains_key(*id)));
        for id in missing {
            let tenant = self
                .lookup_client
                .ask(Quota::Plain, WHAT, |client| client.tenant(id))
                .await?;
            let reason = found(tenant)
                .is_none()
                .then(|| Reason::of(Rule::TenantUnknown, Rule::TenantUnknown.what()));
            known.insert(id.to_owned(), reason);
        }
        self.tenants = Some(known);
        Ok(())
    }

    /// Looks up new users, and returns the problem of each.
    async fn ask_about_users(
        &mut self,
        rows: u64,
        items: &[Item],
    ) -> Result<HashMap<String, Option<Rule>>, LookupError> {
        let mut seen = HashSet::new();
        // The order of the rows is kept, so that a sample is spread over them.
        let mut users: Vec<&str> = items
            .iter()
            .filter_map(|item| item.destination.user_id.as_deref())
            .filter(|id| seen.insert(*id) && !self.users.contains_key(&digest(id)))
            .collect();
        if let Some(sample) = &mut self.sample {
            users = sample.choose(rows, &users);
        }
        let lists: Vec<Vec<String>> = users
            .chunks(self.settings.per_request)
            .map(|list| list.iter().map(|&id| id.to_owned()).collect())
            .collect();
        let judged: Vec<Vec<(String, Option<Rule>)>> = stream::iter(lists)
            .map(|list| ask_about(Arc::clone(&self.lookup_client), list))
            .buffer_unordered(self.settings.concurrency)
            .try_collect()
            .await?;
        let judged: HashMap<String, Option<Rule>> = judged.into_iter().flatten().collect();
        let room = MOST_REMEMBERED.saturating_sub(self.users.len());
        let remembered = judged.iter().take(room);
        self.users
            .extend(remembered.map(|(id, rule)| (digest(id), *rule)));
        Ok(judged)
    }
}

/// Looks up a list of users, in halves if the API rejects it.
async fn ask_about(
    lookup_client: Arc<LookupClient>,
    list: Vec<String>,
) -> Result<Vec<(String, Option<Rule>)>, LookupError> {
    let mut judged = Vec::with_capacity(list.len());
    let mut lists = vec![list];
    while let Some(mut list) = lists.pop() {
        let ids: Vec<&str> = list.iter().map(String::as_str).collect();
        let answered = lookup_client
            .ask(Quota::Users, WHAT, |client| client.users(&ids))
            .await?;
        let users = match answered {
            Answered::Found(users) => users,
            Answered::Refused(_) if list.len() > 1 => {
                let rest = list.split_off(list.len() / 2);
                lists.extend([list, rest]);
                continue;
            }
            // "Not found", or an ID that the API rejects as malformed.
            Answered::Absent | Answered::Refused(_) => Vec::new(),
        };
        let status: HashMap<&str, UserStatus> =
            users.iter().map(|user| (user.id.as_str(), user.status)).collect();
        judged.extend(list.into_iter().map(|id| {
            let rule = match status.get(id.as_str()) {
                Some(UserStatus::Active) => None,
                Some(UserStatus::Disabled) => Some(Rule::UserDisabled),
                Some(UserStatus::Hollow) | None => Some(Rule::UserUnknown),
            };
            (id, rule)
        }));
    }
    Ok(judged)
}

/// Returns the problem of an app. An app without a type is accepted.
fn judge(app: &App) -> Option<Reason> {
    match &app.app_type {
        AppType::OAuth | AppType::Unsaid => None,
        AppType::Other(word) => Some(Reason::of(
            Rule::AppNotOauth,
            &format!(
                "the outbound app \"{}\" is not an OAuth app but \"{}\"",
                quotable(&app.id),
                quotable(word)
            ),
        )),
    }
}

/// Returns the result, if there is one. An ID that the API rejects does not exist either.
fn found<T>(answered: Answered<T>) -> Option<T> {
    match answered {
        Answered::Found(found) => Some(found),
        Answered::Absent | Answered::Refused(_) => None,
    }
}

fn sorted<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids
}

/// Returns 128 bits of a digest of a user ID: in any real table, two users do not share them.
fn digest(id: &str) -> (u64, u64) {
    let half = |number: u8| {
        let mut hasher = DefaultHasher::new();
        (number, id).hash(&mut hasher);
        hasher.finish()
    };
    (half(0), half(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_evenly_and_has_the_size_asked_for() {
        let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let mut sample = Sample::new(30, 1000);
        let mut chosen = Vec::new();
        for page in names.chunks(100) {
            let users: Vec<&str> = page.iter().map(String::as_str).collect();
            let of_page = sample.choose(100, &users);
            assert_eq!(of_page.len(), 3);
            chosen.extend(of_page.iter().map(|&name| name.to_owned()));
        }
        assert_eq!(chosen[..4], ["0", "33", "66", "100"]);
    }

    #[test]
    fn what_a_page_lacks_the_next_makes_up_for_and_no_more_are_taken() {
        let mut sample = Sample::new(10, 100);
        assert!(sample.choose(50, &[]).is_empty());
        let users: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        assert_eq!(sample.choose(50, &users).len(), 10);
        assert!(
            sample.choose(50, &users).is_empty(),
            "more rows than were counted"
        );
        assert_eq!(Sample::new(10, 3).choose(3, &["a", "b", "c"]), ["a", "b", "c"]);
    }
}
