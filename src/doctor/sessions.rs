//! Session checks: the database's connection limits against the sessions of a run.

use super::{Area, Check, FailureClass};
use crate::postgres::{Limit, Room};

pub(super) const NAME: &str = "sessions";

/// The sessions that a run needs of one database, and the limits.
pub(super) struct Need {
    pub(super) area: Area,
    pub(super) room: Room,
    /// The minimum for a run.
    pub(super) least: i64,
    /// The maximum that a run uses.
    pub(super) most: i64,
}

/// The sessions that compete for one limit.
struct Demand<'a> {
    of: &'a Limit,
    limit: i64,
    left: i64,
    least: i64,
    most: i64,
    is_shared: bool,
}

/// Checks each database that could be asked.
pub(super) fn checks(source: Option<&Need>, ledger: Option<&Need>) -> [Option<Check>; 2] {
    [
        source.map(|need| check(need, ledger)),
        ledger.map(|need| check(need, source)),
    ]
}

fn check(need: &Need, other: Option<&Need>) -> Check {
    let demands = need.room.limits.iter().filter_map(|of| {
        let sharing = other.filter(|other| {
            other.room.server == need.room.server && other.room.limits.iter().any(|theirs| theirs.of == of.of)
        });
        Some(Demand {
            of,
            limit: of.limit?,
            left: of.left()?,
            least: need.least + sharing.map_or(0, |other| other.least),
            most: need.most + sharing.map_or(0, |other| other.most),
            is_shared: sharing.is_some(),
        })
    });
    let Some(tightest) = demands.min_by_key(|demand| demand.left - demand.most) else {
        return Check::ok(need.area, NAME, "no limit");
    };
    let Demand {
        limit,
        left,
        least,
        most,
        ..
    } = tightest;
    let together = if tightest.is_shared {
        ", source and ledger together"
    } else {
        ""
    };
    if left >= most {
        let detail = format!("a run has up to {most}{together}, and {left} are left");
        return Check::ok(need.area, NAME, detail);
    }
    let detail = format!(
        "a run has up to {most}{together}, and {} has {left} of {limit} left",
        tightest.of.of
    );
    if left < least {
        let advice = format!("raise that limit: a run needs at least {least}");
        return Check::failed(need.area, FailureClass::Database, NAME, detail, advice);
    }
    let advice = "raise that limit, or lower `batch.concurrency`: with fewer sessions, a run works but statements wait for each other";
    Check::warning(need.area, NAME, detail, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(area: Area, server: &str, limits: &[(&str, impl Into<Option<i64>> + Copy, i64)]) -> Need {
        let (least, most) = if area == Area::Source { (1, 2) } else { (2, 12) };
        let limits = limits.iter().map(|&(of, limit, taken)| Limit {
            of: of.to_owned(),
            limit: limit.into(),
            taken,
        });
        Need {
            area,
            room: Room {
                server: server.to_owned(),
                limits: limits.collect(),
            },
            least,
            most,
        }
    }

    #[test]
    fn needs_are_added_up_where_one_limit_is_for_both() {
        for (ledger_server, ledger_role, limit, expected) in [
            ("a", "the role x", 14, ["ok", "ok"]),
            (
                "a",
                "the role x",
                13,
                ["14, source and ledger", "14, source and ledger"],
            ),
            ("a", "the role x", 2, ["at least 3", "at least 3"]),
            ("a", "the role y", 12, ["ok", "ok"]),
            ("a", "the role y", 2, ["ok", "12, and the role y"]),
            // A limit of the same name on another server.
            ("b", "the role x", 12, ["ok", "ok"]),
            ("b", "the role x", 1, ["2, and the role x", "at least 2"]),
        ] {
            let server = ("the server (max_connections)", 100, 10);
            let source = need(Area::Source, "a", &[("the role x", limit, 0), server]);
            let ledger = need(Area::Ledger, ledger_server, &[(ledger_role, limit, 0), server]);
            for (check, expected) in checks(Some(&source), Some(&ledger)).into_iter().zip(expected) {
                let check = serde_json::to_string(&check.unwrap()).unwrap();
                assert!(check.contains(expected), "{expected}: {check}");
            }
        }
    }

    #[test]
    fn the_tightest_limit_is_the_one_that_leaves_least_to_those_who_share_it() {
        // The role's limit leaves fewer sessions, but the server's limit counts for both.
        let limits = [("the role x", 12, 0), ("the server", 100, 87)];
        let ledger = need(Area::Ledger, "a", &limits);
        let source = need(Area::Source, "a", &limits[1..]);
        let [_, ledger] = checks(Some(&source), Some(&ledger));
        assert!(ledger.unwrap().detail.contains("the server has 13 of 100"));
        // A limit that does not bind one database is still used up by it.
        let ledger = need(Area::Ledger, "a", &[("the database x", 13, 0)]);
        let source = need(Area::Source, "a", &[("the database x", None, 0)]);
        let [source, ledger] = checks(Some(&source), Some(&ledger));
        assert_eq!(source.unwrap().detail, "no limit");
        assert!(
            ledger
                .unwrap()
                .detail
                .contains("up to 14, source and ledger together")
        );
    }
}
