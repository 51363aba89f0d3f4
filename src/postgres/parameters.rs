//! The parameters of a database URL, by the names that `psql` uses.

use std::{collections::BTreeMap, env, time::Duration};

use url::Url;

use super::url_text::{UnusableUrl, decoded, in_parameters, is_cut_short, unusable};

/// Parameters that the driver reads.
const HANDED_ON: [&str; 9] = [
    "host", "hostaddr", "port", "user", "password", "dbname", "sslcert", "sslkey", "options",
];

/// Parameters that are read here. The session's name is set by tokenferry, which identifies a run's sessions
/// by it.
const READ_HERE: [&str; 6] = [
    "sslmode",
    "sslrootcert",
    "schema",
    "currentSchema",
    "connect_timeout",
    "application_name",
];

/// Parameters that are accepted only with the values that apply anyway.
const AS_IT_IS: [(&str, &str, &[&str]); 6] = [
    ("channel_binding", "PGCHANNELBINDING", &["prefer", "disable"]),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", &["any"]),
    ("gssencmode", "PGGSSENCMODE", &["disable", "prefer"]),
    ("sslnegotiation", "PGSSLNEGOTIATION", &["postgres"]),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", &["disable"]),
    ("pgbouncer", "", &["false"]),
];

/// Parameters of `psql` that are not supported, and what to use instead.
const NOT_SUPPORTED: [(&str, &str, &str); 5] = [
    (
        "service",
        "PGSERVICE",
        "put host, port, user and database into the URL",
    ),
    (
        "passfile",
        "",
        "name the file in the environment variable PGPASSFILE",
    ),
    ("sslpassword", "", "use a key without a passphrase in `sslkey`"),
    (
        "require_auth",
        "PGREQUIREAUTH",
        "configure the required method on the server (pg_hba.conf)",
    ),
    (
        "sslcrl",
        "PGSSLCRL",
        "leave it out: certificate revocation is not checked",
    ),
];

