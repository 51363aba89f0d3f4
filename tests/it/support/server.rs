//! The one Postgres server that all tests of this process share.
//!
//! `TEST_DATABASE_URL` names one; otherwise Docker starts one through `testcontainers`, from the image
//! `TEST_POSTGRES_IMAGE` and `TEST_POSTGRES_TAG`; otherwise the machine's own binaries do. `TEST_POSTGRES`
//! (`url`, `docker`, `scratch`) forces one of the three, and then what is forced must work.
//!
//! The server sits in a `static`, which is never dropped: what ends it is its [`Watchdog`], a moment after
//! this process.

use std::{env, io::Write, time::Duration};

use sqlx::{Connection, Executor, PgConnection};
use testcontainers::{ContainerAsync, GenericImage, ImageExt, core::IntoContainerPort, runners::AsyncRunner};
use tokenferry::temp_postgres::{Options, TempPostgres, Watchdog};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};
use url::Url;

/// Tests run side by side, each with a pool or two.
const SESSIONS: u16 = 400;
/// The time for fetching and starting the image before the next way is tried.
const DOCKER_LIMIT: Duration = Duration::from_mins(2);
const READY_LIMIT: Duration = Duration::from_mins(1);

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Server {
    /// A URL with which databases can be made.
    admin: Url,
    /// The server outlives this process, so that every test must clean up after itself.
    pub(super) kept: bool,
    _guard: Guard,
}

enum Guard {
    None,
    Container {
        _container: Box<ContainerAsync<GenericImage>>,
        _watchdog: Watchdog,
    },
    Scratch {
        _postgres: Box<TempPostgres>,
    },
}

impl Server {
    /// The server; the first test to ask starts it.
    pub(super) async fn shared() -> &'static Self {
        static SERVER: OnceCell<Result<Server, String>> = OnceCell::const_new();

        match SERVER.get_or_init(Self::start).await {
            Ok(server) => server,
            Err(reason) => panic!("no Postgres to test with: {reason}"),
        }
    }

    /// A session of the test's own: each test has its own runtime, in which alone its connections live.
    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(self.admin.as_str()).await
    }

    pub(super) fn url(&self, database: &str) -> String {
        let mut url = self.admin.clone();
        url.set_path(database);
        url.into()
    }

    async fn start() -> Result<Self, String> {
        let result = match env::var("TEST_POSTGRES").as_deref() {
            Ok("url") => Self::given(&env::var("TEST_DATABASE_URL").unwrap_or_default()),
            Ok("docker") => Self::container().await,
            Ok("scratch") => Self::scratch().await,
            Ok(other) => Err(format!("TEST_POSTGRES is `{other}`, not `url`, `docker` or `scratch`").into()),
            Err(_) => Self::best().await,
        };
        result.map_err(|failure| failure.to_string())
    }

    async fn best() -> Result<Self, Failure> {
        if let Ok(url) = env::var("TEST_DATABASE_URL") {
            return Self::given(&url);
        }
        match Self::container().await {
            Ok(server) => Ok(server),
            Err(reason) => {
                announce(&format!("Docker will not do ({reason})"));
                Self::scratch().await
            }
        }
    }

    fn given(url: &str) -> Result<Self, Failure> {
        let admin = Url::parse(url).map_err(|error| format!("TEST_DATABASE_URL: {error}"))?;
        announce(&format!(
            "the server of TEST_DATABASE_URL, {}",
            admin.host_str().unwrap_or("on this machine")
        ));
        Ok(Self {
            admin,
            kept: true,
            _guard: Guard::None,
        })
    }

    async fn container() -> Result<Self, Failure> {
        let (image, tag) = image();
        let name = format!(
            "tokenferry-test-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        );
        let password = format!("{:032x}", rand::random::<u128>());

        let watchdog = Watchdog::over_container(&name)?;
        // No log to wait for: the official image says twice that it is ready, and the first time only to
        // itself.
        let request = GenericImage::new(&image, &tag)
            .with_exposed_port(5432.tcp())
            .with_container_name(&name)
            .with_env_var("POSTGRES_PASSWORD", &password)
            .with_cmd([
                "-c",
                "fsync=off",
                "-c",
                "full_page_writes=off",
                "-c",
                "autovacuum=off",
                "-c",
                &format!("max_connections={SESSIONS}"),
            ]);
        let container = timeout(DOCKER_LIMIT, request.start())
            .await
            .map_err(|_| "it takes too long")??;

        let host = container.get_host().await?;
        let port = container.get_host_port_ipv4(5432).await?;
        let admin = Url::parse(&format!("postgres://postgres:{password}@{host}:{port}/postgres"))?;
        let guard = Guard::Container {
            _container: Box::new(container),
            _watchdog: watchdog,
        };
        let server = Self {
            admin,
            kept: false,
            _guard: guard,
        };
        server.ready().await?;
        announce(&format!("a Docker container from {image}:{tag}"));
        Ok(server)
    }

    async fn scratch() -> Result<Self, Failure> {
        let options = Options {
            max_connections: SESSIONS,
            ..Options::default()
        };
        let postgres = TempPostgres::start(options).await?;
        announce(&postgres.describe());
        let server = Self {
            admin: Url::parse(&postgres.url("postgres"))?,
            kept: false,
            _guard: Guard::Scratch {
                _postgres: Box::new(postgres),
            },
        };
        // With a database for each test, it would look at one of them every tenth of a second.
        let mut admin = server.connect().await?;
        for statement in ["alter system set autovacuum = off", "select pg_reload_conf()"] {
            admin.execute(statement).await?;
        }
        Ok(server)
    }

    async fn ready(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            match self.connect().await {
                Ok(connection) => return Ok(connection.close().await?),
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// The name and the tag of the image that tests use.
pub(crate) fn image() -> (String, String) {
    let image = env::var("TEST_POSTGRES_IMAGE").unwrap_or_else(|_| "postgres".to_owned());
    let tag = env::var("TEST_POSTGRES_TAG").unwrap_or_else(|_| "17-alpine".to_owned());
    (image, tag)
}

/// Tells whether a Docker engine is required.
pub(crate) fn docker_is_forced() -> bool {
    env::var("TEST_POSTGRES").is_ok_and(|forced| forced == "docker")
}

/// Straight to stderr: the output of `eprintln!` is captured in tests that pass.
pub(crate) fn announce(what: &str) {
    let line = format!("test database: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
