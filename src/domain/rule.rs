//! The local rules: one list of codes, texts and advice that validation, reports and the reference use.

use super::Severity;

/// Generates the enum and its table from one list, so that the two cannot disagree.
macro_rules! rules {
    ($($(#[$doc:meta])+ $rule:ident = $code:literal, $weight:ident, $what:literal, $advice:literal;)+) => {
        /// A problem that a row can have.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])+ $rule,)+
        }

        impl Rule {
            /// All rules, in the order of the list.
            pub const ALL: &'static [Self] = &[$(Self::$rule),+];

            /// The stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$rule => $code,)+
                }
            }

            const fn weight(self) -> Weight {
                match self {
                    $(Self::$rule => Weight::$weight,)+
                }
            }

            /// Describes the problem: a sentence without a full stop.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$rule => $what,)+
                }
            }

            /// Says what to do about the problem.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$rule => $advice,)+
                }
            }
        }
    };
}

/// The strength of a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// The token cannot be uploaded, or the API would reject it.
    Error,
    /// The stored value would look corrupt. An error, unless the configuration tolerates the rule.
    Suspicion,
    /// The token is uploaded, but somebody should look at it.
    Warning,
}

rules! {
    /// No app.
    NoApp = "no_app", Error,
        "the row names no app",
        "fill the column mapped to `app`, or exclude the row";
    /// An app without an entry in the map.
    AppNotMapped = "app_not_mapped", Error,
        "the row's app has no entry under [apps]",
        "add the name under [apps], or exclude the row";
    /// Neither user nor tenant.
    NoSubject = "no_subject", Error,
        "the row names neither a user nor a tenant",
        "fill one of the two columns, or exclude the row";
    /// A blank user beside a tenant: uploaded as a tenant token, it would be shared with every user.
    UserBlank = "user_blank", Error,
        "the user is blank but the tenant is set; uploaded as a tenant token it would be shared with every user of the tenant",
        "fill the user column, or make it null if the token belongs to the tenant";
    /// An app, user or tenant that exceeds the length limit.
    IdTooLong = "id_too_long", Error,
        "the app, user or tenant is too long for an ID",
        "map the column that holds the ID";
    /// A token in an ID column.
    IdIsToken = "id_is_token", Error,
        "the app, user, tenant or external identifier is a token",
        "map the column that holds the ID: IDs are stored and shown, tokens never are";
    /// Leading or trailing whitespace in an ID.
    IdPadded = "id_padded", Suspicion,
        "the app, user or tenant has leading or trailing whitespace and will not match the real ID",
        "trim it: user_id = { sql = \"btrim(user_id)\" }";
    /// A line break, tab or other control character in an ID.
    IdControlCharacters = "id_control_characters", Suspicion,
        "the app, user or tenant contains a line break or another control character",
        "correct the ID in the source";
    /// A word such as `null` in place of an ID.
    IdPlaceholder = "id_placeholder", Suspicion,
        "the user, tenant or external identifier is a placeholder such as null or N/A",
        "make it null: tenant_id = { sql = \"nullif(tenant_id, 'null')\" }";
    /// A blank tenant beside a user.
    TenantBlank = "tenant_blank", Warning,
        "the tenant is blank: the token is uploaded for the user, without a tenant",
        "make the tenant null, or fill it";
    /// An external identifier that callers are unlikely to repeat exactly.
    ExternalIdentifierUnclean = "external_identifier_unclean", Warning,
        "the external identifier is blank, padded with whitespace, very long, or contains control characters",
        "a caller has to repeat it exactly to fetch the token: trim it, or map another column";
    /// A value that makes the query fail.
    UnreadableValue = "unreadable_value", Error,
        "a value of the row cannot be read: the database fails on it, or it is not the JSON or form it should be",
        "correct the value or the mapping; instead of casting text to JSON, use { column = \"extra\", json = \"token\" }";
    /// A value above the size limit.
    ValueTooLarge = "value_too_large", Error,
        "a value of the row is larger than 1 MiB and was not read",
        "map the column that holds the token, or exclude the row";
    /// No key decrypts the value, or the value is not encrypted.
    NotDecryptable = "not_decryptable", Error,
        "an encrypted column holds a value that cannot be decrypted",
        "add the key it was encrypted with; if rows are not encrypted, set `plain = \"accept\"` or exclude them with `source.where`";
    /// Neither an access token nor a refresh token.
    NoToken = "no_token", Error,
        "the row has neither an access token nor a refresh token",
        "the user has to connect again; until then, exclude the rows with `source.where`";
    /// A word such as `null`, or a mask, in place of a token.
    TokenPlaceholder = "token_placeholder", Suspicion,
        "a token is masked, or is a placeholder such as null or undefined",
        "make it null: access_token = { sql = \"nullif(access_token, 'null')\" }";
    /// Line breaks, control characters, or leading or trailing whitespace.
    TokenWhitespace = "token_whitespace", Suspicion,
        "a token has leading or trailing whitespace, or contains a line break or another control character",
        "trim it, or remove the line breaks: { sql = \"regexp_replace(access_token, '\\s', '', 'g')\" }";
    /// A token in quotation marks.
    TokenQuoted = "token_quoted", Suspicion,
        "a token is enclosed in quotes",
        "remove the quotes: { sql = \"substring(access_token from '[\\\"''](.*)[\\\"'']')\" }";
    /// A token that starts with `Bearer `.
    TokenPrefixed = "token_prefixed", Suspicion,
        "a token starts with its type (`Bearer …`), which clients would add a second time",
        "remove it: { sql = \"regexp_replace(access_token, '^bearer ', '', 'i')\" }";
    /// A whole JSON document.
    TokenIsJson = "token_is_json", Suspicion,
        "a token is a JSON document, such as the provider's whole response",
        "extract the value: { sql = \"answer::jsonb->>'access_token'\" }";
    /// A whole form-encoded document.
    TokenIsForm = "token_is_form", Suspicion,
        "a token is form-encoded, such as the provider's whole response",
        "extract the value: { sql = \"substring(answer from 'access_token=([^&]+)')\" }";
    /// An encoded token.
    TokenEncoded = "token_encoded", Suspicion,
        "a token is text encoded as hex, or a token encoded as base64",
        "decode it: { sql = \"convert_from(decode(access_token, 'hex'), 'UTF8')\" }, or 'base64'";
    /// A token that is still encrypted.
    TokenEncrypted = "token_encrypted", Suspicion,
        "a token is still encrypted: it looks like an envelope (Fernet, PGP, Laravel, Rails, CryptoJS, KMS, Vault, nonce:tag:text or similar) or like raw bytes",
        "configure decryption for the column";
    /// A token that may be encrypted.
    TokenJwe = "token_jwe", Warning,
        "a token is a JWT encrypted with a shared key (JWE, `dir`)",
        "no action if the provider issues such tokens; otherwise configure decryption for the column";
    /// A space inside a token.
    TokenSpace = "token_space", Warning,
        "a token contains a space, which is unusual",
        "check whether the column holds two values";
    /// Characters that OAuth 2.0 does not allow in a token.
    TokenNotAscii = "token_not_ascii", Warning,
        "a token contains non-ASCII characters, which OAuth 2.0 does not allow",
        "check whether the column is damaged or encrypted";
    /// Equal access and refresh tokens.
    TokensIdentical = "tokens_identical", Warning,
        "the access token and the refresh token are the same",
        "check whether both fields are mapped to the same column";
    /// A value of an encrypted column that is not encrypted, which the configuration accepts.
    ValuePlain = "value_plain", Warning,
        "a value of an encrypted column is not encrypted and was taken as it is",
        "no action if such rows are from before encryption; otherwise remove `plain = \"accept\"`";
    /// A token that exceeds the request size limit.
    TooLarge = "too_large", Error,
        "the token alone exceeds the maximum request size",
        "raise `batch.max_bytes` if the API accepts more, or leave out the ID token";
    /// A value that is not a list of scopes.
    ScopesUnreadable = "scopes_unreadable", Error,
        "the scopes are not a list",
        "make the scopes text[], a JSON array, or text with one kind of separator";
    /// An empty scope.
    ScopesEmpty = "scopes_empty", Warning,
        "one of the scopes is empty",
        "remove it: { sql = \"array_remove(scopes, '')\" }";
    /// A repeated scope.
    ScopesDuplicate = "scopes_duplicate", Warning,
        "a scope is listed twice",
        "no action if the list is otherwise right: it is sent unchanged";
    /// Several scopes in one entry.
    ScopesUnsplit = "scopes_unsplit", Warning,
        "one of the scopes contains whitespace and is probably several scopes",
        "map the list as text, which is split on spaces and commas";
    /// A value that is not a timestamp.
    ExpiryUnreadable = "expiry_unreadable", Error,
        "the expiry is not a point in time",
        "make the expiry a timestamp, or epoch seconds or milliseconds";
    /// An expiry that means "never".
    ExpiryNever = "expiry_never", Warning,
        "the expiry says \"never\" (infinity, -1 or the year 9999), so the token is uploaded without an expiry",
        "no action if these tokens do not expire";
    /// An expiry in the wrong unit.
    ExpiryScaled = "expiry_scaled", Error,
        "the expiry is far in the future, but divided by 1000 it would fall in this century",
        "divide it by 1000: { sql = \"expires_at / 1000\" } (numbers are read as seconds or milliseconds)";
    /// An expiry that does not fit into an int32.
    ExpiryOutOfRange = "expiry_out_of_range", Error,
        "the expiry is before 1970 or after 2038-01-19, which the API does not accept",
        "correct the expiry, or make it null if it is unknown";
    /// An expiry from before OAuth existed.
    ExpiryImplausible = "expiry_implausible", Warning,
        "the expiry is before 2005, when no provider issued OAuth tokens",
        "if the column holds a duration, add it to the time of issue: { sql = \"created_at + expires_in * interval '1 second'\" }";
    /// An expired access token without a refresh token.
    ExpiredWithoutRefresh = "expired_without_refresh", Warning,
        "the access token has expired and there is no refresh token to renew it",
        "unless the expiry is wrong, the user has to connect again: exclude such rows with `source.where`";
    /// An expiry that differs from the one in the token.
    JwtExpiryDiffers = "jwt_expiry_differs", Warning,
        "the access token is a JWT whose own expiry differs from the column by more than five minutes",
        "check whether the column uses another time zone or belongs to another token";
    /// A login ID without a user.
    LoginIdUnknown = "login_id_unknown", Error,
        "no Descope user has the row's login ID",
        "create the user, or correct the login ID in the source (it may be case-sensitive)";
    /// A login ID of several users.
    LoginIdAmbiguous = "login_id_ambiguous", Error,
        "more than one Descope user has the row's login ID",
        "merge the users, or map the right one's ID as `user_id`";
    /// A login ID that the API rejects as malformed.
    LoginIdRefused = "login_id_refused", Error,
        "the API rejected the login ID as malformed",
        "correct the login ID in the source";
    /// No login ID to fetch a provider token with.
    ProviderNoLoginId = "provider_no_login_id", Error,
        "the row has no token of its own, and no login ID to fetch the provider token with",
        "fill the column mapped to `login_id`, or exclude the row";
    /// No provider to fetch a token from.
    ProviderNotNamed = "provider_not_named", Error,
        "the row has no token of its own, and names no provider to fetch one from",
        "fill the column that `source.provider.provider` names, or exclude the row";
    /// A login ID that has no provider tokens.
    ProviderUserUnknown = "provider_user_unknown", Error,
        "no Descope user has the login ID that was used to fetch the provider token",
        "create the user, or correct the login ID in the source";
    /// A user without a stored token of the provider.
    ProviderNoToken = "provider_no_token", Error,
        "Descope stores no token of this provider for the user",
        "turn on \"Manage tokens from provider\" for the provider; the user then has to sign in with it again";
    /// A provider token that the API does not return.
    ProviderRefused = "provider_refused", Error,
        "the API does not return the provider token",
        "check that the provider's name is right, that it uses your own account, and that \"Manage tokens from provider\" is on";
    /// An expired provider token without a refresh token.
    ProviderTokenExpired = "provider_token_expired", Error,
        "the provider token has expired and Descope stores no refresh token to renew it",
        "the user has to sign in with the provider again";
    /// An app that does not exist.
    AppUnknown = "app_unknown", Error,
        "the outbound app does not exist",
        "create the app, or correct its ID under [apps] or in the source";
    /// An app of another kind.
    AppNotOauth = "app_not_oauth", Error,
        "the outbound app is not an OAuth app and accepts no tokens",
        "create an OAuth app for these tokens, or exclude the rows";
    /// A tenant that does not exist.
    TenantUnknown = "tenant_unknown", Error,
        "the tenant does not exist",
        "create the tenant, or correct its ID in the source";
    /// A user that does not exist.
    UserUnknown = "user_unknown", Error,
        "the user does not exist",
        "create the user, or correct the ID in the source";
    /// A user who cannot sign in.
    UserDisabled = "user_disabled", Warning,
        "the user is disabled: the token is uploaded but cannot be used until the user is enabled",
        "no action, or exclude the rows with `source.where`";
}

