"""Points Descope's own Python SDK at the simulator, which must then behave as the SDK expects.

Takes the variables that `tokenferry simulate` prints; run.sh starts both.
"""

import logging
import os
import unittest

from descope import AuthException, DescopeClient

PROJECT_ID = os.environ["DESCOPE_PROJECT_ID"]
MANAGEMENT_KEY = os.environ["DESCOPE_MANAGEMENT_KEY"]
REFUSED = "refused-user"


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
        client = DescopeClient(PROJECT_ID)
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
        self.refuses(404, lambda: self.apps.fetch_token("crm", "leaving"))
        self.refuses(404, lambda: self.apps.delete_token(token["id"]))
        self.assertEqual(self.apps.fetch_token("crm", "staying")["token"]["accessToken"], "access-of-staying")
        self.apps.delete_user_tokens(app_id="crm", user_id="staying")
        self.refuses(404, lambda: self.apps.fetch_token("crm", "staying"))

    def test_lookup_by_scopes(self):
        self.apps.upload_user_token("crm", "scoped", access_token="scoped", scopes=["read", "write"])
        found = self.apps.fetch_token_by_scopes("crm", "scoped", ["read"])["token"]
        self.assertEqual(found["accessToken"], "scoped")
        self.refuses(404, lambda: self.apps.fetch_token_by_scopes("crm", "scoped", ["admin"]))

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

    def test_apps_tenants_and_license(self):
        self.assertEqual(self.apps.load_application("crm")["app"]["id"], "crm")
        self.assertEqual(self.apps.load_all_applications(), {"apps": []})
        self.assertEqual(self.tenants.load("acme")["id"], "acme")
        self.assertEqual(self.tenants.load_all(), {"tenants": []})
        self.assertEqual(self.license.get(), {"rateLimitTier": "tier1"})

    def test_wrong_credentials_are_refused(self):
        logging.getLogger("descope").setLevel(logging.ERROR)
        stranger = DescopeClient(PROJECT_ID, management_key=MANAGEMENT_KEY + "x")
        stranger = stranger.mgmt.outbound_application
        self.refuses(401, lambda: stranger.fetch_token("crm", "user-0"))
        token = {"appId": "crm", "userId": "stranger", "accessToken": "access"}
        self.refuses(401, lambda: stranger.batch_upload_user_tokens([token]))
        self.refuses(404, lambda: self.apps.fetch_token("crm", "stranger"))

    def refuses(self, status, call):
        with self.assertRaises(AuthException) as raised:
            call()
        self.assertEqual(raised.exception.status_code, status, raised.exception)


if __name__ == "__main__":
    unittest.main(verbosity=2)
