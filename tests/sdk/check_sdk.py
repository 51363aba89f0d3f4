"""Points Descope's own Python SDK at the simulator, which must then behave as the SDK expects.

Takes the variables that `tokenferry simulate` prints; run.sh starts both.
"""

import logging
import os
import time
import unittest

from descope import AuthException, DescopeClient

PROJECT_ID = os.environ["DESCOPE_PROJECT_ID"]
MANAGEMENT_KEY = os.environ["DESCOPE_MANAGEMENT_KEY"]
REFUSED = "refused-user"
TOKEN_NOT_FOUND = "E111504"


class Warnings(logging.Handler):
    """The SDK only logs a failed license handshake; collects what it logs."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


class SdkAgainstSimulator(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warnings = Warnings()
        logging.getLogger().addHandler(warnings)
        client = cls.client = DescopeClient(PROJECT_ID)
        assert not warnings.messages, warnings.messages
        cls.apps = client.mgmt.outbound_application
        cls.users = client.mgmt.user
        cls.tenants = client.mgmt.tenant
        cls.license = client.mgmt.license

    def test_batch_of_user_tokens(self):
        tokens = [
            {
                "appId": "crm",
                "userId": f"user-{number}",
                "tenantId": "acme",
                "refreshToken": f"refresh-{number}",
                "accessToken": f"access-{number}",
                "accessTokenExpiry": 1_900_000_000,
                "accessTokenType": "Bearer",
                "scopes": ["read", "write"],
                "externalIdentifier": f"external-{number}",
                "grantedBy": "admin",
            }
            for number in range(3)
        ]
        self.assertEqual(self.apps.batch_upload_user_tokens(tokens), {"failures": []})
        for number in range(3):
            found = self.apps.fetch_token(
                "crm", f"user-{number}", tenant_id="acme", options={"withRefreshToken": True}
            )["token"]
            self.assertTrue(found.pop("id"))
            self.assertEqual(
                found,
                {
                    "appId": "crm",
                    "userId": f"user-{number}",
                    "tokenSub": "",
                    "accessToken": f"access-{number}",
                    "accessTokenType": "Bearer",
                    "accessTokenExpiry": "1900000000",
                    "hasRefreshToken": True,
                    "refreshToken": f"refresh-{number}",
                    "lastRefreshTime": "0",
                    "lastRefreshError": "",
                    "scopes": ["read", "write"],
                    "tenantId": "acme",
                    "grantedBy": "admin",
                    "externalIdentifier": f"external-{number}",
                },
            )

    def test_batch_of_tenant_tokens(self):
        tokens = [{"appId": "crm", "tenantId": "tenant-1", "accessToken": "tenant-access"}]
        self.assertEqual(self.apps.batch_upload_tenant_tokens(tokens), {"failures": []})
        found = self.apps.fetch_tenant_token("crm", "tenant-1")["token"]
        self.assertEqual(found["accessToken"], "tenant-access")
        self.assertEqual(found["tenantId"], "tenant-1")
        self.assertFalse(found["hasRefreshToken"])
        self.assertNotIn("refreshToken", found)

    def test_single_tokens(self):
        self.apps.upload_user_token("crm", "single", access_token="first", scopes=["read"])
        self.apps.upload_user_token(
            "crm", "single", refresh_token="refresh", access_token="second", verify_refresh=True
        )
        self.assertEqual(self.apps.fetch_token("crm", "single")["token"]["accessToken"], "second")
        self.apps.upload_tenant_token("crm", "single-tenant", refresh_token="refresh")
        self.assertTrue(self.apps.fetch_tenant_token("crm", "single-tenant")["token"]["hasRefreshToken"])

    def test_deleting(self):
        for user in ("leaving", "staying"):
            self.apps.upload_user_token("crm", user, access_token=f"access-of-{user}")
        token = self.apps.fetch_token("crm", "leaving")["token"]
        self.apps.delete_token(token["id"])
        self.refuses(404, lambda: self.apps.fetch_token("crm", "leaving"), TOKEN_NOT_FOUND)
        self.refuses(404, lambda: self.apps.delete_token(token["id"]), TOKEN_NOT_FOUND)
        self.assertEqual(self.apps.fetch_token("crm", "staying")["token"]["accessToken"], "access-of-staying")
        self.apps.delete_user_tokens(app_id="crm", user_id="staying")
        self.refuses(404, lambda: self.apps.fetch_token("crm", "staying"))

    def test_lookup_by_scopes(self):
        # Exactly these, in whatever order; tokens that differ in them stand beside each other.
        self.apps.upload_user_token("crm", "scoped", access_token="both", scopes=["read", "write"])
        self.apps.upload_user_token("crm", "scoped", access_token="one", scopes=["read"])
        self.apps.upload_tenant_token("crm", "scoped", access_token="tenant", scopes=["read"])
        by_scopes = self.apps.fetch_token_by_scopes
        self.assertEqual(by_scopes("crm", "scoped", ["read"])["token"]["accessToken"], "one")
        self.assertEqual(by_scopes("crm", "scoped", ["write", "read"])["token"]["accessToken"], "both")
        self.assertEqual(self.apps.fetch_token("crm", "scoped")["token"]["accessToken"], "one")
        for scopes in (["write"], ["read", "write", "admin"]):
            self.refuses(404, lambda: by_scopes("crm", "scoped", scopes), TOKEN_NOT_FOUND)
        found = self.apps.fetch_tenant_token_by_scopes("crm", "scoped", ["read"])["token"]
        self.assertEqual(found["accessToken"], "tenant")
        self.refuses(
            404, lambda: self.apps.fetch_tenant_token_by_scopes("crm", "scoped", ["write"]), TOKEN_NOT_FOUND
        )

    def test_a_fetch_refreshes_what_has_expired(self):
        past, soon = int(time.time()) - 60, int(time.time()) + 600
        for user, expiry, refresh in (("expired", past, "rt"), ("alive", soon, "rt"), ("bare", past, None)):
            self.apps.upload_user_token(
                "crm", user, access_token="at", access_token_expiry=expiry, refresh_token=refresh
            )
        found = self.apps.fetch_token("crm", "expired", options={"withRefreshToken": True})["token"]
        self.assertEqual((found["accessToken"], found["refreshToken"]), ("at-refreshed-1", "rt"))
        self.assertGreater(int(found["accessTokenExpiry"]), soon)
        self.assertGreater(int(found["lastRefreshTime"]), past)
        for user in ("alive", "bare"):
            found = self.apps.fetch_token("crm", user)["token"]
            self.assertEqual((found["accessToken"], found["lastRefreshTime"]), ("at", "0"), user)
        found = self.apps.fetch_token("crm", "alive", options={"forceRefresh": True})["token"]
        self.assertEqual(found["accessToken"], "at-refreshed-1")

    def test_apps_with_a_token(self):
        self.apps.upload_user_token("crm", "listed", access_token="at")
        self.apps.upload_user_token("mail", "listed", access_token="at", tenant_id="acme")
        self.apps.upload_user_token("late", "listed", access_token="at", access_token_expiry=1)
        listed = self.apps.list_apps_with_user_token
        self.assertEqual(listed("listed"), {"appIds": ["crm", "mail"]})
        self.assertEqual(listed("listed", tenant_id="acme"), {"appIds": ["mail"]})

    def test_a_failing_batch_commits_nothing(self):
        tokens = [
            {"appId": "crm", "userId": "bystander", "accessToken": "access"},
            {"appId": "crm", "userId": REFUSED, "accessToken": "access"},
        ]
        failures = self.apps.batch_upload_user_tokens(tokens)["failures"]
        self.assertEqual(len(failures), 1)
        self.assertTrue(failures[0].pop("reason"))
        self.assertEqual(failures[0], {"appId": "crm", "userId": REFUSED, "errorCode": "E112102"})
        self.refuses(404, lambda: self.apps.fetch_token("crm", "bystander"))

    def test_an_unknown_field_is_refused(self):
        token = {"appId": "crm", "userId": "strict", "accessToken": "access", "verifyRefresh": True}
        self.refuses(400, lambda: self.apps.batch_upload_user_tokens([token]))
        self.refuses(404, lambda: self.apps.fetch_token("crm", "strict"))

    def test_an_empty_batch_is_refused(self):
        self.refuses(400, lambda: self.apps.batch_upload_user_tokens([]))

    def test_users(self):
        # This simulator knows everybody: a login ID belongs to a user whose ID is the same text.
        user = self.users.load("alice@example.com")["user"]
        self.assertEqual(user["userId"], "alice@example.com")
        self.assertEqual(user["loginIds"], ["alice@example.com"])
        self.assertEqual(user["status"], "enabled")
        self.assertEqual(self.users.load_by_user_id("U1")["user"]["userId"], "U1")
        loaded = self.users.load_users(["U1", "U2"], include_invalid_users=True)["users"]
        self.assertEqual([user["userId"] for user in loaded], ["U1", "U2"])
        asked = ["a@example.com", "b@example.com", "c@example.com"]
        found = self.users.search_all(login_ids=asked, limit=2, page=1, with_test_user=True)
        self.assertEqual([user["userId"] for user in found["users"]], ["c@example.com"])
        self.assertEqual(found["total"], 3)
        self.refuses(400, lambda: self.users.search_all(text="alice"))
        self.refuses(400, lambda: self.users.search_all(limit=1000))

    def test_provider_tokens(self):
        # This simulator knows everybody, with a token of every provider made of the login ID.
        token = self.users.get_provider_token("alice@example.com", "google")
        self.assertEqual(token["provider"], "google")
        self.assertEqual(token["accessToken"], "google-access-of-alice@example.com")
        self.assertNotIn("refreshToken", token)
        token = self.users.get_provider_token("alice@example.com", "google", True, True)
        self.assertEqual(token["refreshToken"], "google-refresh-of-alice@example.com")
        self.assertEqual(token["accessToken"], "google-access-of-alice@example.com-renewed")
        self.refuses(400, lambda: self.users.get_provider_token("alice@example.com", ""))

    def test_apps_and_tenants(self):
        self.assertEqual(self.apps.load_application("crm")["app"]["id"], "crm")
        self.assertEqual(self.apps.load_all_applications(), {"apps": []})
        self.assertEqual(self.tenants.load("acme")["id"], "acme")
        self.assertEqual(self.tenants.load_all(), {"tenants": []})

    def test_the_tier_of_the_handshake_is_named_on_every_call(self):
        self.assertEqual(self.license.get(), {"rateLimitTier": "tier2"})
        self.client._mgmt_http_client.rate_limit_tier = "tier3"
        try:
            self.refuses(403, lambda: self.apps.load_application("crm"))
        finally:
            self.client._mgmt_http_client.rate_limit_tier = "tier2"

    def test_wrong_credentials_are_refused(self):
        logging.getLogger("descope").setLevel(logging.ERROR)
        stranger = DescopeClient(PROJECT_ID, management_key=MANAGEMENT_KEY + "x")
        stranger = stranger.mgmt.outbound_application
        self.refuses(401, lambda: stranger.fetch_token("crm", "user-0"))
        token = {"appId": "crm", "userId": "stranger", "accessToken": "access"}
        self.refuses(401, lambda: stranger.batch_upload_user_tokens([token]))
        self.refuses(404, lambda: self.apps.fetch_token("crm", "stranger"))

    def refuses(self, status, call, code=""):
        with self.assertRaises(AuthException) as raised:
            call()
        self.assertEqual(raised.exception.status_code, status, raised.exception)
        self.assertIn(code, raised.exception.error_message)


class SdkAgainstStrictSimulator(unittest.TestCase):
    """Another gateway: dates, strict about tenants, refresh tokens that rotate, an app for API keys."""

    @classmethod
    def setUpClass(cls):
        client = DescopeClient(
            os.environ["STRICT_PROJECT_ID"],
            management_key=os.environ["STRICT_MANAGEMENT_KEY"],
            base_url=os.environ["STRICT_BASE_URI"],
        )
        cls.apps = client.mgmt.outbound_application

    refuses = SdkAgainstSimulator.refuses

    def test_expiry_as_a_date(self):
        self.apps.upload_user_token("crm", "dated", access_token="at", access_token_expiry=1_900_000_000)
        found = self.apps.fetch_token("crm", "dated")["token"]
        self.assertEqual(found["accessTokenExpiry"], "2030-03-17T17:46:40Z")

    def test_a_refresh_rotates_the_refresh_token(self):
        self.apps.upload_user_token(
            "crm", "rotated", access_token="at", refresh_token="rt", access_token_expiry=1
        )
        found = self.apps.fetch_token("crm", "rotated", options={"withRefreshToken": True})["token"]
        self.assertEqual(found["refreshToken"], "rt-refreshed-1")

    def test_a_token_in_a_tenant_is_not_there_without_it(self):
        self.apps.upload_user_token("crm", "tenanted", access_token="at", tenant_id="acme")
        self.refuses(404, lambda: self.apps.fetch_token("crm", "tenanted"), TOKEN_NOT_FOUND)
        found = self.apps.fetch_token("crm", "tenanted", tenant_id="acme")["token"]
        self.assertEqual(found["accessToken"], "at")

    def test_an_app_for_api_keys(self):
        self.assertEqual(self.apps.load_application("keys")["app"]["appType"], "apikey")
        token = {"appId": "keys", "userId": "u", "accessToken": "at"}
        failures = self.apps.batch_upload_user_tokens([token])["failures"]
        self.assertEqual([failure["appId"] for failure in failures], ["keys"])
        self.refuses(400, lambda: self.apps.upload_user_token("keys", "u", access_token="at"))
        self.apps.upload_user_api_key("keys", "u", "k1")
        self.apps.upload_user_api_key("keys", "u", "k2", tenant_id="acme")
        self.apps.upload_tenant_api_key("keys", "acme", "k3")
        self.assertEqual(self.apps.fetch_token("keys", "u")["token"]["accessToken"], "k1")
        self.refuses(400, lambda: self.apps.upload_user_api_key("crm", "u", "k1"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
