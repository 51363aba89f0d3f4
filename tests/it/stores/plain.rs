//! Stores with plain tokens.

use serde_json::json;

use super::{ANN, BOB, LATER, Store, sql, store};

fn authjs(preset: &'static str, sql: &'static str, superseded: u64) -> Store {
    Store {
        preset,
        sql,
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

pub(super) fn plain_stores() -> Vec<Store> {
    vec![
        authjs("authjs-pg", sql!("authjs-pg"), 1),
        authjs("authjs-prisma", sql!("authjs-prisma"), 0),
        authjs("authjs-drizzle", sql!("authjs-drizzle"), 0),
        store!(
            "better-auth",
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

pub(super) fn social_auth(sql: &'static str) -> Store {
    Store {
        preset: "python-social-auth",
        sql,
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
