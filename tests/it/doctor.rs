//! `doctor`: every trouble is found, named with what to do, and nothing is changed.

mod api;
mod databases;
mod mistakes;
mod sample;
mod settings;

use serde_json::Value;

use crate::support::bed::{Bed, Ran};

/// The checks of a run of `doctor --json`.
struct Checks(Vec<Value>);

impl Checks {
    fn of(ran: &Ran) -> Self {
        let report = ran.json();
        for key in ["checks", "overall"] {
            assert!(report.get(key).is_some(), "{report}");
        }
        let checks = report["checks"].as_array().unwrap().clone();
        for check in &checks {
            for key in ["area", "name", "status", "detail", "advice", "fix"] {
                assert!(check.get(key).is_some(), "{check}");
            }
            let needs_advice = check["status"] == "failed" || check["status"] == "warning";
            assert_eq!(check["advice"].is_string(), needs_advice, "{check}");
        }
        Self(checks)
    }

    #[track_caller]
    fn get(&self, area: &str, name: &str) -> &Value {
        let found: Vec<_> = self
            .0
            .iter()
            .filter(|check| check["area"] == area && check["name"] == name)
            .collect();
        assert_eq!(found.len(), 1, "{area}/{name} among {:#?}", self.0);
        found[0]
    }

    #[track_caller]
    fn assert(&self, area: &str, name: &str, status: &str, said: &str) {
        let check = self.get(area, name);
        assert_eq!(check["status"], status, "{check}");
        let text = format!("{} {}", check["detail"], check["advice"]);
        assert!(text.contains(said), "{said:?} is not in {check}");
    }

    /// Those that did not end well, as `area/name status`.
    fn not_ok(&self) -> Vec<String> {
        let not_ok = self.0.iter().filter(|check| check["status"] != "ok");
        not_ok
            .map(|check| {
                let word = |key: &str| check[key].as_str().unwrap().to_owned();
                format!("{}/{} {}", word("area"), word("name"), word("status"))
            })
            .collect()
    }
}

/// `doctor --json` with variables over the bed's own.
async fn doctor(bed: &Bed, variables: &[(&str, &str)]) -> Ran {
    let mut command = bed.command(&["doctor", "--json"]);
    command.envs(variables.iter().copied());
    command.output().await.unwrap().into()
}

/// Everything there is in the bed's database, rows counted.
async fn inventory(bed: &Bed) -> Vec<String> {
    bed.texts(
        "select format('%I.%I %s', n.nspname, c.relname, c.relkind) || coalesce((xpath('/row/c/text()',
                    case when c.relkind = 'r' then query_to_xml(format('select count(*) as c from %I.%I', n.nspname, c.relname),
                         false, true, '') end))[1]::text, '')
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
         union all select 'schema ' || nspname from pg_namespace order by 1",
    )
    .await
}
