//! Suggestions ("did you mean") for keys, columns and tables.

/// Returns the candidate most similar to `word`, if any is similar enough to suggest.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_a_typo_and_stays_silent_about_strangers() {
        let keys = ["batch.max_tokens", "batch.max_bytes", "api.timeout"];
        assert_eq!(nearest("batch.max_token", keys), Some("batch.max_tokens"));
        assert_eq!(nearest("Batch.MaxBytes", keys), Some("batch.max_bytes"));
        assert_eq!(nearest("xyz", keys), None);
    }
}
