//! `check`: one row is shown, judged and encoded, and nothing is sent or told.

use crate::support::bed::{Bed, TOKEN};

#[tokio::test]
async fn a_row_is_shown_with_its_secrets_masked_and_nothing_is_sent() {
    let bed = Bed::new()
        .await
        .set("source.columns.login_id = \"email\"\napps.google = \"calendar\"");
    bed.rows(1, 3).await;
    bed.sql("alter table legacy_tokens add email text; update legacy_tokens set user_id = null, email = 'ann@example.com' where id = 2")
        .await;
    let shown = bed.run(&["check", "--key", "1"]).await.ended_with(0);
    let access = format!("{TOKEN}-access-1");
    let length = access.len();
    for said in [
        "Row 1, as it was read:",
        "user_id              \"user-1\"",
        &format!("access_token         {length} characters: letters, digits, punctuation"),
        "scopes               calendar email",
        "Outbound app: calendar",
        "Rules: none is broken.",
        &format!(
            "{{\"appId\":\"calendar\",\"userId\":\"user-1\",\"refreshToken\":\"({} characters)\"",
            length + 1
        ),
        "The ledger could not be read",
    ] {
        assert!(shown.stdout.contains(said), "{said}: {}", shown.stdout);
    }
    let by_login = bed.run(&["check", "--key", "2"]).await.ended_with(0);
    assert!(
        by_login.stdout.contains("\"userId\":\"LOOKED-UP\""),
        "{}",
        by_login.stdout
    );
    for told in [&shown.stdout, &shown.stderr, &by_login.stdout, &by_login.stderr] {
        assert!(!told.contains(TOKEN) && !told.contains("ann@"), "{told}");
    }
    assert_eq!(bed.api.requests().all().len(), 0);

    bed.sql("update legacy_tokens set provider = 'slack' where id = 3")
        .await;
    let refused = bed.run(&["check", "--key", "3"]).await.ended_with(3);
    assert!(refused.stdout.contains("Rules: not sent."), "{}", refused.stdout);
    // Not every text can be a key.
    for key in ["99", "ninety-nine", "99999999999999999999"] {
        let absent = bed.run(&["check", "--key", key]).await.ended_with(2);
        let said = format!("there is no row with the key \"{key}\"");
        assert!(absent.stderr.contains(&said), "{}", absent.stderr);
    }
}

#[tokio::test]
async fn what_the_ledger_knows_of_the_row_is_told() {
    let bed = Bed::new().await;
    bed.user_rows(1, 2).await;
    bed.migrate().await.ended_with(0);
    bed.user_rows(3, 3).await;
    // Another text of the same key is the same row.
    for key in ["1", "01"] {
        let sent = bed.run(&["check", "--key", key]).await.ended_with(0);
        for said in ["Row 1, as it was read:", "committed"] {
            assert!(sent.stdout.contains(said), "{key} {said}: {}", sent.stdout);
        }
    }
    let unknown = bed.run(&["check", "--key", "3"]).await.ended_with(0);
    assert!(
        unknown.stdout.contains("The ledger knows nothing of this row."),
        "{}",
        unknown.stdout
    );
}

#[tokio::test]
async fn a_token_in_a_column_that_is_mapped_to_something_else_is_not_shown() {
    for field in [
        "app",
        "user_id",
        "external_identifier",
        "scopes",
        "granted_by",
        "access_token_type",
    ] {
        let bed = Bed::new()
            .await
            .set(&format!("source.columns.{field} = \"refresh_token\""));
        bed.rows(1, 1).await;
        let shown = bed.run(&["check", "--key", "1"]).await;
        assert!(matches!(shown.code, 0 | 3), "{field}: {}", shown.stderr);
        assert!(shown.stdout.contains("Row 1, as it was read:"), "{field}");
        for told in [&shown.stdout, &shown.stderr] {
            assert!(!told.contains(TOKEN), "{field}: {told}");
        }
    }
}
