//! Durability: whether confirmed ledger writes survive a crash.

use super::{Area, Check};
use crate::ledger::{Durability, LedgerDiagnostics, LedgerError};

const NAME: &str = "durability";

/// Checks the durability settings. The ledger prevents duplicate uploads, so losing writes is worth a
/// warning, although a run works.
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
            "{} off: after a crash of its machine the server may lose or damage confirmed writes, so tokens would be sent twice",
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
            "use a server with durable writes for the ledger, or: {}; select pg_reload_conf()",
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
    let detail = format!("confirmed writes survive a crash{raised}");
    Ok(Check::ok(Area::Ledger, NAME, detail))
}
