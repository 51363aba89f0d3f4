//! The legacy table, and beside it what the test knows of it: which row is the newest of its destination, and
//! how often a destination may have been written.

use std::collections::{BTreeMap, HashSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::PgPool;
use tokenferry::simulator::Destination;

/// Keys leave room for rows that are inserted below the cursor later.
const GAP: i64 = 10;
const FLAWED: usize = 24;
const REFUSED: usize = 5;
/// Destinations that have more rows than one from the start, and others that share a user.
const CONTESTED: usize = 40;
const SHARED_USERS: usize = 60;

/// Of all tokens.
const SCOPES: [&str; 2] = ["calendar", "email"];

/// What is wrong with a row that may never be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    NoToken,
    NoApp,
    NoSubject,
    Expiry,
    Scopes,
}

const FLAWS: [Flaw; 5] = [
    Flaw::NoToken,
    Flaw::NoApp,
    Flaw::NoSubject,
    Flaw::Expiry,
    Flaw::Scopes,
];

/// Which values a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Full,
    Expired,
    OnlyRefresh,
    OnlyAccess,
}

#[derive(Debug, Clone)]
struct Row {
    place: Destination,
    form: Form,
    flaw: Option<Flaw>,
    /// Counts the values that the row has had.
    serial: u32,
    /// The same of its refresh token, which mostly changes with it.
    refresh_serial: u32,
    /// Milliseconds.
    updated: i64,
}

/// How a row must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Committed,
    Superseded,
    Refused,
    Invalid,
}

/// What a destination may be like in the end.
#[derive(Debug, Clone, Default)]
struct Place {
    rows: Vec<i64>,
    /// Those, and the ones that are gone: all that may have been written there.
    past_rows: Vec<i64>,
    /// Values that may have arrived there one after the other.
    values: u64,
    /// Its only row, which was deleted before or after it went up.
    gone: Option<i64>,
}

/// What must be at a destination.
#[derive(Debug)]
pub(crate) enum Expected {
    Nothing,
    /// Something if the ledger says so: its row is gone.
    Either {
        last_row: i64,
    },
    Token {
        row: i64,
        access: Option<String>,
        refresh: Option<String>,
    },
}

/// The table as it should be.
pub(crate) struct Legacy {
    rows: BTreeMap<i64, Row>,
    places: BTreeMap<Destination, Place>,
    refused: Vec<String>,
    /// No key comes twice, so that no value does.
    used: HashSet<i64>,
    dice: StdRng,
    /// The next `updated_at`, newer than all others.
    clock: i64,
}

/// What can happen to rows. Everything leaves an end state that is known, whenever it is read.
#[derive(Debug, Clone, Copy)]
enum Change {
    NewPlace,
    NewerRow,
    OlderRow,
    Rewritten,
    /// As `Rewritten`, by somebody who forgets `updated_at`.
    RewrittenQuietly,
    /// The access token is another one, which has expired by now, and the refresh token is the same.
    Renewed,
    /// An outdated row becomes the newest.
    Revived,
    OutdatedDeleted,
    OnlyRowDeleted,
    Mended,
}

const CHANGES: [Change; 11] = [
    Change::NewPlace,
    Change::NewerRow,
    Change::OlderRow,
    Change::Rewritten,
    Change::RewrittenQuietly,
    // The ordinary work of a system that is in use.
    Change::Renewed,
    Change::Renewed,
    Change::Revived,
    Change::OutdatedDeleted,
    Change::OnlyRowDeleted,
    Change::Mended,
];

impl Legacy {
    /// So many rows, none of them in the database yet.
    pub(crate) fn new(seed: u64, rows: i64) -> Self {
        let mut legacy = Self {
            rows: BTreeMap::new(),
            places: BTreeMap::new(),
            refused: Vec::new(),
            used: HashSet::new(),
            dice: StdRng::seed_from_u64(seed),
            clock: 1_000_000_000,
        };
        for id in (1..=rows).map(|number| number * GAP) {
            let row = legacy.ordinary(id);
            legacy.put(id, row);
        }
        legacy.spoil();
        legacy
    }

