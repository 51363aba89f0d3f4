//! Presets: for each, the store's real tables with what is peculiar about them, from the preset to verified
//! tokens.

use serde_json::{Value, json};
use tokenferry::{
    config::presets,
    simulator::{Simulator, User},
};

use crate::support::{
    bed::{Bed, Ran, ended},
    listings::FAST_LOOKUPS,
};

/// A store with a few rows, and what has to become of them.
struct Store {
    preset: &'static str,
    sql: &'static str,
    /// What a person sets besides the preset.
    settings: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Tokens: app, owner, access token, refresh token, expiry, scopes, external identifier.
    stored: Value,
    /// Failures by code, and rows that are left out for a newer one.
    failed: Value,
    superseded: u64,
}

const ANN: &str = "ann@example.com";
const BOB: &str = "bob@example.com";
/// Of the values that other programs encrypted.
const SYNTHETIC: &str = "ya29.SYNTHETIC-6OMByxuHdtM_Y9iuFPd0";
const REFRESH: &str = "1//SYNTHETIC-refresh";
const LATER: i64 = 1_900_000_001;

macro_rules! store {
    ($preset:literal, $settings:expr, $environment:expr, $stored:tt, $failed:tt, $superseded:expr) => {
        Store {
            preset: $preset,
            sql: include_str!(concat!("../fixtures/stores/", $preset, ".sql")),
            settings: $settings,
            environment: $environment,
            stored: json!($stored),
            failed: json!($failed),
            superseded: $superseded,
        }
    };
}

fn authjs(preset: &'static str, sql: &'static str, superseded: u64) -> Store {
    Store {
        preset,
        sql,
        settings: "",
        environment: &[],
        stored: json!([
            ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
            [
                "google",
                ANN,
                "ya29.ann",
                "1//ann",
                LATER,
                ["email", "openid"],
                "g1"
            ],
            ["google", ANN, "ya29.ann-2", null, 0, ["email", "openid"], "g2"],
        ]),
        failed: json!({}),
        superseded,
    }
}

fn plain_stores() -> Vec<Store> {
    vec![
        authjs("authjs-pg", include_str!("../fixtures/stores/authjs-pg.sql"), 1),
        authjs(
            "authjs-prisma",
            include_str!("../fixtures/stores/authjs-prisma.sql"),
            0,
        ),
        authjs(
            "authjs-drizzle",
            include_str!("../fixtures/stores/authjs-drizzle.sql"),
            0,
        ),
        store!(
            "better-auth",
            "",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                [
                    "google",
                    ANN,
                    "ya29.ann",
                    "1//ann",
                    LATER,
                    ["https://www.googleapis.com/auth/calendar", "openid"],
                    "g1"
                ],
            ],
            {},
            0
        ),
        store!(
            "django-allauth",
            "",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, [], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", LATER, [], "g1"],
            ],
            {},
            1
        ),
        store!(
            "keycloak",
            "",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", LATER, ["email", "openid"], "g1"],
            ],
            { "unreadable_value": 1 },
            0
        ),
        store!(
            "hasura",
            "",
            &[],
            [
                ["github", BOB, "gho_bob", null, 0, [], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", 0, [], "g1"],
                ["google", ANN, "ya29.ann-2", null, 0, [], "g2"],
            ],
            {},
            0
        ),
        store!(
            "kratos",
            "",
            &[],
            [
                ["github", ANN, "gho_ann", null, 0, [], "h1"],
                ["google", ANN, "ya29.ann", "1//ann", 0, [], "g1"],
            ],
            {},
            0
        ),
        store!(
            "calcom",
            "",
            &[],
            [
                [
                    "google_calendar",
                    ANN,
                    "ya29.ann",
                    "1//ann",
                    LATER,
                    ["email", "openid"],
                    "1"
                ],
                [
                    "office365_calendar",
                    BOB,
                    "eyJ0.bob",
                    "0.bob",
                    LATER,
                    ["User.Read"],
                    "2"
                ],
                ["zoom_video", "7", "zoom-team", "zoom-r", LATER, [], "3"],
            ],
            {},
            0
        ),
    ]
}

fn social_auth(sql: &'static str) -> Store {
    Store {
        preset: "python-social-auth",
        sql,
        settings: "",
        environment: &[],
        stored: json!([
            ["github", BOB, "gho_bob", null, LATER, [], "h1"],
            ["gitlab", BOB, "glpat-bob", null, LATER, [], "l1"],
            ["gitlab", BOB, "glpat-bob-2", null, 0, [], "l2"],
            [
                "google",
                ANN,
                "ya29.ann",
                "1//ann",
                LATER,
                ["email", "openid"],
                "g1"
            ],
            ["google", ANN, "ya29.ann-2", null, LATER, [], "g2"],
        ]),
        failed: json!({ "unreadable_value": 1 }),
        superseded: 0,
    }
}