impl Rule {
    /// Returns the default severity, which the configuration may lower.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self.weight() {
            Weight::Error | Weight::Suspicion => Severity::Error,
            Weight::Warning => Severity::Warning,
        }
    }

    /// Returns true if the configuration may turn the error into a warning.
    #[must_use]
    pub fn is_tolerable(self) -> bool {
        self.weight() == Weight::Suspicion
    }

    /// Returns true if only the API can tell whether the rule is broken.
    #[must_use]
    pub fn is_asked(self) -> bool {
        matches!(
            self,
            Self::LoginIdUnknown
                | Self::LoginIdAmbiguous
                | Self::LoginIdRefused
                | Self::ProviderUserUnknown
                | Self::ProviderNoToken
                | Self::ProviderRefused
                | Self::ProviderTokenExpired
                | Self::AppUnknown
                | Self::AppNotOauth
                | Self::TenantUnknown
                | Self::UserUnknown
                | Self::UserDisabled
        )
    }

    /// Returns the rule with this code.
    #[must_use]
    pub fn find(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.code() == code)
    }
}

/// A set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleSet(u64);

impl RuleSet {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u32;
    }

    /// Returns true if the set contains the rule.
    #[must_use]
    pub fn contains(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }

    /// Returns true if the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the rules of the set, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.iter().copied().filter(move |rule| self.contains(*rule))
    }
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut set = Self::default();
        for rule in rules {
            set.add(rule);
        }
        set
    }
}

// One bit per rule.
const _: () = assert!(Rule::ALL.len() <= 64);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_rule_has_a_code_of_its_own_and_is_found_by_it() {
        let codes: HashSet<&str> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        assert_eq!(codes.len(), Rule::ALL.len());
        for &rule in Rule::ALL {
            assert_eq!(Rule::find(rule.code()), Some(rule));
        }
        assert_eq!(Rule::find("E112102"), None);
    }

    #[test]
    fn a_set_holds_what_was_added() {
        let set: RuleSet = [Rule::TooLarge, Rule::NoApp].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [Rule::NoApp, Rule::TooLarge]);
        assert!(!set.contains(Rule::NoToken) && RuleSet::default().is_empty());
    }
}
