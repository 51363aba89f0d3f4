//! Opening: the schema, the key behind the fingerprints, the lock.

use futures_util::future::join_all;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokenferry::{
    config::LedgerAccess,
    ledger::{Ledger, LedgerError, LedgerReader, LockKind},
    postgres::{Address, FailureKind},
    secret::Secret,
};

use crate::support::{
    database::TestDatabase,
    ledger::{access, begin, open},
};

fn check(ledger: &Ledger) -> [u8; 32] {
    *ledger.key().check().as_bytes()
}

/// The error of something that should have failed.
async fn refused(access: &LedgerAccess) -> LedgerError {
    match open(access).await {
        Err(error) => error,
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_ledger_opened_again_has_the_same_key() {
    let database = TestDatabase::create().await;
    let access = access(&database);
    let first = open(&access).await.unwrap();
    let second = open(&access).await.unwrap();
    assert_eq!(check(&first), check(&second));
    assert_eq!(
        first.key().fingerprint(b"at").as_bytes(),
        second.key().fingerprint(b"at").as_bytes()
    );

    let other = TestDatabase::create().await;
    let other = open(&crate::support::ledger::access(&other)).await.unwrap();
    assert_ne!(check(&first), check(&other), "each ledger makes its own");
}

#[tokio::test]
async fn many_may_make_the_ledger_at_once() {
    let database = TestDatabase::create().await;
    let access = access(&database);
    let opening = join_all((0..6).map(|_| open(&access))).await;
    let mut keys: Vec<_> = opening
        .into_iter()
        .map(|opened| check(&opened.unwrap()))
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn two_ledgers_may_be_made_at_once_in_one_database() {
    let database = TestDatabase::create().await;
    let one = access(&database);
    let mut other = access(&database);
    other.ledger.schema = "another".to_owned();
    let (first, second) = tokio::join!(open(&one), open(&other));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(check(&first), check(&second));
    // Locks of the same migration in two ledgers are two locks.
    let lock = first.lock(&one, LockKind::Migration).await.unwrap();
    second
        .lock(&other, LockKind::Migration)
        .await
        .unwrap()
        .release()
        .await;
    lock.release().await;
}

#[tokio::test]
async fn a_schema_may_be_called_anything() {
    let database = TestDatabase::create().await;
    for name in [
        "My Ledger",
        "select",
        "it's \"odd\"; drop schema public; --",
        "Größe",
    ] {
        let mut access = access(&database);
        access.ledger.schema = name.to_owned();
        let ledger = open(&access).await.unwrap();
        begin(&ledger).await;
        let lock = ledger.lock(&access, LockKind::Migration).await.unwrap();
        assert!(matches!(
            ledger.lock(&access, LockKind::Migration).await,
            Err(LedgerError::Locked { .. })
        ));
        lock.release().await;
        let mut reports = LedgerReader::open(&access).await.unwrap();
        assert!(reports.run(None).await.unwrap().is_some());
        let tables = database
            .texts(&format!(
                "select tablename::text from pg_tables where schemaname = '{}' and tablename = 'batches'",
                name.replace('\'', "''")
            ))
            .await;
        assert_eq!(tables, ["batches"], "{name}");
    }
    let elsewhere = "select tablename::text from pg_tables where schemaname = 'public'";
    assert!(database.texts(elsewhere).await.is_empty());
}

#[tokio::test]
async fn another_pepper_is_refused() {
    let database = TestDatabase::create().await;
    let plain = access(&database);
    let mut peppered = access(&database);
    peppered.ledger.pepper = Some(Secret::new("black"));
    open(&plain).await.unwrap();
    assert!(matches!(refused(&peppered).await, LedgerError::Pepper));

    let mut begun_with = access(&database);
    begun_with.ledger.schema = "peppered".to_owned();
    begun_with.ledger.pepper = Some(Secret::new("black"));
    open(&begun_with).await.unwrap();
    open(&begun_with).await.unwrap();
    begun_with.ledger.pepper = Some(Secret::new("white"));
    let error = refused(&begun_with).await;
    assert!(matches!(error, LedgerError::Pepper));
    assert!(!error.to_string().contains("white"));
    begun_with.ledger.pepper = None;
    assert!(matches!(refused(&begun_with).await, LedgerError::Pepper));
}

#[tokio::test]
async fn a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    let database = TestDatabase::create().await;
    let access = access(&database);
    open(&access).await.unwrap();
    database
        .execute(
            "insert into tokenferry._sqlx_migrations (version, description, success, checksum, execution_time) \
             values (20991231000000, 'from the future', true, 'x', 1)",
        )
        .await;
    let error = refused(&access).await;
    assert!(
        matches!(&error, LedgerError::Newer { schema } if schema == "tokenferry"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_ledger_that_was_altered_is_refused() {
    let database = TestDatabase::create().await;
    let access = access(&database);
    open(&access).await.unwrap();
    database
        .execute("update tokenferry._sqlx_migrations set checksum = 'another'")
        .await;
    assert!(matches!(refused(&access).await, LedgerError::Schema(_)));
}

#[tokio::test]
async fn reports_make_nothing_where_there_is_no_ledger() {
    let database = TestDatabase::create().await;
    let error = LedgerReader::open(&access(&database)).await.unwrap_err();
    assert!(
        matches!(&error, LedgerError::Absent { schema } if schema == "tokenferry"),
        "{error:?}"
    );
    let schemas = "select nspname::text from pg_namespace where nspname = 'tokenferry'";
    assert!(database.texts(schemas).await.is_empty());
}

#[tokio::test]
async fn a_second_run_is_locked_out_and_told_by_whom() {
    let database = TestDatabase::create().await;
    let access = access(&database);
    let first = open(&access).await.unwrap();
    let second = open(&access).await.unwrap();
    let lock = first.lock(&access, LockKind::Migration).await.unwrap();
    // Between the lock and the run's row.
    assert!(matches!(
        second.lock(&access, LockKind::Migration).await,
        Err(LedgerError::Locked { .. })
    ));
    begin(&first).await;
    let error = second.lock(&access, LockKind::Migration).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error:?}");
    let holder = database
        .texts(
            "select format('the database session with PID %s, role \"%s\", application \"tokenferry tests\", connected since 20', pid, usename)
             from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory'
                and datname = current_database()",
        )
        .await
        .remove(0);
    let told = error.to_string();
    for part in ["migration \"tests\"", "the tests, since 20", &holder] {
        assert!(told.contains(part), "{part}: {told}");
    }

    lock.release().await;
    second
        .lock(&access, LockKind::Migration)
        .await
        .unwrap()
        .release()
        .await;
}

/// Takes the lock of the tests' migration in a session of its own.
async fn held_by(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    let mut session = PgConnection::connect_with(&options.application_name("a psql"))
        .await
        .unwrap();
    session
        .execute("select pg_advisory_lock(hashtextextended('tokenferry/tokenferry/tests', 0))")
        .await
        .unwrap();
    session
}

#[tokio::test]
async fn a_lock_that_is_held_by_a_role_without_the_ledger_is_told_from_a_run() {
    let database = TestDatabase::create().await;
    let (stranger, role) = database.create_guest().await;
    let owner = database.role("owner");
    database
        .execute(&format!(
            "create role {owner} login password 'owner';
             do $$ begin execute format('grant create on database %I to {owner}', current_database()); end $$"
        ))
        .await;
    let mut as_owner = access(&database);
    as_owner.ledger.url = Address::parse(&database.url_for(&owner, "owner", None)).unwrap();
    let ledger = open(&as_owner).await.unwrap();
    begin(&ledger).await;

    let mut session = held_by(&stranger).await;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut session)
        .await
        .unwrap();
    let error = ledger.lock(&as_owner, LockKind::Migration).await.unwrap_err();
    assert!(
        matches!(error, LedgerError::LockedByForeignRole { .. }),
        "{error:?}"
    );
    let told = error.to_string();
    for part in [
        &format!("PID {pid}, role \"{role}\", application \"a psql\""),
        "connected since a time that the server hides from this role",
        &format!("`select pg_terminate_backend({pid})`"),
        "`revoke connect on database \"tokenferry_test_",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // It does not make a run of a dead one either.
    let mut reader = LedgerReader::open(&as_owner).await.unwrap();
    assert!(!reader.is_held(LockKind::Migration).await.unwrap());
    // To a superuser the server says since when.
    let as_superuser = access(&database);
    let again = open(&as_superuser).await.unwrap();
    let error = again.lock(&as_superuser, LockKind::Migration).await.unwrap_err();
    assert!(error.to_string().contains("connected since 20"), "{error}");
    session.close().await.unwrap();

    // One who can become the owner may be a run's.
    database.execute(&format!("grant {owner} to {role}")).await;
    let _session = held_by(&stranger).await;
    let error = ledger.lock(&as_owner, LockKind::Migration).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error:?}");
    assert!(reader.is_held(LockKind::Migration).await.unwrap());
}

#[tokio::test]
async fn a_lock_whose_holder_is_gone_is_free() {
    let database = TestDatabase::create().await;
    let access = access(&database);
    let ledger = open(&access).await.unwrap();
    drop(ledger.lock(&access, LockKind::Migration).await.unwrap());
    let mut again = ledger.lock(&access, LockKind::Migration).await;
    // The server notices a connection that just ends a moment later.
    for _ in 0..200 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        again = ledger.lock(&access, LockKind::Migration).await;
    }
    again.unwrap().release().await;
}

#[tokio::test]
async fn two_migrations_may_run_at_once_in_one_ledger() {
    let database = TestDatabase::create().await;
    let one = access(&database);
    let mut other = access(&database);
    other.migration = "others".to_owned();
    let (first, second) = (open(&one).await.unwrap(), open(&other).await.unwrap());
    let held = first.lock(&one, LockKind::Migration).await.unwrap();
    let also = second.lock(&other, LockKind::Migration).await.unwrap();
    assert_ne!(begin(&first).await.id, begin(&second).await.id);
    held.release().await;
    also.release().await;
}

fn is_permission(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Database(failure) if failure.kind == FailureKind::Permission)
}

#[tokio::test]
async fn a_role_without_privileges_is_told_so() {
    let database = TestDatabase::create().await;
    let (url, guest) = database.create_guest().await;
    let mut as_guest = access(&database);
    as_guest.ledger.url = Address::parse(&url).unwrap();

    let error = refused(&as_guest).await;
    assert!(
        is_permission(&error),
        "no schema and no right to make one: {error:?}"
    );
    database.execute("create schema tokenferry").await;
    let error = refused(&as_guest).await;
    assert!(is_permission(&error), "no right to the schema: {error:?}");
    database
        .execute(&format!("grant usage on schema tokenferry to {guest}"))
        .await;
    let error = refused(&as_guest).await;
    assert!(is_permission(&error), "no right to make tables: {error:?}");
    open(&access(&database)).await.unwrap();
    let error = refused(&as_guest).await;
    assert!(is_permission(&error), "no right to the tables: {error:?}");
    let error = match LedgerReader::open(&as_guest).await {
        Ok(mut reports) => reports.run(None).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(is_permission(&error), "no right to read: {error:?}");
    database
        .execute(&format!("revoke usage on schema tokenferry from {guest}"))
        .await;
    let error = match LedgerReader::open(&as_guest).await {
        Ok(mut reports) => reports.run(None).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        is_permission(&error),
        "a schema out of sight is not an absent one: {error:?}"
    );
}

#[tokio::test]
async fn a_role_needs_no_more_than_a_schema_of_its_own() {
    let database = TestDatabase::create().await;
    let (url, guest) = database.create_guest().await;
    database
        .execute(&format!("create schema tokenferry authorization {guest}"))
        .await;
    let mut as_guest = access(&database);
    as_guest.ledger.url = Address::parse(&url).unwrap();
    let ledger = open(&as_guest).await.unwrap();
    ledger
        .lock(&as_guest, LockKind::Migration)
        .await
        .unwrap()
        .release()
        .await;
    begin(&ledger).await;
}
