//! The local rules: what is looked at in a row before anything is sent, each with its code, and what to do about it. What
//! validation checks, what reports advise and what the reference lists all come from here.

use super::Severity;

/// Makes the enumeration and its table from one list, so that neither can lack what the other has.
macro_rules! rules {
    ($($(#[$doc:meta])+ $rule:ident = $code:literal, $weight:ident, $what:literal, $advice:literal;)+) => {
        /// Something that may be wrong with a row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])+ $rule,)+
        }

        impl Rule {
            /// All there are, in the order in which they are listed.
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

            /// What is wrong, as a sentence without its full stop.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$rule => $what,)+
                }
            }

            /// What to do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$rule => $advice,)+
                }
            }
        }
    };
}

/// How sure a rule is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// The token cannot go up, or the API would turn it down.
    Error,
    /// What would be stored looks like garbage. That is an error unless somebody who knows better says that it is not.
    Suspicion,
    /// The token goes up, and somebody should look at it.
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
    /// White space in place of a user, beside a tenant: taken for a tenant's token it would be everybody's.
    UserBlank = "user_blank", Error,
        "the user is white space, and there is a tenant: as a tenant's token it would be shared by all of its users",
        "fill the user's column, or make it null if the token really is the tenant's";
    /// An ID that nobody has.
    IdTooLong = "id_too_long", Error,
        "the app, user or tenant is longer than any ID",
        "map the column that holds the ID";
    /// An ID that is a token.
    IdIsToken = "id_is_token", Error,
        "the app, user, tenant or external identifier is a token",
        "map the column that holds the ID: IDs are kept and shown, tokens never";
    /// An ID with a space or a line break at one of its ends.
    IdPadded = "id_padded", Suspicion,
        "the app, user or tenant begins or ends with white space, and so is another one's ID",
        "trim it: user_id = { sql = \"btrim(user_id)\" }";
    /// An ID with a line break, a tab or the like.
    IdControlCharacters = "id_control_characters", Suspicion,
        "the app, user or tenant holds a line break or another control character",
        "correct the ID in the source";
    /// What programs write where there is nobody.
    IdPlaceholder = "id_placeholder", Suspicion,
        "the user, tenant or external identifier is a word for \"nothing\", such as null or N/A",
        "make it null: tenant_id = { sql = \"nullif(tenant_id, 'null')\" }";
    /// White space in place of a tenant, beside a user.
    TenantBlank = "tenant_blank", Warning,
        "the tenant is white space: the token goes up as the user's, without a tenant",
        "make the tenant null, or fill it";
    /// An external identifier that nobody will ask for in this form.
    ExternalIdentifierUnclean = "external_identifier_unclean", Warning,
        "the external identifier is blank, padded with white space, very long, or holds control characters",
        "whoever fetches the token has to name it letter by letter: trim it, or map another column";
    /// A value on which the database fails.
    UnreadableValue = "unreadable_value", Error,
        "the database fails on a value of the row",
        "correct the value, or the expression: { sql = \"case when extra is json then extra::jsonb->>'token' end\" } (Postgres 16)";
    /// A value that would take more memory than all of a run.
    ValueTooLarge = "value_too_large", Error,
        "a value of the row is larger than 1 MiB, and is not read",
        "map the column that holds the token, or exclude the row";
    /// No key opens a value, or it is not encrypted.
    NotDecryptable = "not_decryptable", Error,
        "an encrypted column holds a value that cannot be decrypted",
        "add the key it was encrypted with, or exclude rows that are not encrypted with `source.where`";
    /// Nothing to send.
    NoToken = "no_token", Error,
        "the row has neither an access token nor a refresh token",
        "the user has to connect again; exclude the rows with `source.where` until then";
    /// What programs write where there is nothing.
    TokenPlaceholder = "token_placeholder", Suspicion,
        "a token is a word for \"nothing\", such as null or undefined, or it was masked",
        "make it null: access_token = { sql = \"nullif(access_token, 'null')\" }";
    /// Line breaks, tabs, or white space at an end.
    TokenWhitespace = "token_whitespace", Suspicion,
        "a token begins or ends with white space, or holds a line break or another control character",
        "trim it, or remove the line breaks: { sql = \"regexp_replace(access_token, '\\s', '', 'g')\" }";
    /// In quotes.
    TokenQuoted = "token_quoted", Suspicion,
        "a token stands in quotes",
        "take out what is between them: { sql = \"substring(access_token from '[\\\"''](.*)[\\\"'']')\" }";
    /// `Bearer …`.
    TokenPrefixed = "token_prefixed", Suspicion,
        "a token begins with its type (`Bearer …`), which whoever uses it adds once more",
        "cut it off: { sql = \"regexp_replace(access_token, '^bearer ', '', 'i')\" }";
    /// A whole document.
    TokenIsJson = "token_is_json", Suspicion,
        "a token is a JSON document, such as the provider's whole answer",
        "pick the value out of it: { sql = \"answer::jsonb->>'access_token'\" }";
    /// A whole document of another kind.
    TokenIsForm = "token_is_form", Suspicion,
        "a token is form-encoded, such as the provider's whole answer",
        "pick the value out of it: { sql = \"substring(answer from 'access_token=([^&]+)')\" }";
    /// Text underneath.
    TokenEncoded = "token_encoded", Suspicion,
        "a token is a text in hex, or another one in base64",
        "decode it: { sql = \"convert_from(decode(access_token, 'hex'), 'UTF8')\" }, or 'base64'";
    /// Still encrypted.
    TokenEncrypted = "token_encrypted", Suspicion,
        "a token is not decrypted: it looks like an envelope (Fernet, PGP, Laravel, Rails, CryptoJS, KMS, Vault, nonce:tag:text and the like) or like raw bytes",
        "decrypt it on the way, in the source's configuration";
    /// Maybe encrypted.
    TokenJwe = "token_jwe", Warning,
        "a token is a JWT that is encrypted with a shared key (JWE, `dir`)",
        "nothing, if the provider gives out such tokens; otherwise decrypt it on the way";
    /// A space inside.
    TokenSpace = "token_space", Warning,
        "a token holds a space, which hardly any provider's does",
        "see whether two values stand in one column";
    /// Characters that no token is made of.
    TokenNotAscii = "token_not_ascii", Warning,
        "a token holds characters beyond ASCII, which OAuth 2.0 does not allow",
        "see whether the column is damaged or encrypted";
    /// Both tokens are one.
    TokensIdentical = "tokens_identical", Warning,
        "access token and refresh token are the same",
        "see whether both fields are mapped to one column";
    /// Larger than a request.
    TooLarge = "too_large", Error,
        "the token alone is larger than a request may be",
        "raise `batch.max_bytes` if the API takes more, or drop the ID token";
    /// No list of scopes.
    ScopesUnreadable = "scopes_unreadable", Error,
        "the scopes are no list",
        "make the scopes text[], a JSON array, or text with one kind of separator";
    /// A scope that is empty.
    ScopesEmpty = "scopes_empty", Warning,
        "one of the scopes is empty",
        "remove it: { sql = \"array_remove(scopes, '')\" }";
    /// A scope that is there twice.
    ScopesDuplicate = "scopes_duplicate", Warning,
        "a scope is listed twice",
        "nothing, if the list is otherwise right: the API gets it as it is";
    /// Several scopes in one.
    ScopesUnsplit = "scopes_unsplit", Warning,
        "one of the scopes holds white space, so it is several in one",
        "map the list as text, which is split at spaces and commas";
    /// No point in time.
    ExpiryUnreadable = "expiry_unreadable", Error,
        "the expiry is no point in time",
        "make the expiry a timestamp, or epoch seconds or milliseconds";
    /// It never comes.
    ExpiryNever = "expiry_never", Warning,
        "the expiry says \"never\" (infinity, -1 or the year 9999), so the token goes up without one",
        "nothing, if these tokens do not expire";
    /// Wrong by a factor of a thousand.
    ExpiryScaled = "expiry_scaled", Error,
        "the expiry is far in the future and would be this century if it were divided by 1000",
        "divide it: { sql = \"expires_at / 1000\" } (a number is taken for seconds or milliseconds)";
    /// Beyond an int32.
    ExpiryOutOfRange = "expiry_out_of_range", Error,
        "the expiry is before 1970 or after 2038-01-19, which the API does not take",
        "correct the expiry, or empty it if it is unknown";
    /// Before there was OAuth.
    ExpiryImplausible = "expiry_implausible", Warning,
        "the expiry is before 2005, when no provider issued such tokens",
        "if the column holds a duration, add it to when the token was issued: { sql = \"created_at + expires_in * interval '1 second'\" }";
    /// Over, and nothing to renew it with.
    ExpiredWithoutRefresh = "expired_without_refresh", Warning,
        "the access token has expired, and there is no refresh token to renew it with",
        "unless the expiry is wrong, the user has to connect again: exclude such rows with `source.where`";
    /// The token says something else.
    JwtExpiryDiffers = "jwt_expiry_differs", Warning,
        "the access token is a JWT, and its own expiry differs from the column's by more than five minutes",
        "see whether the column is in another time zone or belongs to another token";
    /// A login ID that the API knows nobody by.
    LoginIdUnknown = "login_id_unknown", Error,
        "no Descope user has the row's login ID",
        "create the user, or correct the login ID in the source (letter case may count)";
    /// A login ID of several users.
    LoginIdAmbiguous = "login_id_ambiguous", Error,
        "more than one Descope user has the row's login ID",
        "merge the users, or map the right one's ID as `user_id`";
    /// A login ID that the API does not take for one.
    LoginIdRefused = "login_id_refused", Error,
        "the API does not take the row's login ID for one",
        "correct the login ID in the source";
    /// No login ID to ask for a token by.
    ProviderNoLoginId = "provider_no_login_id", Error,
        "the row has no token of its own, and no login ID by which to ask for the provider's",
        "fill the column mapped to `login_id`, or exclude the row";
    /// No provider to ask for.
    ProviderNotNamed = "provider_not_named", Error,
        "the row has no token of its own, and does not say whose to ask for",
        "fill the column that `source.provider.provider` names, or exclude the row";
    /// A login ID that nobody's provider tokens are kept under.
    ProviderUserUnknown = "provider_user_unknown", Error,
        "no Descope user has the login ID by which the provider's token was asked for",
        "create the user, or correct the login ID in the source";
    /// Descope keeps no token of the user's.
    ProviderNoToken = "provider_no_token", Error,
        "Descope keeps no token of this provider for the user",
        "see that \"Manage tokens from provider\" is switched on for the provider; the user then has to sign in with it again";
    /// Descope does not hand the token out.
    ProviderRefused = "provider_refused", Error,
        "the API does not hand the provider's token out",
        "see that the provider's name is right, uses an account of your own, and has \"Manage tokens from provider\" switched on";
    /// Over, and nothing to renew it with.
    ProviderTokenExpired = "provider_token_expired", Error,
        "the provider's token has expired, and Descope keeps no refresh token to renew it with",
        "the user has to sign in with the provider again";
    /// An app that the API does not know.
    AppUnknown = "app_unknown", Error,
        "there is no such outbound app",
        "create the app, or correct its ID under [apps] or in the source";
    /// An app for something else.
    AppNotOauth = "app_not_oauth", Error,
        "the outbound app is not for OAuth, and takes no tokens",
        "create an OAuth app for these tokens, or exclude the rows";
    /// A tenant that the API does not know.
    TenantUnknown = "tenant_unknown", Error,
        "there is no such tenant",
        "create the tenant, or correct its ID in the source";
    /// A user that the API does not know.
    UserUnknown = "user_unknown", Error,
        "there is no such user",
        "create the user, or correct the ID in the source";
    /// A user who may not sign in.
    UserDisabled = "user_disabled", Warning,
        "the user is disabled: the token goes up and is of no use until the user is enabled",
        "nothing, or exclude the rows with `source.where`";
}

impl Rule {
    /// How bad it is to break the rule, where nobody says otherwise.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self.weight() {
            Weight::Error | Weight::Suspicion => Severity::Error,
            Weight::Warning => Severity::Warning,
        }
    }

    /// Whether the configuration may make a warning of it.
    #[must_use]
    pub fn is_tolerable(self) -> bool {
        self.weight() == Weight::Suspicion
    }

    /// Whether it takes the API to find out.
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

    /// The rule with this code.
    #[must_use]
    pub fn find(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.code() == code)
    }
}

/// Some of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleSet(u64);

impl RuleSet {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.0 |= 1 << rule as u32;
    }

    /// Whether a rule is among them.
    #[must_use]
    pub fn contains(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those there are, in the order of the list.
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

// A bit for each.
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
