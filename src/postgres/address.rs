//! The address of a database: its URL plus the environment, as `psql` reads both.
//!
//! Unsupported parameters are rejected by name: ignoring one could lead to another table or to an unencrypted
//! connection. Their values are never shown, since any may be a password.

use std::{
    env, fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::sync::OnceCell;

use super::{UnusableUrl, parameters::Parameters, quote_identifier, url_text::unusable};

/// The connect timeout if the URL sets none.
const CONNECT: Duration = Duration::from_secs(10);

/// The address of a database. Clones share the facts found at the first connection.
#[derive(Clone)]
pub struct Address {
    options: PgConnectOptions,
    schemas: Option<String>,
    line: Line,
    connect_within: Duration,
    /// The files that TLS needs, by their parameters.
    certificates: Vec<(&'static str, String)>,
    pub(super) met: Arc<OnceCell<()>>,
}

/// The protection of the connection, as far as the client decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The connection does not leave the machine.
    Local,
    /// TLS, or no connection.
    Tls,
    /// Plain text over a network, requested by `sslmode=disable`.
    Plain,
}

impl fmt::Debug for Address {
    /// Redacted: the options contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.place()).finish()
    }
}

impl Address {
    /// Parses a URL.
    ///
    /// # Errors
    /// Fails if the URL is malformed or asks for something unsupported.
    pub fn parse(url: &str) -> Result<Self, UnusableUrl> {
        let given = Parameters::of_url(url)?;
        Parameters::refuse_environment()?;
        let options: PgConnectOptions = given
            .canonical_url()?
            .as_str()
            .parse()
            .map_err(|_| unusable("is malformed: check that `psql` would accept every part of it"))?;
        let is_local = is_local(&options);
        let line_of = |mode| match mode {
            _ if is_local => Line::Local,
            PgSslMode::Disable => Line::Plain,
            _ => Line::Tls,
        };
        let (mode, root) = security(&given, is_local)?;
        let options = options.ssl_mode(mode);
        let options = match root {
            Some(Root::File(file)) => options.ssl_root_cert(file),
            // Only the system's authorities; an empty value overrides the one that the driver reads from the
            // environment.
            Some(Root::System) => options.ssl_root_cert_from_pem(Vec::new()),
            None => options,
        };
        // Poolers reject unknown startup parameters. The setting is set later where it matters.
        let options = options.extra_float_digits(None);
        Ok(Self {
            options,
            schemas: given.schemas().map(search_path),
            line: line_of(mode),
            connect_within: given.connect_timeout()?.unwrap_or(CONNECT),
            certificates: match mode {
                PgSslMode::Disable => Vec::new(),
                _ => given.certificates(),
            },
            met: Arc::default(),
        })
    }

    /// Returns the first named certificate or key that is no file, with the name of its parameter.
    pub(super) fn missing_certificate(&self) -> Option<(&'static str, &str)> {
        self.certificates
            .iter()
            .find(|(_, file)| !Path::new(file).is_file())
            .map(|(name, file)| (*name, file.as_str()))
    }

    /// Returns the host and port, or the folder of the socket.
    #[must_use]
    pub fn place(&self) -> String {
        let port = self.options.get_port();
        let host = self.options.get_host();
        match self.options.get_socket() {
            Some(socket) => format!("{} (port {port})", socket.display()),
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        }
    }

    /// Returns the name of the database, if the URL or the environment sets it.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.options.get_database()
    }

    /// Returns the requested search path as SQL.
    #[must_use]
    pub fn schemas(&self) -> Option<&str> {
        self.schemas.as_deref()
    }

    /// Returns the protection of the connection.
    #[must_use]
    pub fn line(&self) -> Line {
        self.line
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    pub(super) fn connect_within(&self) -> Duration {
        self.connect_within
    }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Returns the mode that was meant, perhaps.
fn nearest_mode(mode: &str) -> Option<&'static str> {
    let mode = mode.to_lowercase().replace('_', "-");
    MODES
        .into_iter()
        .map(|known| (strsim::levenshtein(known, &mode), known))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| known)
}

/// The trusted authorities for the server's certificate.
enum Root {
    System,
    File(String),
}

/// Decides on TLS. Connections beyond this machine are encrypted unless the user opts out. If a root
/// certificate is available, the server's certificate is verified against it, as `psql` does.
fn security(given: &Parameters, is_local: bool) -> Result<(PgSslMode, Option<Root>), UnusableUrl> {
    let [modes @ .., last] = &MODES;
    let mode = given
        .or_variable("sslmode", "PGSSLMODE")
        .map(|(mode, name)| {
            mode.parse::<PgSslMode>().map_err(|_| {
                let near = nearest_mode(&mode)
                    .map(|near| format!(" (did you mean `{near}`?)"))
                    .unwrap_or_default();
                unusable(format!(
                    "has an `{name}` other than {} and {last}{near}",
                    modes.join(", ")
                ))
            })
        })
        .transpose()?;
    let root = match given.or_variable("sslrootcert", "PGSSLROOTCERT") {
        Some((file, _)) if file == "system" => Some(Root::System),
        Some((file, _)) => Some(Root::File(file)),
        None => usual_root().map(Root::File),
    };
    let is_system = matches!(root, Some(Root::System));
    let mode = match mode {
        None if is_system => PgSslMode::VerifyFull,
        None | Some(PgSslMode::Allow | PgSslMode::Prefer) if is_local => PgSslMode::Prefer,
        None | Some(PgSslMode::Allow | PgSslMode::Prefer) => PgSslMode::Require,
        Some(mode) => mode,
    };
    match (mode, root) {
        (PgSslMode::Require | PgSslMode::VerifyCa, Some(Root::System)) => Err(unusable(
            "has `sslrootcert=system`, which requires `sslmode=verify-full`: anybody can get a certificate from a public authority",
        )),
        (PgSslMode::VerifyCa, None) => Err(unusable(
            "has `sslmode=verify-ca` without `sslrootcert`: name the file with the authority's certificate, or use \
             `sslmode=verify-full`, which falls back to the system's authorities",
        )),
        (PgSslMode::Require, Some(root)) => Ok((PgSslMode::VerifyCa, Some(root))),
        (mode, root) => Ok((mode, root)),
    }
}

