"""Signing in at the Hub of `tests/local_hub.py`: the OpenID Connect that a Space's sign-in talks to, with consent given, refused, or late.

    environment = hub.environment(home) | as_a_space(hub, visitor=token)      # for the process of the app

The page that asks for consent is a redirect here; everything else is as in https://huggingface.co/docs/hub/oauth: an authorization code
that counts once, a client secret, a signed id token with its nonce, the token of the visitor with the scopes that the Space asked for.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64decode
from functools import cache
from urllib.parse import parse_qs, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.local_hub import Answer, LocalHub, Refuse, Request, route

CLIENT, SECRET = "3a1c0f5e-space", "oauth-client-secret-of-the-space"
SCOPES = "openid profile contribute-repos gated-repos jobs read-billing"
SPACE = "someone/studio"


def as_a_space(hub: LocalHub, visitor: str | None = None) -> dict[str, str]:
    """What a Space with `hf_oauth: true` finds in its environment. Whoever signs in there is the owner of the token `visitor`."""
    hub.extra["visitor"] = visitor
    return {
        "SYSTEM": "spaces", "SPACE_ID": SPACE, "OAUTH_CLIENT_ID": CLIENT, "OAUTH_CLIENT_SECRET": SECRET, "OAUTH_SCOPES": SCOPES,
        "OPENID_PROVIDER_URL": hub.url,
    }  # fmt: skip


@cache
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"})


@route("GET", "/.well-known/openid-configuration")
def metadata(hub: LocalHub, request: Request) -> Answer:
    return Answer(body={
        "issuer": hub.url, "authorization_endpoint": f"{hub.url}/oauth/authorize", "token_endpoint": f"{hub.url}/oauth/token",
        "userinfo_endpoint": f"{hub.url}/oauth/userinfo", "jwks_uri": f"{hub.url}/oauth/jwks",
        "id_token_signing_alg_values_supported": ["RS256"], "response_types_supported": ["code"],
    })  # fmt: skip


@route("GET", "/oauth/jwks")
def jwks(hub: LocalHub, request: Request) -> Answer:
    return Answer(body={"keys": [key().as_dict(private=False)]})


@route("GET", "/oauth/authorize")
def authorize(hub: LocalHub, request: Request) -> Answer:
    """Sends back with a code, or with `access_denied` where nobody consents (`visitor` None)."""
    asked = request.query
    if asked.get("client_id") != CLIENT or "/login/callback" not in asked.get("redirect_uri", ""):
        raise Refuse(400, "", "unknown client or redirect_uri")
    code = secrets.token_hex(8)
    hub.extra.setdefault("codes", {})[code] = asked
    back = {"code": code} if hub.extra.get("visitor") else {"error": "access_denied", "error_description": "The user refused."}
    return Answer(302, headers={"Location": f"{asked['redirect_uri']}&{urlencode({**back, 'state': asked['state']})}"})


@route("POST", "/oauth/token")
def token(hub: LocalHub, request: Request) -> Answer:
    given = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    asked = hub.extra.get("codes", {}).pop(given.get("code"), None)
    client = b64decode(request.headers.get("Authorization", "").removeprefix("Basic ") or b"").decode()
    if asked is None or client != f"{CLIENT}:{SECRET}" or given.get("redirect_uri") != asked["redirect_uri"]:
        raise Refuse(400, "invalid_grant", "no such code, client or redirect_uri")
    user, now = hub.users[hub.extra["visitor"]], int(time.time())
    claims = {
        "iss": hub.url, "aud": CLIENT, "sub": user.name, "iat": now, "exp": now + 600, "nonce": asked.get("nonce"), "name": user.name.title(),
        "preferred_username": user.name, "profile": f"{hub.url}/{user.name}", "picture": f"{hub.url}/{user.name}.png",
    }  # fmt: skip
    signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, key())
    body = {"access_token": user.token, "token_type": "bearer", "expires_in": 28_800, "scope": asked["scope"], "id_token": signed}
    return Answer(body=json.dumps(body).encode(), headers={"Cache-Control": "no-store"})