/// The parts of a URL, each under one name.
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    pub(super) fn of_url(url: &str) -> Result<Self, UnusableUrl> {
        let not_a_url = || {
            unusable(
                "must be a Postgres URL: postgres://user:password@host:5432/database?sslmode=verify-full",
            )
        };
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(not_a_url)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if is_cut_short(authority, path) {
            return Err(unusable(
                "has a password (or a user) with a character that ends the address: write / as %2F, ? as %3F, # as %23, \
                 @ as %40 and : as %3A there",
            ));
        }
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if host.contains(',') {
            return Err(unusable(
                "names several hosts: name only one (for the ledger, the primary)",
            ));
        }
        // `psql` accepts a user without a host, which a parameter or the environment then sets; the URL
        // standard does not.
        let has_host = !host.is_empty() && !host.starts_with(':');
        let filled = if has_host { "" } else { "localhost" };
        let at = if login.is_empty() { "" } else { "@" };
        let url =
            Url::parse(&format!("postgres://{login}{at}{filled}{host}{path}")).map_err(|_| not_a_url())?;

        let mut given = BTreeMap::new();
        let mut put = |name: &str, value: String| {
            if !value.is_empty() {
                given.insert(name.to_owned(), value);
            }
        };
        put("user", decoded(url.username()));
        put("password", decoded(url.password().unwrap_or_default()));
        put("dbname", decoded(url.path().trim_start_matches('/')));
        if let (true, Some(host)) = (has_host, url.host_str()) {
            put(
                "host",
                decoded(host.trim_start_matches('[').trim_end_matches(']')),
            );
        }
        put(
            "port",
            url.port().map(|port| port.to_string()).unwrap_or_default(),
        );
        for pair in url
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name);
            let value = decoded(value);
            check(&name, &value)?;
            put(&name, value);
        }
        let given = Self(given);
        given.check_port()?;
        Ok(given)
    }

    /// Rejects unsupported settings of the environment.
    pub(super) fn refuse_environment() -> Result<(), UnusableUrl> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        for (_, name, instead) in NOT_SUPPORTED {
            if !name.is_empty() && variable(name).is_some() {
                return Err(unusable(format!(
                    "cannot be used while the environment has `{name}`: {instead}"
                )));
            }
        }
        for (_, name, values) in AS_IT_IS {
            if !name.is_empty() && variable(name).is_some_and(|value| !values.contains(&&*value)) {
                return Err(unusable(format!(
                    "cannot be used while the environment has `{name}` with a value other than {}",
                    values.join(" or ")
                )));
            }
        }
        match variable("PGPORT") {
            Some(port) if port.parse::<u16>().is_err() => Err(unusable(
                "cannot be used while the environment has an invalid `PGPORT`",
            )),
            _ => Ok(()),
        }
    }

    /// Returns a parameter, or the environment variable that sets it, with the name of its origin.
    pub(super) fn or_variable(
        &self,
        name: &'static str,
        variable: &'static str,
    ) -> Option<(String, &'static str)> {
        let from_environment = || {
            let value = env::var(variable).ok().filter(|value| !value.is_empty());
            value.map(|value| (value, variable))
        };
        let given = self.0.get(name).map(|value| (value.clone(), name));
        given.or_else(from_environment)
    }

    /// Returns the files that TLS needs, with the names of their parameters. An inline certificate is none.
    pub(super) fn certificates(&self) -> Vec<(&'static str, String)> {
        [
            ("sslrootcert", "PGSSLROOTCERT"),
            ("sslcert", "PGSSLCERT"),
            ("sslkey", "PGSSLKEY"),
        ]
        .into_iter()
        .filter_map(|(name, variable)| self.or_variable(name, variable))
        .filter(|(file, _)| file != "system" && !file.starts_with("-----BEGIN"))
        .map(|(file, name)| (name, file))
        .collect()
    }

    pub(super) fn schemas(&self) -> Option<&str> {
        let schemas = self.0.get("schema").or_else(|| self.0.get("currentSchema"))?;
        Some(schemas)
    }

    pub(super) fn connect_timeout(&self) -> Result<Option<Duration>, UnusableUrl> {
        let Some(seconds) = self.0.get("connect_timeout") else {
            return Ok(None);
        };
        match seconds.parse::<u64>() {
            // Zero means no limit in `psql`, but every wait has a limit here.
            Ok(0) => Ok(None),
            Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
            Err(_) => Err(unusable(
                "has a `connect_timeout` that is not a number of seconds",
            )),
        }
    }

    /// Builds the URL for the driver.
    pub(super) fn canonical_url(&self) -> Result<Url, UnusableUrl> {
        if self.0.contains_key("host") && self.0.contains_key("hostaddr") {
            return Err(unusable("has both a host and `hostaddr`: set only one of them"));
        }
        in_parameters(
            self.0
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .filter(|(name, _)| HANDED_ON.contains(name)),
        )
    }

    fn check_port(&self) -> Result<(), UnusableUrl> {
        match self.0.get("port") {
            Some(port) if port.parse::<u16>().is_err() => Err(unusable("has an invalid `port`")),
            _ => Ok(()),
        }
    }
}

fn check(name: &str, value: &str) -> Result<(), UnusableUrl> {
    if name == "host" && value.contains(',') {
        return Err(unusable(
            "names several hosts: name only one (for the ledger, the primary)",
        ));
    }
    if HANDED_ON.contains(&name) || READ_HERE.contains(&name) {
        return Ok(());
    }
    if let Some((_, _, values)) = AS_IT_IS.iter().find(|(known, ..)| *known == name) {
        if values.contains(&value) {
            return Ok(());
        }
        return Err(unusable(format!(
            "has the parameter `{name}`, which is only supported as {}",
            values.join(" or ")
        )));
    }
    if let Some((_, _, instead)) = NOT_SUPPORTED.iter().find(|(known, ..)| *known == name) {
        return Err(unusable(format!(
            "has the parameter `{name}`, which is not supported: {instead}"
        )));
    }
    let known = HANDED_ON.iter().chain(&READ_HERE);
    let near = known
        .map(|known| (strsim::levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, known)| format!(" (did you mean `{known}`?)"))
        .unwrap_or_default();
    // An invalid name may be the rest of a password that contains `&`.
    let is_name = name.len() <= 40
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let named = if is_name {
        format!("`{name}`{near}")
    } else {
        "with an invalid name".to_owned()
    };
    Err(unusable(format!(
        "has an unknown parameter, {named}: leave it out"
    )))
}
