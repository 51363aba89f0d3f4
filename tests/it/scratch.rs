//! The throwaway Postgres: it starts, survives restarts, and leaves nothing behind however it ends.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection, Executor, PgConnection};
use tokenferry::temp_postgres::{DockerPostgres, Listen, Options, StopMode, TempPostgres, TempPostgresError};
use tokio::time::{sleep, timeout};

use crate::support::{database::TestDatabase, server};

/// A server as seen from outside.
struct Traces {
    folder: PathBuf,
    process: Pid,
}

impl Traces {
    fn of(postgres: &TempPostgres) -> Self {
        let process = Pid::from_raw(postgres.process_id().unwrap().try_into().unwrap());
        Self {
            folder: postgres.folder().to_owned(),
            process,
        }
    }

    fn gone(&self) -> bool {
        !self.folder.exists() && kill(self.process, None) == Err(Errno::ESRCH)
    }

    async fn wait_until_gone(&self) {
        let gone = async {
            while !self.gone() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), gone)
            .await
            .expect("the server or its folder is left");
    }
}

async fn start() -> TempPostgres {
    TempPostgres::start(Options::default()).await.unwrap()
}

async fn count(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select count(*) from kept")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

async fn keep_a_row(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection
        .execute("create table if not exists kept (); insert into kept default values")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_database_can_be_made_and_used() {
    let postgres = start().await;
    postgres.create_database("Señor \"Odd\"/%").await.unwrap();
    let url = postgres.url("Señor \"Odd\"/%");
    keep_a_row(&url).await;
    assert_eq!(count(&url).await, 1);
    assert!(
        postgres.describe().starts_with("PostgreSQL "),
        "{}",
        postgres.describe()
    );
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_not_on_the_network_unless_asked() {
    let postgres = start().await;
    let mut connection = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
    let addresses: String = sqlx::query_scalar("show listen_addresses")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(addresses, "");
}

#[tokio::test]
async fn a_loopback_server_has_a_port_of_its_own() {
    let options = Options {
        listen: Listen::Loopback,
        ..Options::default()
    };
    let mut first = TempPostgres::start(options.clone()).await.unwrap();
    let second = TempPostgres::start(options).await.unwrap();
    assert_ne!(first.url("postgres"), second.url("postgres"));
    assert!(
        first.url("postgres").contains("@127.0.0.1:"),
        "{}",
        first.url("postgres")
    );

    first.restart(StopMode::Fast).await.unwrap();
    keep_a_row(&first.url("postgres")).await;
    keep_a_row(&second.url("postgres")).await;
}

#[tokio::test]
async fn a_restart_keeps_data_and_address() {
    let mut postgres = start().await;
    let url = postgres.url("postgres");
    for mode in [StopMode::Fast, StopMode::Immediate] {
        keep_a_row(&url).await;
        postgres.restart(mode).await.unwrap();
        assert_eq!(postgres.url("postgres"), url);
    }
    assert_eq!(
        count(&url).await,
        2,
        "what was committed survives an immediate stop too"
    );
}

#[tokio::test]
async fn a_server_that_is_shut_down_refuses_until_it_is_started_again() {
    let mut postgres = start().await;
    let url = postgres.url("postgres");
    postgres.shut_down(StopMode::Immediate).await.unwrap();
    assert_eq!(postgres.process_id(), None);
    assert!(PgConnection::connect(&url).await.is_err());
    postgres.start_again().await.unwrap();
    keep_a_row(&url).await;
}

#[tokio::test]
async fn stop_leaves_nothing() {
    let postgres = start().await;
    let traces = Traces::of(&postgres);
    let _still_connected = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
    postgres.stop().await.unwrap();
    assert!(traces.gone());
}

#[tokio::test]
async fn drop_leaves_nothing() {
    let postgres = start().await;
    let traces = Traces::of(&postgres);
    drop(postgres);
    traces.wait_until_gone().await;
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let postgres = start().await;
        sender.send(Traces::of(&postgres)).ok();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    receiver.await.unwrap().wait_until_gone().await;
}

#[tokio::test]
async fn a_killed_owner_leaves_nothing() {
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "scratch::owner", "--ignored", "--nocapture"])
        .env(OWNER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(owner.stdout.take().unwrap());
    let traces = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| traces_in(&line))
        .unwrap();
    assert!(!traces.gone());

    kill(Pid::from_raw(owner.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    owner.wait().unwrap();
    traces.wait_until_gone().await;
}

/// Set for the process that is to be killed, so that nobody starts a server that waits for ever.
const OWNER: &str = "TOKENFERRY_TEST_SCRATCH_OWNER";

#[tokio::test]
#[ignore = "not a test: `a_killed_owner_leaves_nothing` starts it, in a process that it kills"]
async fn owner() {
    if env::var_os(OWNER).is_none() {
        return;
    }
    let postgres = start().await;
    let traces = Traces::of(&postgres);
    println!("\nowns {} {}", traces.process, traces.folder.display());
    std::future::pending::<()>().await;
}

fn traces_in(line: &str) -> Option<Traces> {
    let (process, folder) = line.strip_prefix("owns ")?.split_once(' ')?;
    Some(Traces {
        folder: folder.into(),
        process: Pid::from_raw(process.parse().ok()?),
    })
}

#[tokio::test]
async fn without_postgres_the_error_names_the_folders() {
    let options = Options {
        binaries: Some(Path::new("/nowhere/bin").into()),
        ..Options::default()
    };
    let error = TempPostgres::start(options).await.unwrap_err();
    assert!(matches!(&error, TempPostgresError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/bin"), "{error}");
}

#[tokio::test]
async fn a_container_serves_and_leaves_nothing() {
    let (image, tag) = server::image();
    let options = Options {
        image: format!("{image}:{tag}"),
        ..Options::default()
    };
    let postgres = match DockerPostgres::start(&options).await {
        Err(error) if !server::docker_is_forced() => {
            return server::announce(&format!("the container's test is left out: {error}"));
        }
        started => started.unwrap(),
    };
    postgres.create_database("crm").await.unwrap();
    keep_a_row(&postgres.url("crm")).await;
    assert!(postgres.describe().contains(&image), "{}", postgres.describe());

    let container = postgres.container().to_owned();
    postgres.stop().await.unwrap();
    let inspected = Command::new("docker")
        .args(["inspect", &container])
        .output()
        .unwrap();
    assert!(!inspected.status.success(), "the container is left");
}

#[tokio::test]
async fn each_test_has_a_database_to_itself() {
    let (first, second) = (TestDatabase::create().await, TestDatabase::create().await);
    first
        .execute("create table mine (); create table also_mine ()")
        .await;
    let found: Option<String> = sqlx::query_scalar("select to_regclass('mine')::text")
        .fetch_one(&second.pool().await)
        .await
        .unwrap();
    assert_eq!(found, None);
    assert_ne!(first.url(), second.url());
}
