//! The service and its timer.

use std::{collections::BTreeSet, fs, process::Command};
use tempfile::TempDir;

use super::{for_a_person, harmless, text};
use crate::support::bed::{Bed, ended};

const UNITS: [&str; 3] = [
    "tokenferry.service",
    "tokenferry.timer",
    "tokenferry-failed@.service",
];

/// The values of a key of the service, in their order.
fn values(key: &str) -> Vec<String> {
    let service = text("tokenferry.service");
    let of = |line: &str| {
        line.strip_prefix(key)?
            .strip_prefix('=')
            .map(|value| value.trim().to_owned())
    };
    service.lines().filter_map(of).collect()
}

fn codes(key: &str) -> BTreeSet<u8> {
    let all = values(key).join(" ");
    all.split_whitespace().map(|code| code.parse().unwrap()).collect()
}

#[test]
fn every_exit_code_has_its_consequence() {
    assert_eq!(codes("SuccessExitStatus"), harmless());
    assert_eq!(codes("RestartPreventExitStatus"), for_a_person());
    // All others are tried again, until the limit turns them into a failure.
    assert_eq!(values("Restart"), ["on-failure"]);
    assert_eq!(values("OnFailure"), ["tokenferry-failed@%n.service"]);
    assert_eq!(values("StartLimitBurst").len(), 1);
}

#[tokio::test]
async fn the_program_finds_its_credentials_where_systemd_puts_them() {
    let bed = Bed::new().await;
    bed.user_rows(1, 20).await;
    let credentials = tempfile::tempdir().unwrap();
    for credential in values("LoadCredential") {
        let (name, _) = credential.split_once(':').unwrap();
        let value = match name {
            "source-url" | "ledger-url" => bed.database.url(),
            "project-id" => bed.api.project_id(),
            "management-key" => bed.api.management_key().reveal(),
            name => panic!("what is {name}?"),
        };
        // Whoever writes such a file ends its line.
        fs::write(credentials.path().join(name), format!("{value}\n")).unwrap();
    }
    let mut command = bed.command(&["migrate", "--json"]);
    for name in [
        "SOURCE_DATABASE_URL",
        "DESCOPE_PROJECT_ID",
        "DESCOPE_MANAGEMENT_KEY",
    ] {
        command.env_remove(name);
    }
    for variable in values("Environment") {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, value.replace("%d", credentials.path().to_str().unwrap()));
    }
    ended(command.output()).await.ended_with(0);
    bed.assert_arrived_once().await;
}

#[test]
fn systemd_takes_the_units_and_finds_the_service_well_confined() {
    let folder = tempfile::tempdir().unwrap();
    for unit in UNITS {
        // Whether the program is there is looked at, too.
        let unit_text = text(unit).replace("/usr/local/bin/tokenferry", env!("CARGO_BIN_EXE_tokenferry"));
        fs::write(folder.path().join(unit), unit_text).unwrap();
    }
    let Some(version) = version_of_systemd() else {
        eprintln!("there is no systemd-analyze: nobody looked at the units");
        return;
    };
    // Since then it knows %d and looks at files offline.
    if version < 250 {
        eprintln!("systemd {version} is too old for the units");
        return;
    }
    analyze(&folder, &["verify", "--man=no"], &UNITS);
    // In tenths, from 0 to 100: "OK" ends at 50.
    analyze(
        &folder,
        &["security", "--no-pager", "--offline=true", "--threshold=15"],
        &UNITS[..1],
    );
}

fn version_of_systemd() -> Option<u32> {
    let output = Command::new("systemd-analyze").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// `systemd-analyze` ends well and complains about nothing.
fn analyze(folder: &TempDir, arguments: &[&str], units: &[&str]) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .args(units.iter().map(|unit| folder.path().join(unit)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
