//! A session in which every statement has a time limit.
//!
//! A server that vanished silently, or a network that drops packets, never ends a statement. A session that
//! was abandoned in the middle of a statement cannot be reused, so its connection is closed.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    Stream, StreamExt, TryStreamExt,
    future::{BoxFuture, ready as at_once},
    stream::{self, BoxStream},
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Either, Error, Execute, Executor, PgConnection, Postgres,
    SqlStr,
    postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tracing::warn;

use super::{Address, Line, Patience, no_answer::NoAnswer, pooling, unconnected};

/// The longest wait for a clean close; the server detects a lost connection by itself.
const GOODBYE: Duration = Duration::from_secs(1);

/// Settings of every session. Timeouts of the role or database are disabled, as every response has a
/// client-side limit. The server detects a lost client within 25 seconds, even during a statement if its
/// version and system support it, and releases what the session held. Unix sockets have no keepalives, which
/// is no error. Settings that the server's version does not know are skipped; only Linux servers reliably
/// support the client check. Compiling a query's expressions takes longer than any of these queries saves by
/// it: a quarter of a second for each comparison of key ranges.
const FOR_ALL: &str = "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; \
     set tcp_keepalives_count = 3; \
     select pg_catalog.set_config(name, value, false) \
     from (values ('tcp_user_timeout', '25s'), ('client_connection_check_interval', '5s'), \
                  ('transaction_timeout', '0'), ('idle_session_timeout', '0'), ('jit', 'off')) as wanted (name, value) \
     where pg_catalog.current_setting(name, true) is not null \
       and (name <> 'client_connection_check_interval' or pg_catalog.version() like '%linux%')";

/// A connection with a time limit for responses.
pub struct Session {
    connection: PgConnection,
    patience: Patience,
    limit: Duration,
    given_up: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

fn gone() -> Error {
    Error::Io(std::io::ErrorKind::NotConnected.into())
}

/// Checks the first connection: warns about plain text and rejects a pooler that splits sessions.
async fn meet(
    address: &Address,
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), Error> {
    if address.line() == Line::Plain {
        warn!(
            server = address.place(),
            "connected without TLS because of `sslmode=disable`: anyone on the network path can read the traffic"
        );
    }
    pooling::turn_down(connection, options).await
}

impl Session {
    /// Connects under a name that the server shows. `limit` applies to every response; `set_up` are the
    /// session's settings, its search path first.
    ///
    /// # Errors
    /// Fails if the server does not respond in time, denies access, or is behind a pooler that does not keep
    /// sessions.
    pub async fn connect(
        address: &Address,
        name: &str,
        limit: Duration,
        patience: &Patience,
        set_up: &str,
    ) -> Result<Self, Error> {
        let options = address
            .options()
            .clone()
            .application_name(name)
            .disable_statement_logging();
        let explained = |error| unconnected::explain(error, address).into();
        let connecting = async {
            let mut connection = PgConnection::connect_with(&options).await.map_err(explained)?;
            let first = &mut connection;
            address
                .met
                .get_or_try_init(|| meet(address, first, &options))
                .await?;
            let set_up = format!("{set_up}; {FOR_ALL}");
            connection.execute(AssertSqlSafe(set_up)).await?;
            Ok::<_, Error>(connection)
        };
        let connection = tokio::select! {
            connected = connecting => connected?,
            () = patience.run_out(address.connect_within()) => return Err(explained(Error::PoolTimedOut)),
        };
        Ok(Self {
            connection,
            patience: patience.clone(),
            limit,
            given_up: false,
        })
    }

    /// Sets another limit.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Changes the limit for the following statements.
    pub fn wait_for(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Returns true if the session was abandoned in the middle of a statement.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Pings the server.
    ///
    /// # Errors
    /// Fails if there is no response within `limit`.
    pub async fn ping(&mut self, limit: Duration) -> Result<(), Error> {
        self.bounded(limit, Connection::ping).await
    }

    /// Runs work on the connection that is not a single statement.
    ///
    /// # Errors
    /// Fails if there is no response in time, or as `work` does.
    pub async fn bounded<'a, T, E, F>(
        &'a mut self,
        limit: Duration,
        work: impl FnOnce(&'a mut PgConnection) -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + 'a,
        E: From<Error>,
    {
        if self.given_up {
            return Err(gone().into());
        }
        tokio::select! {
            biased;
            done = work(&mut self.connection) => done,
            () = self.patience.run_out(limit) => {
                self.given_up = true;
                Err(NoAnswer::after(limit).into())
            }
        }
    }

    /// Closes the session.
    pub async fn close(self) {
        // If this fails, the connection is gone anyway.
        let _ = tokio::time::timeout(GOODBYE, self.connection.close()).await;
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.given_up {
            return stream::once(at_once(Err(gone()))).boxed();
        }
        Box::pin(Answers {
            steps: self.connection.fetch_many(query),
            overdue: None,
            patience: &self.patience,
            limit: self.limit,
            given_up: &mut self.given_up,
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let mut rows = self.fetch(query);
        Box::pin(async move {
            let first = rows.try_next().await?;
            // An error may follow the first row.
            while rows.try_next().await?.is_some() {}
            Ok(first)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        let limit = self.limit;
        Box::pin(self.bounded(limit, move |connection| connection.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        let limit = self.limit;
        Box::pin(self.bounded(limit, move |connection| connection.describe(sql)))
    }
}

/// The results of a statement, until the next one is overdue.
struct Answers<'a> {
    steps: BoxStream<'a, Result<Either<PgQueryResult, PgRow>, Error>>,
    /// Counts from the last wait for the server.
    overdue: Option<BoxFuture<'a, ()>>,
    patience: &'a Patience,
    limit: Duration,
    given_up: &'a mut bool,
}

impl Stream for Answers<'_> {
    type Item = Result<Either<PgQueryResult, PgRow>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if *self.given_up {
            return Poll::Ready(None);
        }
        if let Poll::Ready(answer) = self.steps.poll_next_unpin(context) {
            self.overdue = None;
            return Poll::Ready(answer);
        }
        let (patience, limit) = (self.patience, self.limit);
        let overdue = self
            .overdue
            .get_or_insert_with(|| Box::pin(patience.run_out(limit)));
        ready!(overdue.as_mut().poll(context));
        *self.given_up = true;
        Poll::Ready(Some(Err(NoAnswer::after(limit))))
    }
}
