"""What the peers share: the query, a row as a token, and the limits that tokenferry has in the bench as well."""

BATCH, IN_FLIGHT = 500, 8
PROJECT, KEY = "P2benchbenchbenchbenchbenchb", "K2bench"
APPS = {"google": "google-calendar", "slack": "slack-bot"}
TABLE = "bench_source.legacy_oauth_tokens"
SQL = (
    "select user_id, tenant_id, provider, access_token, refresh_token, token_type, scope, expires_at "
    f"from {TABLE} {{where}} order by id"
)


def token(row):
    user, tenant, provider, access, refresh, token_type, scope, expires = row
    token = {
        "appId": APPS[provider],
        "userId": user,
        "accessToken": access,
        "accessTokenType": token_type,
        "scopes": scope.split(),
    }
    if tenant is not None:
        token["tenantId"] = tenant
    if refresh is not None:
        token["refreshToken"] = refresh
    if expires is not None:
        token["accessTokenExpiry"] = int(expires.timestamp())
    return token


def check(reply):
    if reply.get("failures"):
        raise SystemExit(f"{len(reply['failures'])} tokens were rejected")
