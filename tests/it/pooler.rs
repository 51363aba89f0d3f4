//! A pooler between the program and its ledger.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::unistd::geteuid;
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions, raw_sql};
use tempfile::TempDir;
use tokenferry::simulator::{Barrier, Fault};
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{sleep, timeout},
};
use url::Url;

use crate::support::{
    bed::{Bed, ended},
    server,
};

/// A PgBouncer of the test's own, in front of one database.
struct Pooler {
    _process: Child,
    _folder: TempDir,
    port: u16,
    database: String,
}

impl Pooler {
    /// `None` where there is no PgBouncer.
    async fn start(database: &str, mode: &str) -> Option<Self> {
        let Some(program) = pgbouncer() else {
            server::announce("the pooler's tests are left out: there is no PgBouncer");
            return None;
        };
        let options: PgConnectOptions = database.parse().unwrap();
        let url = Url::parse(database).unwrap();
        let name = options.get_database().unwrap().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let password = url
            .password()
            .map(|password| format!(" password={password}"))
            .unwrap_or_default();
        let config = format!(
            "[databases]\n{name} = host={} port={} user={}{password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 30\n",
            options
                .get_socket()
                .map_or(options.get_host().to_owned(), |socket| socket
                    .display()
                    .to_string()),
            options.get_port(),
            options.get_username(),
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // It refuses to run as root, and has to come to the server's socket.
        if geteuid().is_root() {
            let (user, group) = match options.get_socket() {
                Some(socket) => {
                    let owner = std::fs::metadata(socket).unwrap();
                    (owner.uid(), owner.gid())
                }
                None => (65534, 65534),
            };
            std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
            command.uid(user).gid(group);
        }
        let process = command.spawn().unwrap();
        timeout(Duration::from_secs(10), async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the pooler listens");
        Some(Self {
            _process: process,
            _folder: folder,
            port,
            database: name,
        })
    }

    fn url(&self) -> String {
        format!("postgres://anybody@127.0.0.1:{}/{}", self.port, self.database)
    }
}

fn pgbouncer() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .chain([Path::new("/usr/sbin").to_owned()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
}

#[tokio::test]
async fn behind_a_pooler_the_lock_is_held_and_a_killed_process_does_not_leave_it() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let Some(pooler) = Pooler::start(bed.database.url(), "session").await else {
        return;
    };
    let migrate = || {
        let mut command = bed.command(&["migrate", "--json", "-v"]);
        command.env("TOKENFERRY__LEDGER__URL", pooler.url());
        command
    };
    let gate = Barrier::new();
    bed.api.script([Fault::Hold(gate.clone())]);
    let mut first = migrate().spawn().unwrap();
    if timeout(Duration::from_secs(20), gate.reached()).await.is_err() {
        first.start_kill().unwrap();
        let ran = ended(first.wait_with_output()).await;
        panic!("the first run has sent nothing:\n{}", ran.stderr);
    }
    let second = ended(migrate().output()).await.ended_with(5);
    assert!(second.stderr.contains("since 20"), "{}", second.stderr);
    first.kill().await.unwrap();
    gate.release();
    ended(migrate().output()).await.ended_with(0);
    bed.assert_arrived_once().await;
}

/// What an application finds in the sessions that it gets from the pooler.
async fn found_by_an_application(pooler: &Pooler) -> Vec<String> {
    let mut application = {
        let options: PgConnectOptions = pooler.url().parse().unwrap();
        PgConnection::connect_with(&options.extra_float_digits(None))
            .await
            .unwrap()
    };
    let mut found = Vec::new();
    for setting in [
        "default_transaction_read_only",
        "statement_timeout",
        "search_path",
        "lock_timeout",
    ] {
        let row = raw_sql(sqlx::AssertSqlSafe(format!("show {setting}")))
            .fetch_one(&mut application)
            .await
            .unwrap();
        found.push(format!("{setting} {}", row.get::<String, _>(0)));
    }
    let prepared = raw_sql("select count(*)::text from pg_prepared_statements where name like 'sqlx%'");
    found.push(prepared.fetch_one(&mut application).await.unwrap().get(0));
    application.close().await.unwrap();
    found
}

#[tokio::test]
async fn a_pooler_that_does_not_keep_sessions_is_turned_down_and_finds_nothing_left_behind() {
    for mode in ["transaction", "statement"] {
        let bed = Bed::new().await;
        bed.user_rows(1, 300).await;
        let Some(pooler) = Pooler::start(bed.database.url(), mode).await else {
            return;
        };
        let before = found_by_an_application(&pooler).await;
        for variable in ["TOKENFERRY__LEDGER__URL", "SOURCE_DATABASE_URL"] {
            for arguments in [&["migrate", "--json"][..], &["migrate", "--dry-run"], &["doctor"]] {
                let mut command = bed.command(arguments);
                command.env("TOKENFERRY__LEDGER__URL", bed.database.url());
                command.env(variable, pooler.url());
                let ran = ended(command.output()).await.ended_with(2);
                assert!(
                    format!("{}{}", ran.stdout, ran.stderr).contains("pooler in session mode"),
                    "{mode} {arguments:?} {}",
                    ran.stderr
                );
                assert_eq!(
                    found_by_an_application(&pooler).await,
                    before,
                    "{mode} {arguments:?}"
                );
            }
        }
        assert_eq!(bed.api.stored_count(), 0);
    }
}

#[tokio::test]
async fn source_and_ledger_may_be_behind_a_pooler_in_session_mode() {
    let bed = Bed::new().await;
    bed.user_rows(1, 30).await;
    let Some(pooler) = Pooler::start(bed.database.url(), "session").await else {
        return;
    };
    for arguments in [&["doctor"][..], &["migrate", "--json"]] {
        let mut command = bed.command(arguments);
        command.env("SOURCE_DATABASE_URL", pooler.url());
        ended(command.output()).await.ended_with(0);
    }
    bed.assert_arrived_once().await;
}
