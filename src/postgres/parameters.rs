//! The parts of a database's URL, by the names that `psql` has for them.

use std::{collections::BTreeMap, env, time::Duration};

use url::Url;

use super::url_text::{UnusableUrl, decoded, in_parameters, unusable};

/// What the driver is told of.
const HANDED_ON: [&str; 9] = [
    "host", "hostaddr", "port", "user", "password", "dbname", "sslcert", "sslkey", "options",
];

/// What is read here. The session's name is tokenferry's own, by which a run's sessions are known.
const READ_HERE: [&str; 6] = [
    "sslmode",
    "sslrootcert",
    "schema",
    "currentSchema",
    "connect_timeout",
    "application_name",
];

/// What is taken only where it asks for what happens anyway, and with which values it does.
const AS_IT_IS: [(&str, &str, &[&str]); 6] = [
    ("channel_binding", "PGCHANNELBINDING", &["prefer", "disable"]),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", &["any"]),
    ("gssencmode", "PGGSSENCMODE", &["disable", "prefer"]),
    ("sslnegotiation", "PGSSLNEGOTIATION", &["postgres"]),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", &["disable"]),
    ("pgbouncer", "", &["false"]),
];

/// What `psql` has, tokenferry has not, and what to write in its place.
const NOT_SUPPORTED: [(&str, &str, &str); 5] = [
    (
        "service",
        "PGSERVICE",
        "write host, port, user and database into the URL",
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
        "have the server ask for what you require (pg_hba.conf)",
    ),
    (
        "sslcrl",
        "PGSSLCRL",
        "leave it out: revoked certificates are not looked up",
    ),
];

/// What a URL says, each part under one name.
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
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if host.contains(',') {
            return Err(unusable(
                "names several hosts: name one, the primary for the ledger",
            ));
        }
        // `psql` takes a user without a host (which a parameter names, or the environment), the standard of URLs does not.
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

    /// What the environment asks for and there is not.
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
                "cannot be used while the environment has a `PGPORT` that is no port",
            )),
            _ => Ok(()),
        }
    }

    /// A parameter, or what a variable of the environment says in its place; and the name of what it is from.
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

    pub(super) fn schemas(&self) -> Option<&str> {
        let schemas = self.0.get("schema").or_else(|| self.0.get("currentSchema"))?;
        Some(schemas)
    }

    pub(super) fn connect_timeout(&self) -> Result<Option<Duration>, UnusableUrl> {
        let Some(seconds) = self.0.get("connect_timeout") else {
            return Ok(None);
        };
        match seconds.parse::<u64>() {
            // Nothing is waited for without a limit.
            Ok(0) => Ok(None),
            Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
            Err(_) => Err(unusable("has a `connect_timeout` that is no number of seconds")),
        }
    }

    /// What the driver reads.
    pub(super) fn canonical_url(&self) -> Result<Url, UnusableUrl> {
        if self.0.contains_key("host") && self.0.contains_key("hostaddr") {
            return Err(unusable("has both a host and `hostaddr`: give one of the two"));
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
            Some(port) if port.parse::<u16>().is_err() => Err(unusable("has a `port` that is no port")),
            _ => Ok(()),
        }
    }
}

fn check(name: &str, value: &str) -> Result<(), UnusableUrl> {
    if name == "host" && value.contains(',') {
        return Err(unusable(
            "names several hosts: name one, the primary for the ledger",
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
    // A name that is none may be the end of a password with an `&` in it.
    let is_name = name.len() <= 40
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let named = if is_name {
        format!("`{name}`{near}")
    } else {
        "whose name is none".to_owned()
    };
    Err(unusable(format!(
        "has a parameter that is not known, {named}: leave it out"
    )))
}
