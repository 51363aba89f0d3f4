//! What source and ledger share: quoting, and what an error of a database means.

mod failure;
mod outage;

pub use failure::{Failure, FailureKind};
pub use outage::Outage;

/// An identifier in double quotes, so that it means exactly the name that was configured.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quote_identifier;

    #[test]
    fn quotes_inside_of_names_are_doubled() {
        assert_eq!(quote_identifier("Order"), "\"Order\"");
        assert_eq!(
            quote_identifier("a\"; drop table x; --"),
            "\"a\"\"; drop table x; --\""
        );
    }
}