/// Returns the default path of the root certificate, as `psql` has it.
fn usual_root() -> Option<String> {
    let home = PathBuf::from(env::var_os("HOME")?);
    let file = home.join(".postgresql/root.crt");
    file.is_file().then(|| file.to_string_lossy().into_owned())
}

fn search_path(schemas: &str) -> String {
    schemas
        .split(',')
        .map(|schema| quote_identifier(schema.trim().trim_matches('"')))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refused(url: &str) -> String {
        match Address::parse(url) {
            Ok(address) => panic!("{url} is accepted as {address:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_psql_takes_is_taken() {
        for (url, place) in [
            ("postgres://u:p@db.internal/crm", "db.internal:5432"),
            ("postgresql://u@[::1]:6432/crm", "[::1]:6432"),
            (
                "postgres://u:p%2Fw+1@/crm?host=/cloudsql/a:b:c",
                "/cloudsql/a:b:c (port 5432)",
            ),
            ("postgres://u@%2Ftmp%2Fs:6432/crm", "/tmp/s (port 6432)"),
            ("postgres:///crm?host=10.0.0.1&port=99", "10.0.0.1:99"),
            ("postgres://u@localhost/crm?host=/tmp", "/tmp (port 5432)"),
        ] {
            assert_eq!(address(url).place(), place, "{url}");
            assert_eq!(address(url).database(), Some("crm"), "{url}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name_and_never_by_value() {
        for (parameter, name) in [
            ("service=S3CRET", "service"),
            ("sslpassword=S3CRET", "sslpassword"),
            ("passfile=S3CRET", "passfile"),
            ("channel_binding=require", "channel_binding"),
            ("target_session_attrs=read-write", "target_session_attrs"),
            ("gssencmode=require", "gssencmode"),
            ("pgbouncer=true", "pgbouncer"),
            ("sslmod=S3CRET", "did you mean `sslmode`"),
            ("sslmode=S3CRET", "sslmode"),
            ("port=S3CRET", "port"),
            ("connect_timeout=S3CRET", "connect_timeout"),
        ] {
            let error = refused(&format!("postgres://u:S3CRET@db.internal/crm?{parameter}"));
            assert!(error.contains(name), "{parameter}: {error}");
            assert!(!error.contains("S3CRET"), "{error}");
        }
        assert!(refused("postgres://u@a,b/crm").contains("several hosts"));
        assert!(refused("mysql://u@a/crm").contains("must be a Postgres URL"));
    }

    #[test]
    fn a_mode_that_was_meant_is_named() {
        for mode in ["verify_full", "verifyfull", "VERIFY_FULL"] {
            let error = refused(&format!("postgres://u@db.internal/crm?sslmode={mode}"));
            assert!(error.contains("did you mean `verify-full`?"), "{error}");
        }
        assert!(!refused("postgres://u@db.internal/crm?sslmode=on").contains("did you mean"));
    }

    #[test]
    fn beyond_this_machine_plain_text_has_to_be_written() {
        for (url, line) in [
            ("postgres://u@127.0.0.1/crm", Line::Local),
            ("postgres://u@[::1]/crm", Line::Local),
            ("postgres:///crm?host=/tmp&sslmode=disable", Line::Local),
            ("postgres://u@db.internal/crm", Line::Tls),
            ("postgres://u@db.internal/crm?sslmode=prefer", Line::Tls),
            ("postgres://u@10.1.2.3/crm?sslmode=disable", Line::Plain),
        ] {
            assert_eq!(address(url).line(), line, "{url}");
        }
    }

    #[test]
    fn an_authority_is_held_against_the_server_as_psql_does() {
        let mode = |parameters: &str| {
            let address = address(&format!("postgres://u@db.internal/crm?{parameters}"));
            format!("{:?}", address.options.get_ssl_mode())
        };
        assert_eq!(mode("sslmode=require&sslrootcert=/ca.pem"), "VerifyCa");
        assert_eq!(mode("sslmode=verify-full&sslrootcert=/ca.pem"), "VerifyFull");
        assert_eq!(mode("sslrootcert=system"), "VerifyFull");
        let system = "postgres://u@db.internal/crm?sslmode=require&sslrootcert=system";
        assert!(refused(system).contains("verify-full"));
        assert!(refused("postgres://u@db.internal/crm?sslmode=verify-ca").contains("sslrootcert"));
    }

    #[test]
    fn schemas_become_a_search_path() {
        let path = |parameter: &str| {
            address(&format!("postgres://u@localhost/crm?{parameter}"))
                .schemas()
                .map(str::to_owned)
        };
        assert_eq!(path("schema=legacy").as_deref(), Some("\"legacy\""));
        assert_eq!(path("currentSchema=a,B").as_deref(), Some("\"a\", \"B\""));
        assert_eq!(path("user=x"), None);
    }
}
