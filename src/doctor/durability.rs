//! Durability: whether what the ledger's server confirmed survives a crash.

use super::{Area, Check};
use crate::ledger::{Durability, LedgerDiagnostics, LedgerError};

const NAME: &str = "durability";

/// The ledger is what keeps tokens from being sent twice: one that forgets is worth a warning, though a run works with it.
pub(super) async fn examine(diagnostics: &mut LedgerDiagnostics) -> Result<Check, LedgerError> {
    let Durability {
        fsync,
        full_page_writes,
        synchronous_commit,
    } = diagnostics.durability().await?;
    let weak: Vec<&str> = [("fsync", fsync), ("full_page_writes", full_page_writes)]
        .into_iter()
        .filter_map(|(setting, is_on)| (!is_on).then_some(setting))
        .collect();
    if !weak.is_empty() {
        let detail = format!(
            "{} off: after a crash of its machine the server may have lost or damaged what it had confirmed, and tokens are sent twice",
            match *weak {
                [one] => format!("{one} is"),
                _ => format!("{} are", weak.join(" and ")),
            }
        );
        let remedy: Vec<String> = weak
            .iter()
            .map(|setting| format!("alter system set {setting} = on"))
            .collect();
        let advice = format!(
            "give the ledger a server that keeps what it confirms, or: {}; select pg_reload_conf()",
            remedy.join("; ")
        );
        return Ok(Check::warning(Area::Ledger, NAME, detail, advice));
    }
    let raised = if matches!(synchronous_commit.as_str(), "off" | "local") {
        format!(
            " (synchronous_commit is {synchronous_commit} for this role and database: the ledger's own sessions raise it to on)"
        )
    } else {
        String::new()
    };
    let detail = format!("what the server has confirmed survives a crash{raised}");
    Ok(Check::ok(Area::Ledger, NAME, detail))
}
