//! The files that `init` writes.

use std::{fs, os::unix::fs::symlink};

use super::Store;

#[tokio::test]
async fn a_file_that_cannot_be_created_is_a_usage_error_with_path_and_reason() {
    let store = Store::of("authjs-prisma");
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let missing = folder.path().join("missing");
    let init = store.run(&bed, &missing, &["init", "--yes"]).await.ended_with(2);
    let path = missing.join("tokenferry.toml");
    let said = format!("{} cannot be created: No such file", path.display());
    assert!(init.stderr.contains(&said), "{}", init.stderr);
}

#[tokio::test]
async fn if_one_file_cannot_be_created_none_is() {
    let store = Store::of("authjs-prisma");
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    // It is not there, and cannot be created.
    let schema = folder.path().join("tokenferry.schema.json");
    symlink(folder.path().join("missing"), &schema).unwrap();
    let init = store
        .run(&bed, folder.path(), &["init", "--yes"])
        .await
        .ended_with(2);
    let said = format!("{} cannot be created: File exists", schema.display());
    assert!(init.stderr.contains(&said), "{}", init.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::remove_file(&schema).unwrap();
    store
        .run(&bed, folder.path(), &["init", "--yes"])
        .await
        .ended_with(0);
}

#[tokio::test]
async fn an_example_of_the_project_s_own_variables_is_left_alone() {
    let store = Store::of("nango");
    let (bed, folder) = (store.bed().await, tempfile::tempdir().unwrap());
    let example = folder.path().join(".env.example");
    fs::write(&example, "OWN=1\n").unwrap();
    let init = store
        .run(&bed, folder.path(), &["init", "--yes"])
        .await
        .ended_with(0);
    let said = "Left as it is: .env.example. The variables are SOURCE_DATABASE_URL, DESCOPE_PROJECT_ID, \
                DESCOPE_MANAGEMENT_KEY, NANGO_ENCRYPTION_KEY.";
    assert!(init.stdout.contains(said), "{}", init.stdout);
    assert_eq!(fs::read_to_string(&example).unwrap(), "OWN=1\n");
}
