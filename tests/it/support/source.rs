//! A source that is read from beginning to end, as a migration does it.

use std::time::Duration;

use tokenferry::{
    config::{Problem, SourceSettings},
    domain::LegacyToken,
    postgres::Patience,
    reader::{Page, Source, SourceError},
};

use crate::support::{database::TestDatabase, settings::settings};

/// The time that these tests wait for an unreachable database.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The least that must be mapped, for a table with a column `token`.
pub(crate) const COLUMNS: &str = r#"
    [source.columns]
    app = { sql = "'google'" }
    user_id = { sql = "'u'" }
    access_token = "token"
"#;

/// The settings of a source with the columns above.
pub(crate) fn plain(database: &TestDatabase, source: &str) -> SourceSettings {
    settings(database.url(), &format!("{source}\n{COLUMNS}")).source
}

pub(crate) async fn open(settings: &SourceSettings) -> Result<Source, SourceError> {
    Source::open(settings, "tokenferry tests", &Patience::new(PATIENCE)).await
}

/// All pages to the end.
pub(crate) async fn pages(source: &mut Source) -> Result<Vec<Page>, SourceError> {
    let mut pages: Vec<Page> = Vec::new();
    while let Some(page) = source.page(pages.last().map(|page| &page.last), None).await? {
        pages.push(page);
    }
    Ok(pages)
}

/// All tokens to the end.
pub(crate) async fn read(settings: &SourceSettings) -> Result<Vec<LegacyToken>, SourceError> {
    let pages = pages(&mut open(settings).await?).await?;
    Ok(pages.into_iter().flat_map(|page| page.tokens).collect())
}

pub(crate) fn keys(tokens: &[LegacyToken]) -> Vec<&str> {
    tokens.iter().map(|token| token.key.as_str()).collect()
}

/// The problems that keep a source from being opened.
pub(crate) async fn problems(settings: &SourceSettings) -> Vec<Problem> {
    match open(settings).await {
        Err(SourceError::Misfit(problems)) => problems,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

/// The same where there is one problem: its key, and what it says.
pub(crate) async fn problem(settings: &SourceSettings) -> (String, String) {
    let mut problems = problems(settings).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = problems.remove(0);
    (problem.key, problem.must)
}