fn encrypted_stores() -> Vec<Store> {
    let long = include_str!("../fixtures/encrypted-values.json");
    let vectors: Value = serde_json::from_str(long).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    let of_better_auth = vectors
        .iter()
        .find(|vector| vector["id"] == "better-auth-05")
        .unwrap();
    vec![
        store!(
            "better-auth-encrypted",
            "",
            &[("BETTER_AUTH_SECRET", "better-auth-secret-12345678901234567890")],
            [
                ["github", BOB, "gho_bob", null, 0, ["repo", "user:email"], "h1"],
                ["google", ANN, (of_better_auth["plaintext"]), null, LATER, ["openid"], "g1"],
            ],
            { "not_decryptable": 1 },
            0
        ),
        store!(
            "nango",
            "",
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
            "",
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
            "",
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

impl Store {
    /// Ann and Bob sign in with their e-mail addresses; two more are known by their IDs.
    fn users() -> Vec<User> {
        [ANN, BOB]
            .into_iter()
            .map(|email| User::from(email).with_login_id(email))
            .chain(["U-ann", "U-bob"].map(User::from))
            .collect()
    }

    async fn bed(&self) -> Bed {
        let bed = Bed::with(Simulator::builder().users(Self::users())).await;
        bed.sql("drop table legacy_tokens").await;
        bed.sql(self.sql).await;
        bed
    }

    /// The whole configuration: the preset, where to go, and nothing of the table.
    fn configuration(&self, bed: &Bed) -> String {
        let lookups: String = FAST_LOOKUPS
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        format!(
            "migration = \"store\"\n{lookups}{}\n\
             source.url = \"env:SOURCE_DATABASE_URL\"\nsource.preset = \"{}\"\n\
             api.base_url = \"{}\"\napi.project_id = \"env:DESCOPE_PROJECT_ID\"\n\
             api.management_key = \"env:DESCOPE_MANAGEMENT_KEY\"\napi.rate_limit.requests = 1000\n",
            self.settings,
            self.preset,
            bed.api.base_url(),
        )
    }

    async fn run(&self, bed: &Bed, arguments: &[&str]) -> Ran {
        let mut command = bed.command(arguments);
        std::fs::write(bed.config_path(), self.configuration(bed)).unwrap();
        command.envs(self.environment.iter().copied());
        ended(command.output()).await
    }

    /// From the preset to verified tokens.
    async fn moves(&self) {
        let name = self.preset;
        let bed = self.bed().await;
        let code = if self.failed == json!({}) { 0 } else { 3 };
        let doctor = self.run(&bed, &["doctor"]).await;
        assert_eq!(doctor.code, 0, "{name}: {}", doctor.stdout);
        let dry_run = self.run(&bed, &["migrate", "--dry-run", "--json"]).await;
        assert_eq!(dry_run.code, code, "{name}: {}{}", dry_run.stdout, dry_run.stderr);
        assert_eq!(bed.api.stored_count(), 0, "{name}");
        let ran = self.run(&bed, &["migrate", "--json"]).await;
        assert_eq!(ran.code, code, "{name}: {}{}", ran.stdout, ran.stderr);
        let report = ran.json();
        assert_eq!(report["failures_by_code"], self.failed, "{name}");
        assert_eq!(report["tokens"]["superseded"], self.superseded, "{name}");
        assert_eq!(stored(&bed), self.stored, "{name}");
        let verified = self.run(&bed, &["verify"]).await;
        assert_eq!(verified.code, 0, "{name}: {}{}", verified.stdout, verified.stderr);
    }
}

fn stored(bed: &Bed) -> Value {
    let mut stored: Vec<Value> = bed
        .api
        .stored()
        .iter()
        .map(|token| {
            let to = &token.destination;
            json!([
                to.app_id,
                to.user_id.as_ref().or(to.tenant_id.as_ref()),
                token.exposed_access_token(),
                token.exposed_refresh_token(),
                token.access_token_expiry,
                to.scopes,
                to.external_identifier,
            ])
        })
        .collect();
    stored.sort_by_key(ToString::to_string);
    stored.into()
}

#[tokio::test]
async fn every_plain_store_moves_by_its_preset_alone() {
    for store in plain_stores() {
        store.moves().await;
    }
}

#[tokio::test]
async fn extra_data_moves_from_jsonb_and_from_text() {
    for column_type in ["jsonb", "text"] {
        let sql = include_str!("../fixtures/stores/python-social-auth.sql").replace("TYPE", column_type);
        social_auth(sql.leak()).moves().await;
    }
}

#[tokio::test]
async fn every_encrypted_store_moves_by_its_preset_and_a_key() {
    for store in encrypted_stores() {
        store.moves().await;
    }
}

#[test]
fn no_preset_is_without_a_test() {
    let mut tested: Vec<&str> = plain_stores().iter().map(|store| store.preset).collect();
    tested.extend(encrypted_stores().iter().map(|store| store.preset));
    tested.push("python-social-auth");
    tested.sort_unstable();
    let all: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
    assert_eq!(tested, all);
}

#[tokio::test]
async fn what_the_file_says_lies_above_the_preset() {
    let mut store = plain_stores().remove(1);
    store.settings = "source.where = \"provider = 'github'\"\n\
                      source.columns.user_id = { sql = \"'U-bob'\" }\n\
                      source.columns.scopes = { sql = \"'repo'\" }";
    let bed = store.bed().await;
    store.run(&bed, &["migrate", "--json"]).await.ended_with(0);
    assert_eq!(
        stored(&bed),
        json!([["github", "U-bob", "gho_bob", null, 0, ["repo"], "h1"]])
    );
    store.preset = "authjs-prism";
    let wrong = store
        .run(&bed, &["migrate", "--log-format", "text"])
        .await
        .ended_with(2);
    let said = "`source.preset` must be the name of a preset; did you mean \"authjs-prisma\"?";
    assert!(wrong.stderr.contains(said), "{}", wrong.stderr);
}