    /// A row to a destination of its own.
    fn ordinary(&mut self, id: i64) -> Row {
        let app = if id % 3 == 0 { "slack" } else { "google" };
        let user = || Destination::user(app, format!("user-{id}")).with_scopes(SCOPES);
        let place = match self.dice.random_range(0..100) {
            0..10 => Destination::tenant(app, format!("tenant-{id}")).with_scopes(SCOPES),
            10..25 => user().in_tenant(format!("group-{}", id % 700)),
            25..30 => user().identified_by("work"),
            _ => user(),
        };
        Row {
            place,
            form: match self.dice.random_range(0..100) {
                0..10 => Form::Expired,
                10..20 => Form::OnlyRefresh,
                20..25 => Form::OnlyAccess,
                _ => Form::Full,
            },
            flaw: None,
            serial: 0,
            refresh_serial: 0,
            updated: self.dice.random_range(0..1_000_000_000),
        }
    }

    /// Makes a few of the rows special.
    fn spoil(&mut self) {
        for number in 0..FLAWED {
            let id = self.any_alone();
            self.change(id, |row| row.flaw = Some(FLAWS[number % FLAWS.len()]));
        }
        while self.refused.len() < REFUSED {
            let id = self.any_alone();
            if let Some(user) = self.rows[&id].place.user_id.clone() {
                self.refused.push(user);
            }
        }
        for _ in 0..CONTESTED {
            let first = self.any_alone();
            let place = self.rows[&first].place.clone();
            for _ in 0..self.dice.random_range(1..=4) {
                let id = self.any_alone();
                let newest = self.rows[&self.newest(&place)].updated;
                // Of two rows of one moment, the greater key counts.
                let is_tie = self.dice.random_bool(0.25);
                self.take_out(id);
                let mut row = self.ordinary(id);
                row.place = place.clone();
                row.updated = if is_tie { newest } else { row.updated };
                self.put(id, row);
            }
            // Which of these is the newest is settled before the first is read.
            self.place(&place).values = 1;
        }
        for number in 0..SHARED_USERS {
            let other = self.any_alone();
            let Some(user) = self.rows[&other].place.user_id.clone() else {
                continue;
            };
            let id = self.any_alone();
            let plain = Destination::user("shared", user).with_scopes(SCOPES);
            let places = if number % 2 == 0 {
                [plain.clone().identified_by("work"), plain.identified_by("home")]
            } else {
                // Asked for the plain one, the API shows the newer of the two.
                [plain.clone(), plain.in_tenant("group-1")]
            };
            for (id, place) in (id..).zip(places) {
                self.take_out(id);
                let mut row = self.ordinary(id);
                row.place = place;
                self.put(id, row);
            }
        }
    }

    /// Users whom the API refuses.
    pub(crate) fn refused_users(&self) -> &[String] {
        &self.refused
    }

