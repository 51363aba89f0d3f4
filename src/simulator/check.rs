//! Checks of single tokens in a request of the right form.

use crate::{
    secret::Secret,
    simulator::{
        decode::filled,
        destination::Destination,
        directory::Directory,
        refusal::{BAD_TOKEN, INVALID_ARGUMENTS, MISSING_ARGUMENTS, USER_NOT_FOUND, VALIDATION},
        rules::Rules,
        stored_token::Content,
        wire::{ApiKeyUpload, Failure, Token},
    },
};

/// The kind of owner whose tokens an endpoint accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    User,
    Tenant,
}

/// The kind of upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OAuth,
    ApiKey,
}

/// A token as it was sent. An empty string counts as absent, as the gateway cannot tell the two apart.
#[derive(Debug)]
pub(super) struct Item {
    kind: Kind,
    subject: Subject,
    app_id: Option<String>,
    user_id: Option<String>,
    tenant_id: Option<String>,
    external_identifier: Option<String>,
    content: Content,
    verify_refresh: bool,
}

/// Why a token is refused. Neither part ever quotes a value of the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) reason: &'static str,
}

const fn problem(code: &'static str, reason: &'static str) -> Problem {
    Problem { code, reason }
}

impl Item {
    pub(super) fn new<User, Verify>(subject: Subject, token: Token<User, Verify>) -> Self
    where
        User: Into<Option<String>>,
        Verify: Into<Option<bool>>,
    {
        Self {
            kind: Kind::OAuth,
            subject,
            app_id: filled(token.app_id),
            user_id: filled(token.user_id.into()),
            tenant_id: filled(token.tenant_id),
            external_identifier: filled(token.external_identifier),
            content: Content {
                access_token: token.access_token.filter(is_filled),
                refresh_token: token.refresh_token.filter(is_filled),
                id_token: token.id_token.filter(is_filled),
                access_token_expiry: token.access_token_expiry.unwrap_or(0),
                access_token_type: filled(token.access_token_type),
                scopes: token.scopes.unwrap_or_default(),
                granted_by: filled(token.granted_by),
            },
            verify_refresh: token.verify_refresh.into().unwrap_or(false),
        }
    }

    /// An API key by itself, which is handed out like an access token that never expires.
    pub(super) fn api_key<User: Into<Option<String>>>(subject: Subject, upload: ApiKeyUpload<User>) -> Self {
        Self {
            kind: Kind::ApiKey,
            subject,
            app_id: filled(upload.app_id),
            user_id: filled(upload.user_id.into()),
            tenant_id: filled(upload.tenant_id),
            external_identifier: None,
            content: Content {
                access_token: upload.api_key.filter(is_filled),
                ..Content::default()
            },
            verify_refresh: false,
        }
    }

    /// All that a failure says about which token it means.
    pub(super) fn identity(&self) -> (Option<&str>, Option<&str>) {
        let id = match self.subject {
            Subject::User => &self.user_id,
            Subject::Tenant => &self.tenant_id,
        };
        (self.app_id.as_deref(), id.as_deref())
    }

    pub(super) fn failure(&self, problem: Problem) -> Failure {
        let (app_id, id) = self.identity();
        let id = Some(id.unwrap_or_default().to_owned());
        let (user_id, tenant_id) = match self.subject {
            Subject::User => (id, None),
            Subject::Tenant => (None, id),
        };
        Failure {
            app_id: app_id.unwrap_or_default().to_owned(),
            user_id,
            tenant_id,
            error_code: problem.code,
            reason: problem.reason,
        }
    }

    pub(super) fn check(&self, rules: &Rules, directory: &Directory) -> Result<(), Problem> {
        let app_id = self
            .app_id
            .as_ref()
            .ok_or(problem(MISSING_ARGUMENTS, "appId is required"))?;
        if self.subject == Subject::User && self.user_id.is_none() {
            return Err(problem(MISSING_ARGUMENTS, "userId is required"));
        }
        if self.subject == Subject::Tenant && self.tenant_id.is_none() {
            return Err(problem(MISSING_ARGUMENTS, "tenantId is required"));
        }
        self.check_content(rules)?;
        let app = directory
            .app(app_id)
            .ok_or(problem(INVALID_ARGUMENTS, "outbound app not found"))?;
        if app.holds_api_keys() != (self.kind == Kind::ApiKey) {
            return Err(problem(
                INVALID_ARGUMENTS,
                match self.kind {
                    Kind::OAuth => "the outbound app holds API keys, and no OAuth tokens",
                    Kind::ApiKey => "the outbound app holds OAuth tokens, and no API keys",
                },
            ));
        }
        if let Some(user_id) = &self.user_id
            && (rules.refused_users.contains(user_id) || directory.user(user_id).is_none())
        {
            return Err(problem(USER_NOT_FOUND, "user not found"));
        }
        if let Some(tenant_id) = &self.tenant_id
            && !directory.has_tenant(tenant_id)
        {
            return Err(problem(INVALID_ARGUMENTS, "tenant not found"));
        }
        Ok(())
    }

    fn check_content(&self, rules: &Rules) -> Result<(), Problem> {
        let Content {
            access_token,
            refresh_token,
            ..
        } = &self.content;
        if access_token.is_none() && refresh_token.is_none() {
            return Err(problem(
                MISSING_ARGUMENTS,
                match self.kind {
                    Kind::OAuth => "refreshToken or accessToken is required",
                    Kind::ApiKey => "apiKey is required",
                },
            ));
        }
        if self.content.access_token_expiry < 0 {
            return Err(problem(VALIDATION, "accessTokenExpiry must not be negative"));
        }
        if self.verify_refresh && refresh_token.is_none() {
            return Err(problem(MISSING_ARGUMENTS, "verifyRefresh needs a refreshToken"));
        }
        if access_token
            .iter()
            .chain(refresh_token)
            .any(|token| begins(token, rules.bad_token_prefix.as_deref()))
        {
            return Err(problem(BAD_TOKEN, "bad token"));
        }
        Ok(())
    }

    /// Tells whether the upload asks to try the refresh token at the provider.
    pub(super) fn asks_to_verify(&self) -> bool {
        self.verify_refresh
    }

    /// Tries the refresh token at the provider.
    pub(super) fn verify(&self, rules: &Rules) -> Result<(), Problem> {
        match rules.refresh_error_of(self.content.refresh_token.as_ref()) {
            Some(_) => Err(problem(BAD_TOKEN, "the provider refused the refresh token")),
            None => Ok(()),
        }
    }

    pub(super) fn destination(&self) -> Destination {
        Destination {
            app_id: self.app_id.clone().unwrap_or_default(),
            user_id: self.user_id.clone(),
            tenant_id: self.tenant_id.clone(),
            external_identifier: self.external_identifier.clone(),
            scopes: self.content.scopes.iter().cloned().collect(),
        }
    }

    /// Returns destination and content of a token that passed the checks.
    pub(super) fn into_parts(self) -> (Destination, Content) {
        (self.destination(), self.content)
    }
}

fn begins(token: &Secret, prefix: Option<&str>) -> bool {
    prefix.is_some_and(|prefix| token.reveal().starts_with(prefix))
}

fn is_filled(secret: &Secret) -> bool {
    !secret.reveal().is_empty()
}
