//! Uploads: a batch, all of it or nothing, and one token by itself.

use std::sync::Arc;

use axum::{Extension, Json, body::Bytes, extract::State, http::StatusCode, response::Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::simulator::{
    api::Api,
    check::{Item, Subject},
    decode::decode,
    faults::Call,
    inject_fault::perform,
    log::Entry,
    refusal::Refusal,
    rules::{Rules, TooLarge},
    wire::{
        Absent, ApiKeyUpload, Batch, BatchAnswer, Failure, TenantItem, TenantUpload, Token, UserItem,
        UserUpload,
    },
};

type Shared = State<Arc<Api>>;

pub(super) async fn user_batch(
    State(api): Shared,
    Extension(entry): Extension<Entry>,
    body: Bytes,
) -> Response {
    let items = decode::<Batch<UserItem>>(&body).map(|batch| items(Subject::User, batch));
    batch(api, entry, body.len(), items).await
}

pub(super) async fn tenant_batch(
    State(api): Shared,
    Extension(entry): Extension<Entry>,
    body: Bytes,
) -> Response {
    let items = decode::<Batch<TenantItem>>(&body).map(|batch| items(Subject::Tenant, batch));
    batch(api, entry, body.len(), items).await
}

pub(super) async fn user(State(api): Shared, Extension(entry): Extension<Entry>, body: Bytes) -> Response {
    let item = decode::<UserUpload>(&body).map(|token| Item::new(Subject::User, token));
    single(api, entry, item).await
}

pub(super) async fn tenant(State(api): Shared, Extension(entry): Extension<Entry>, body: Bytes) -> Response {
    let item = decode::<TenantUpload>(&body).map(|token| Item::new(Subject::Tenant, token));
    single(api, entry, item).await
}

pub(super) async fn user_api_key(
    State(api): Shared,
    Extension(entry): Extension<Entry>,
    body: Bytes,
) -> Response {
    let item = decode::<ApiKeyUpload<Option<String>>>(&body).map(|key| Item::api_key(Subject::User, key));
    single(api, entry, item).await
}

pub(super) async fn tenant_api_key(
    State(api): Shared,
    Extension(entry): Extension<Entry>,
    body: Bytes,
) -> Response {
    let item = decode::<ApiKeyUpload<Absent>>(&body).map(|key| Item::api_key(Subject::Tenant, key));
    single(api, entry, item).await
}

fn items<User, Verify>(subject: Subject, batch: Batch<Token<User, Verify>>) -> Vec<Item>
where
    Token<User, Verify>: DeserializeOwned,
    User: Into<Option<String>>,
    Verify: Into<Option<bool>>,
{
    let tokens = batch.tokens.unwrap_or_default();
    tokens
        .into_iter()
        .map(|token| Item::new(subject, token))
        .collect()
}

async fn batch(api: Arc<Api>, entry: Entry, bytes: usize, items: Result<Vec<Item>, Refusal>) -> Response {
    if let Ok(items) = &items {
        api.log.lock().carries(entry, items);
    }
    perform(api, Call::Upload, move |api| commit_batch(api, bytes, items?)).await
}

fn commit_batch(
    api: &Api,
    bytes: usize,
    items: Vec<Item>,
) -> Result<(StatusCode, Json<BatchAnswer>), Refusal> {
    let rules = api.rules.lock();
    check_size(&rules, bytes, items.len())?;
    if items.is_empty() {
        return Err(Refusal::invalid_arguments("tokens must not be empty"));
    }
    let directory = api.directory.lock();
    let failures: Vec<Failure> = items
        .iter()
        .filter_map(|item| {
            item.check(&rules, &directory)
                .err()
                .map(|problem| item.failure(problem))
        })
        .take(rules.failures_at_once.unwrap_or(usize::MAX).max(1))
        .collect();
    if failures.is_empty() {
        let mut store = api.store.lock();
        for item in items.into_iter().take(rules.truncates_to.unwrap_or(usize::MAX)) {
            let (destination, content) = item.into_parts();
            store.commit(destination, content, rules.on_repeat);
        }
        return Ok((StatusCode::OK, Json(BatchAnswer { failures })));
    }
    let status = StatusCode::from_u16(rules.failures_status).unwrap_or(StatusCode::OK);
    Ok((status, Json(BatchAnswer { failures })))
}

fn check_size(rules: &Rules, bytes: usize, tokens: usize) -> Result<(), Refusal> {
    let fits = rules.max_bytes.is_none_or(|most| bytes <= most)
        && rules.max_tokens.is_none_or(|most| tokens <= most);
    match rules.too_large {
        _ if fits => Ok(()),
        TooLarge::PayloadTooLarge => Err(Refusal::payload_too_large()),
        TooLarge::InvalidArguments => Err(Refusal::invalid_arguments("too many tokens")),
    }
}

async fn single(api: Arc<Api>, entry: Entry, item: Result<Item, Refusal>) -> Response {
    if let Ok(item) = &item {
        api.log.lock().carries(entry, std::slice::from_ref(item));
    }
    perform(api, Call::Upload, move |api| commit_single(api, item?)).await
}

fn commit_single(api: &Api, item: Item) -> Result<Json<Value>, Refusal> {
    let rules = api.rules.lock();
    item.check(&rules, &api.directory.lock())
        .map_err(|problem| Refusal::item(problem.code, problem.reason))?;
    let mut store = api.store.lock();
    if item.asks_to_verify() {
        store.verified(item.destination());
        item.verify(&rules)
            .map_err(|problem| Refusal::item(problem.code, problem.reason))?;
    }
    let (destination, content) = item.into_parts();
    store.commit(destination, content, rules.on_repeat);
    Ok(Json(json!({})))
}