    /// Makes the table and fills it.
    pub(crate) async fn create(&self, pool: &PgPool) {
        sqlx::raw_sql(
            "create table legacy_tokens (id bigint primary key, provider text, user_id text, tenant_id text,
                    external_id text, access_token text, refresh_token text, expires_at timestamptz, scope text,
                    updated_at timestamptz not null)",
        )
        .execute(pool)
        .await
        .unwrap();
        self.write(pool, self.rows.keys().copied().collect()).await;
        sqlx::raw_sql("vacuum analyze legacy_tokens")
            .execute(pool)
            .await
            .unwrap();
    }

    /// Changes some rows, one statement each.
    pub(crate) async fn disturb(&mut self, pool: &PgPool, changes: usize) {
        for _ in 0..changes {
            let change = CHANGES[self.dice.random_range(0..CHANGES.len())];
            let (written, deleted) = self.disturb_once(change);
            if let Some(id) = deleted {
                sqlx::query("delete from legacy_tokens where id = $1")
                    .bind(id)
                    .execute(pool)
                    .await
                    .unwrap();
            }
            if let Some(id) = written {
                self.write(pool, vec![id]).await;
            }
        }
    }

    /// Adds rows to destinations of their own.
    #[cfg(feature = "failpoints")]
    pub(crate) async fn grow(&mut self, pool: &PgPool, rows: usize) {
        for _ in 0..rows {
            let (added, _) = self.disturb_once(Change::NewPlace);
            self.write(pool, added.into_iter().collect()).await;
        }
    }

    /// The row that is to be written, or the one that is to be deleted.
    fn disturb_once(&mut self, change: Change) -> (Option<i64>, Option<i64>) {
        self.clock += 1;
        let clock = self.clock;
        match change {
            Change::NewPlace => {
                let id = self.free_id();
                let row = self.ordinary(id);
                self.put(id, row);
                (Some(id), None)
            }
            Change::NewerRow | Change::OlderRow => {
                let other = self.any_good();
                let id = self.free_id();
                let mut row = self.ordinary(id);
                row.place = self.rows[&other].place.clone();
                row.updated = if matches!(change, Change::NewerRow) {
                    clock
                } else {
                    -clock
                };
                self.put(id, row);
                (Some(id), None)
            }
            Change::Rewritten | Change::RewrittenQuietly => {
                let any = self.any_good();
                let id = self.newest(&self.rows[&any].place);
                self.change(id, |row| {
                    row.rewrite();
                    if matches!(change, Change::Rewritten) {
                        row.updated = clock;
                    }
                });
                self.may_arrive_again(id);
                (Some(id), None)
            }
            Change::Renewed => {
                let any = self.any_good();
                let id = self.newest(&self.rows[&any].place);
                self.change(id, |row| {
                    row.serial += 1;
                    row.form = match row.form {
                        Form::Full => Form::Expired,
                        other => other,
                    };
                    row.updated = clock;
                });
                self.may_arrive_again(id);
                (Some(id), None)
            }
            Change::Revived => {
                let id = self.any_outdated();
                self.change(id, |row| {
                    row.rewrite();
                    row.updated = clock;
                });
                self.may_arrive_again(id);
                (Some(id), None)
            }
            Change::OutdatedDeleted => {
                let id = self.any_outdated();
                self.take_out(id);
                (None, Some(id))
            }
            Change::OnlyRowDeleted => {
                let id = self.any_alone();
                let place = self.rows[&id].place.clone();
                if let Some(emptied) = self.take_out(id) {
                    self.places.insert(
                        place,
                        Place {
                            gone: Some(id),
                            ..emptied
                        },
                    );
                }
                (None, Some(id))
            }
            Change::Mended => {
                let flawed = self.rows.iter().find(|(_, row)| row.flaw == Some(Flaw::NoToken));
                let Some(id) = flawed.map(|(&id, _)| id) else {
                    return (None, None);
                };
                self.change(id, |row| row.flaw = None);
                (Some(id), None)
            }
        }
    }

    async fn write(&self, pool: &PgPool, ids: Vec<i64>) {
        let rows: Vec<&Row> = ids.iter().map(|id| &self.rows[id]).collect();
        let column = |of: fn(&Row) -> Option<String>| -> Vec<Option<String>> {
            rows.iter().map(|row| of(row)).collect()
        };
        let (access, refresh): (Vec<_>, Vec<_>) =
            ids.iter().zip(&rows).map(|(&id, row)| row.values(id)).unzip();
        sqlx::query(
            "insert into legacy_tokens
             select id, provider, user_id, tenant_id, external_id, access_token, refresh_token,
                    expires_at::timestamptz, scope, timestamptz '2020-01-01' + updated * interval '1 ms'
             from unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::text[], $10::bigint[])
                  as r (id, provider, user_id, tenant_id, external_id, access_token, refresh_token, expires_at, scope,
                        updated)
             on conflict (id) do update set access_token = excluded.access_token, refresh_token = excluded.refresh_token,
                    expires_at = excluded.expires_at, updated_at = excluded.updated_at",
        )
        .bind(&ids)
        .bind(column(|row| (row.flaw != Some(Flaw::NoApp)).then(|| row.place.app_id.clone())))
        .bind(column(|row| row.place.user_id.clone().filter(|_| row.flaw != Some(Flaw::NoSubject))))
        .bind(column(|row| row.place.tenant_id.clone().filter(|_| row.flaw != Some(Flaw::NoSubject))))
        .bind(column(|row| row.place.external_identifier.clone()))
        .bind(&access)
        .bind(&refresh)
        .bind(column(Row::expiry))
        .bind(column(|row| {
            let broken = row.flaw == Some(Flaw::Scopes);
            Some(if broken { "[broken" } else { "calendar email" }.to_owned())
        }))
        .bind(rows.iter().map(|row| row.updated).collect::<Vec<_>>())
        .execute(pool)
        .await
        .unwrap();
    }

    /// How every row that is there must have ended.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (i64, End)> {
        self.rows.iter().map(|(&id, row)| (id, self.end(id, row)))
    }

    fn end(&self, id: i64, row: &Row) -> End {
        if row.flaw.is_some() {
            End::Invalid
        } else if self.newest(&row.place) != id {
            End::Superseded
        } else if self.is_refused(&row.place) {
            End::Refused
        } else {
            End::Committed
        }
    }

    /// Every destination there ever was, what must be there, how many values may have been written to it at
    /// most, and the rows that had them.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = (&Destination, Expected, u64, &[i64])> {
        self.places.iter().map(|(destination, place)| {
            let expected = if let Some(last_row) = place.gone {
                Expected::Either { last_row }
            } else {
                let id = self.newest(destination);
                let row = &self.rows[&id];
                if self.end(id, row) == End::Committed {
                    let (access, refresh) = row.values(id);
                    Expected::Token {
                        row: id,
                        access,
                        refresh,
                    }
                } else {
                    Expected::Nothing
                }
            };
            (destination, expected, place.values, &place.past_rows[..])
        })
    }

    fn is_refused(&self, place: &Destination) -> bool {
        place
            .user_id
            .as_ref()
            .is_some_and(|user| self.refused.contains(user))
    }

    fn newest(&self, place: &Destination) -> i64 {
        let rows = self.places[place].rows.iter().copied();
        rows.max_by_key(|id| (self.rows[id].updated, *id)).unwrap()
    }

    fn place(&mut self, place: &Destination) -> &mut Place {
        self.places.get_mut(place).unwrap()
    }

    fn put(&mut self, id: i64, row: Row) {
        let place = self.places.entry(row.place.clone()).or_default();
        place.rows.push(id);
        place.past_rows.push(id);
        place.values += 1;
        self.rows.insert(id, row);
        self.used.insert(id);
    }

    /// Gives the destination back if nothing goes there any more.
    fn take_out(&mut self, id: i64) -> Option<Place> {
        let row = self.rows.remove(&id)?;
        let place = self.place(&row.place);
        place.rows.retain(|&other| other != id);
        if place.rows.is_empty() {
            self.places.remove(&row.place)
        } else {
            None
        }
    }

    fn change(&mut self, id: i64, change: impl FnOnce(&mut Row)) {
        change(self.rows.get_mut(&id).unwrap());
    }

    pub(crate) fn may_arrive_again(&mut self, id: i64) {
        let place = self.rows[&id].place.clone();
        self.place(&place).values += 1;
    }

    /// A row to be sent, be it outdated.
    fn any_good(&mut self) -> i64 {
        loop {
            let start = self.dice.random_range(0..=*self.rows.keys().last().unwrap());
            let Some((&id, row)) = self.rows.range(start..).next() else {
                continue;
            };
            if row.flaw.is_none() && !self.is_refused(&row.place) {
                return id;
            }
        }
    }

    /// A row to be sent whose destination and whose user no other row has.
    fn any_alone(&mut self) -> i64 {
        loop {
            let id = self.any_good();
            let place = &self.rows[&id].place;
            if self.places[place].rows.len() == 1 && place.app_id != "shared" {
                return id;
            }
        }
    }

    fn any_outdated(&mut self) -> i64 {
        let contested: Vec<&Destination> = self
            .places
            .iter()
            .filter(|(_, place)| place.rows.len() > 1)
            .map(|(destination, _)| destination)
            .collect();
        let place = contested[self.dice.random_range(0..contested.len())];
        let newest = self.newest(place);
        let outdated = self.places[place].rows.iter().copied().find(|&id| id != newest);
        outdated.unwrap()
    }

    /// Anywhere between the rows, or after the last.
    fn free_id(&mut self) -> i64 {
        let end = self.rows.keys().last().unwrap() + GAP;
        loop {
            let id = if self.dice.random_bool(0.2) {
                end
            } else {
                self.dice.random_range(1..end)
            };
            if !self.used.contains(&id) {
                return id;
            }
        }
    }
}

impl Row {
    fn rewrite(&mut self) {
        self.serial += 1;
        self.refresh_serial = self.serial;
    }

    /// Access token and refresh token.
    fn values(&self, id: i64) -> (Option<String>, Option<String>) {
        if self.flaw == Some(Flaw::NoToken) {
            return (None, None);
        }
        let (access, refresh) = (self.serial, self.refresh_serial);
        (
            (self.form != Form::OnlyRefresh).then(|| format!("access-{id}-{access}")),
            (self.form != Form::OnlyAccess).then(|| format!("refresh-{id}-{refresh}")),
        )
    }

    fn expiry(&self) -> Option<String> {
        let date = match self.form {
            _ if self.flaw == Some(Flaw::Expiry) => "2100-01-01",
            Form::Full => "2037-01-01",
            Form::Expired => "2024-01-01",
            Form::OnlyRefresh | Form::OnlyAccess => return None,
        };
        Some(date.to_owned())
    }
}
