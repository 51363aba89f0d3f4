//! A check and its result.

use serde::Serialize;

/// The area of a check, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The file and the environment.
    Configuration,
    /// The database that has the tokens.
    Source,
    /// The database that has the ledger.
    Ledger,
    /// The API that receives the tokens.
    Api,
}

impl Area {
    /// Returns the title for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Source => "source",
            Self::Ledger => "ledger",
            Self::Api => "API",
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As required.
    Ok,
    /// A run will work, but somebody should look at it.
    Warning,
    /// A run will fail, or not work as intended.
    Failed,
    /// Not checked: an earlier check failed, or there is nothing to check.
    Skipped,
}

/// The class of a failed check, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The configuration, or a table or column that does not match it.
    Configuration,
    /// A database that is unreachable or denies access.
    Database,
    /// The API, which is unreachable or rejects the credentials.
    Api,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// The area.
    pub area: Area,
    /// The name within the area; for the configuration, a key.
    pub name: String,
    /// The result.
    pub status: Status,
    /// The finding; never a secret.
    pub detail: String,
    /// The remedy.
    pub advice: Option<String>,
    /// The remedy as lines to paste: shell commands, SQL with a semicolon, or lines of the configuration.
    pub fix: Vec<String>,
    /// The class of the failure, if it failed.
    #[serde(skip)]
    pub class: Option<FailureClass>,
}

impl Check {
    /// Builds a passed check.
    #[must_use]
    pub fn ok(area: Area, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            area,
            name: name.into(),
            status: Status::Ok,
            detail: detail.into(),
            advice: None,
            fix: Vec::new(),
            class: None,
        }
    }

    /// Builds a warning.
    #[must_use]
    pub fn warning(
        area: Area,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Warning,
            advice: Some(advice.into()),
            ..Self::ok(area, name, detail)
        }
    }

    /// Builds a failed check.
    #[must_use]
    pub fn failed(
        area: Area,
        class: FailureClass,
        name: impl Into<String>,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Failed,
            advice: Some(advice.into()),
            class: Some(class),
            ..Self::ok(area, name, detail)
        }
    }

    /// Adds lines to paste.
    #[must_use]
    pub fn with_fix(self, fix: impl IntoIterator<Item = String>) -> Self {
        Self {
            fix: fix.into_iter().collect(),
            ..self
        }
    }

    /// Builds a check that was skipped because a prerequisite is missing.
    #[must_use]
    pub fn skipped(area: Area, name: impl Into<String>, needs: &str) -> Self {
        Self {
            status: Status::Skipped,
            ..Self::ok(area, name, format!("not checked, needs {needs}"))
        }
    }
}

/// The overall result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Everything passed.
    Ok,
    /// A run will work; some warnings.
    Warning,
    /// Something must be fixed first.
    Failed,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// All checks, in the order of areas.
    pub checks: Vec<Check>,
    /// The overall result.
    pub overall: Overall,
}

impl Examination {
    /// Builds the report of these checks.
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Self {
        let any = |status| checks.iter().any(|check| check.status == status);
        let overall = if any(Status::Failed) {
            Overall::Failed
        } else if any(Status::Warning) {
            Overall::Warning
        } else {
            Overall::Ok
        };
        Self { checks, overall }
    }

    /// Returns the number of checks with this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    /// Returns the class of the first failed check, in the order of areas.
    #[must_use]
    pub fn class(&self) -> Option<FailureClass> {
        self.checks.iter().find_map(|check| check.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_in_the_order_of_areas_is_blamed() {
        let ok = Check::ok(Area::Configuration, "migration", "m");
        let warning = Check::warning(Area::Source, "rows", "none", "fill it");
        let gone = Check::failed(
            Area::Source,
            FailureClass::Database,
            "connection",
            "gone",
            "start it",
        );
        let refused = Check::failed(
            Area::Api,
            FailureClass::Api,
            "credentials",
            "refused",
            "renew them",
        );
        let all = Examination::new(vec![ok.clone(), warning.clone(), gone, refused]);
        assert_eq!(
            (all.overall, all.class()),
            (Overall::Failed, Some(FailureClass::Database))
        );
        let fine = Examination::new(vec![ok, warning]);
        assert_eq!((fine.overall, fine.class()), (Overall::Warning, None));
    }
}
