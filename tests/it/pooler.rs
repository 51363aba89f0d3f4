//! A pooler between the program and its ledger.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::unistd::geteuid;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokenferry::simulator::{Fault, Gate};
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
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 30\n\
             ignore_startup_parameters = extra_float_digits,options,search_path\n",
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
    let gate = Gate::new();
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

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_turned_down_in_words() {
    let bed = Bed::new().await;
    bed.user_rows(1, 300).await;
    let Some(pooler) = Pooler::start(bed.database.url(), "transaction").await else {
        return;
    };
    let mut command = bed.command(&["migrate", "--json"]);
    command.env("TOKENFERRY__LEDGER__URL", pooler.url());
    let ran = ended(command.output()).await.ended_with(2);
    assert!(
        ran.stderr.contains("through a pooler in session mode"),
        "{}",
        ran.stderr
    );
    assert_eq!(bed.api.stored_count(), 0);
}
