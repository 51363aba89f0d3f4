//! A check and its result.

use serde::Serialize;

/// What is looked at, in the order of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// The file and the environment.
    Configuration,
    /// The database the tokens are in.
    Source,
    /// The database the books are in.
    Ledger,
    /// Where the tokens go.
    Api,
}

impl Area {
    /// The word for people.
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

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// A run will work; still, look at it.
    Warning,
    /// A run will not work, or not as meant.
    Failed,
    /// Not looked at: something before it failed, or there is nothing to look at.
    Skipped,
}

/// Whose trouble a failed check is. Decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The configuration, or a table or column that is not as configured.
    Configuration,
    /// A database that is out of reach or does not let us.
    Database,
    /// The API, which refused us or is not there.
    Api,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was looked at.
    pub area: Area,
    /// What of it; for the configuration, a key.
    pub name: String,
    /// What came of it.
    pub status: Status,
    /// What was found; never a secret.
    pub detail: String,
    /// What to do.
    pub advice: Option<String>,
    /// Whose trouble it is, if it failed.
    #[serde(skip)]
    pub class: Option<FailureClass>,
}

impl Check {
    /// As it should be.
    #[must_use]
    pub fn ok(area: Area, name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            area,
            name: name.into(),
            status: Status::Ok,
            detail: detail.into(),
            advice: None,
            class: None,
        }
    }

    /// Worth a look.
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

    /// Not as it must be.
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

    /// Not looked at, since something is missing.
    #[must_use]
    pub fn skipped(area: Area, name: impl Into<String>, needs: &str) -> Self {
        Self {
            status: Status::Skipped,
            ..Self::ok(area, name, format!("not looked at: it needs {needs}"))
        }
    }
}

/// What all the checks come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overall {
    /// Nothing to do.
    Ok,
    /// A run will work; some things are worth a look.
    Warning,
    /// Something must be put right first.
    Failed,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Examination {
    /// Every check, area by area.
    pub checks: Vec<Check>,
    /// What they come to.
    pub overall: Overall,
}

impl Examination {
    /// The report of these checks.
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

    /// How many checks ended so.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    /// Whose trouble the first failed check is; the areas come in their order.
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
