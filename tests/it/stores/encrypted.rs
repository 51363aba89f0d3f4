//! Stores with encrypted tokens.

use std::fs;

use serde_json::{Value, json};

use super::{ANN, BOB, LATER, REFRESH, SYNTHETIC, Store, sql, store};

/// What a value of the fixtures holds.
fn plaintext(id: &str) -> Value {
    let values: Value = serde_json::from_str(include_str!("../../fixtures/encrypted-values.json")).unwrap();
    let values = values["vectors"].as_array().unwrap();
    let value = values.iter().find(|value| value["id"] == id).unwrap();
    value["plaintext"].clone()
}

pub(super) fn encrypted_stores() -> Vec<Store> {
    vec![
        store!(
            "airflow",
            &[("AIRFLOW__CORE__FERNET_KEY", "dq-2VnC5o9oLc1o9a19UMuE0NucYC4OwJfj7SaCxZoY=,xih1kYfZvugdp2WmMUwv87fgoTPz5GiUQkW-fdYxJ0Q=")],
            [
                ["google_cloud_platform", ANN, "ya29.ann", "1//ann", LATER, ["email", "openid"], "google_ann"],
                ["hubspot", ANN, "hub-ann", null, LATER, [], "hubspot_ann"],
                ["hubspot", BOB, "hub-bob", null, 0, ["crm.read"], "hubspot_bob"],
            ],
            { "no_token": 1, "not_decryptable": 1 },
            0
        ),
        store!(
            "laravel",
            &[("APP_KEY", "base64:n8NzRv/oncBsUfS9E3WfBVyfefg1VvR09HT/Ywcs9yU=")],
            [
                ["github", BOB, "gho_bob", null, 0, [], "h2"],
                ["google", ANN, SYNTHETIC, (plaintext("laravel-02")), LATER, [], "g1"],
                ["google", BOB, SYNTHETIC, null, 0, [], "g2"],
            ],
            { "not_decryptable": 1 },
            1
        ),
        store!(
            "rails",
            &[
                ("ACTIVE_RECORD_ENCRYPTION_PRIMARY_KEY", "EGY8WhulUOXixybod7ZWwMIL68R9o5kC"),
                ("ACTIVE_RECORD_ENCRYPTION_KEY_DERIVATION_SALT", "xEY0dt6TZcAMg52K7O84wYzkjvbA62Hz"),
            ],
            [
                ["github", ANN, SYNTHETIC, null, 0, [], "h1"],
                ["github", BOB, "gho_bob", null, 0, [], "h2"],
                ["google_oauth2", ANN, SYNTHETIC, (plaintext("rails-ar-encryption-10")), LATER, [], "g1"],
                ["google_oauth2", BOB, (plaintext("rails-ar-encryption-02")), null, 0, [], "g2"],
            ],
            { "not_decryptable": 1 },
            0
        ),
        store!(
            "better-auth-encrypted",
            &[("BETTER_AUTH_SECRET", "better-auth-secret-12345678901234567890")],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                ["google", ANN, (plaintext("better-auth-05")), null, LATER, ["openid"], "g1"],
            ],
            { "not_decryptable": 1 },
            0
        ),
        store!(
            "nango",
            &[("NANGO_ENCRYPTION_KEY", "/Qc+bTEfFTcGLb4mtdFnCCiRl+BivjjOdg10gLSIP/o=")],
            [
                ["github", "U-bob", SYNTHETIC, REFRESH, 0, ["a", "b"], "c2"],
                ["google", "U-ann", SYNTHETIC, REFRESH, LATER, ["a", "b"], "c1"],
            ],
            { "not_decryptable": 1 },
            0
        ),
        store!(
            "grafana",
            &[("GF_SECURITY_SECRET_KEY", "SW2YcwTIb9zpOOhoPsMm")],
            [
                ["oauth_generic_oauth", BOB, SYNTHETIC, null, 0, [], null],
                ["oauth_google", ANN, SYNTHETIC, null, LATER, [], null],
            ],
            {},
            1
        ),
        store!(
            "n8n",
            &[("N8N_ENCRYPTION_KEY", "synthetic-n8n-key")],
            [
                ["googleDriveOAuth2Api", BOB, SYNTHETIC, REFRESH, 0, ["a", "b"], "c2"],
                ["googleSheetsOAuth2Api", ANN, SYNTHETIC, REFRESH, 0, ["a", "b"], "c1"],
            ],
            { "no_token": 1 },
            0
        ),
    ]
}

#[tokio::test]
async fn a_store_of_an_earlier_version_moves_without_the_table_that_it_lacks() {
    let mut store = Store::of("n8n");
    store.sql = concat!(
        sql!("n8n"),
        "; delete from credentials_entity where data ~ '^[^:]+:'; drop table deployment_key"
    );
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let init = store
        .run(&bed, folder.path(), &["init", "--yes"])
        .await
        .ended_with(0);
    assert!(!init.stdout.contains("deployment_key"), "{}", init.stdout);
    let written = fs::read_to_string(folder.path().join("tokenferry.toml")).unwrap();
    let said = "# The database has no table `deployment_key`.";
    assert!(written.contains(said), "{written}");
    let doctor = store.run(&bed, folder.path(), &["doctor"]).await;
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    let ran = store.run(&bed, folder.path(), &["migrate", "--json"]).await;
    assert!(matches!(ran.code, 0 | 3), "{}{}", ran.stdout, ran.stderr);
    assert!(bed.api.stored_count() > 0, "{}", ran.stdout);
}

#[tokio::test]
async fn data_keys_are_read_whatever_form_of_bytes_the_database_prefers() {
    let mut store = Store::of("grafana");
    let set = "do $$ begin execute format('alter database %I set bytea_output = escape', current_database()); end $$;";
    store.sql = format!("{set}\n{}", store.sql).leak();
    store.moves().await;
}
