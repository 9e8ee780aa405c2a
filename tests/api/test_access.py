"""Who is let in: bearer tokens with scopes, shown once, kept as hashes, ended at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from commanding import CommandLine
from house import House
from sqlalchemy import select

from newsletter.machines.tokens import SCOPES
from newsletter.tables import tokens

REQUESTS = {
    "items:write": [("POST", "/api/v1/items"), ("POST", "/api/v1/items/1/withdraw")],
    "items:read": [("GET", "/api/v1/items"), ("GET", "/api/v1/items/1")],
    "lists:read": [("GET", "/api/v1/lists"), ("GET", "/api/v1/lists/rutas")],
    "subscriptions:write": [("POST", "/api/v1/lists/rutas/subscriptions")],
    "metrics:read": [("GET", "/metrics")],
}


def used_at(house: House) -> Any:
    with house.engine.connect() as connection:
        return connection.scalar(select(tokens.c.used_at))


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes(house: House, machine: Any, scope: str) -> None:
    """Each request needs its scope: without a token 401, without the scope 403, both with a challenge (RFC 6750)."""
    nobody, without = machine(token=""), machine([other for other in SCOPES if other != scope])
    having = machine([scope])
    for method, path in REQUESTS[scope]:
        answer = nobody.request(method, path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="newsletter"')
        answer = without.request(method, path)
        assert answer.status_code == 403
        assert answer.headers["www-authenticate"].endswith(f'error="insufficient_scope", scope="{scope}"')
        assert answer.headers["content-type"] == "application/problem+json"
        assert having.request(method, path).status_code not in (401, 403)


@pytest.mark.parametrize(
    "header",
    ["Bearer x", "bearer nl_", "Basic YTpi", "Bearer", "nl_x", "Bearer \xff", "Bearer " + "x" * 9000],
)
def test_no_token(machine: Any, header: str) -> None:
    """What is no token of ours is none, however it is written; nor does one count in the address."""
    nobody = machine(token="")
    for path in ("/api/v1/lists", "/metrics"):
        answer = nobody.get(path, headers=[(b"Authorization", header.encode("latin-1"))])
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    token = machine().headers["authorization"].removeprefix("Bearer ")
    assert nobody.get(f"/api/v1/lists?access_token={token}").status_code == 401


def test_use_is_noted(house: House, api: httpx.Client) -> None:
    """When a token was used is written down at most once a minute."""
    seen = []
    for seconds in (0, 59, 1, 30):
        house.pass_time(seconds=seconds)
        api.get("/api/v1/lists")
        seen.append((used_at(house) - house.now) / timedelta(seconds=1))
    assert seen == [0, -59, 0, -30]


def test_no_cookies_and_no_sharing(api: httpx.Client) -> None:
    """Answers set no cookie, are not kept, and are no page's of another origin."""
    answer = api.get("/api/v1/lists", headers={"Origin": "https://evil.example"})
    assert answer.headers["cache-control"] == "no-store"
    assert not {"set-cookie", "access-control-allow-origin"} & {*answer.headers}
    assert api.options("/api/v1/lists", headers={"Origin": "https://evil.example"}).status_code == 405


def test_other_methods_and_addresses(api: httpx.Client) -> None:
    """Other methods are told which there are; other addresses are no pages, whatever stands in them."""
    answer = api.put("/api/v1/items")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    for path in ("/api/v1/", "/api/v1/x", "/api/v1/items/1/x", "/api/v1/x%0Ay", "/api/v1/items/"):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_commands(newsletter: CommandLine) -> None:
    """Made for one list or all, shown once, listed without it, ended once and for ever; each mistake has a sentence."""
    create = ("lists", "create", "rutas", "--name", "Rutas", "--sender-email", "d@rutas.example")
    newsletter(*create, "--postal-address", "24 Calle", "--language", "en")
    shown = newsletter("tokens", "create", "feed", "--scope", "items:write", "--list", "rutas")
    token = shown.out.strip().splitlines()[-1]
    assert token.startswith("nl_")
    assert len(token) == 46
    made = newsletter("tokens", "create", "all", "-s", "lists:read", "-s", "lists:read", "--all", "--json").json
    assert (made["scopes"], made["list"]) == (["lists:read"], None)
    listed = newsletter("tokens", "list", "--json")
    assert [(one["name"], one["list"]) for one in listed.json] == [("all", None), ("feed", "rutas")]
    assert token not in listed.out
    assert "items:write" in newsletter("tokens", "list").out
    assert "is revoked" in newsletter("tokens", "revoke", "feed", "--yes").out
    assert "was revoked already" in newsletter("tokens", "revoke", "feed", "--yes").out
    for arguments, said in (
        (("create", "feed", "--scope", "items:write", "--all"), "already (revoked)"),
        (("create", "x", "--scope", "items:writ", "--all"), "Did you mean items:write?"),
        (("create", "x", "--all"), "without a scope"),
        (("create", "x", "--scope", "metrics:read", "--list", "rutas"), "every list"),
        (("create", "a\nb", "--scope", "items:read", "--all"), "name of a token"),
        (("create", "x", "--scope", "items:read", "--list", "ruta"), "Did you mean rutas?"),
        (("revoke", "fed"), "Did you mean feed?"),
    ):
        assert said in newsletter("tokens", *arguments, code=1).err


def test_a_revoked_token(house: House, machine: Any) -> None:
    """A token that was revoked opens nothing any more; what is kept of tokens opens nothing either."""
    api = machine()
    assert api.get("/api/v1/lists").status_code == 200
    with house.engine.begin() as connection:
        hashed = connection.scalar(select(tokens.c.token_hash))
        connection.execute(tokens.update().values(revoked_at=house.now))
    assert hashed not in api.headers["authorization"]
    answer = api.get("/api/v1/lists")
    assert (answer.status_code, 'error="invalid_token"' in answer.headers["www-authenticate"]) == (401, True)
    assert machine(token=hashed).get("/api/v1/lists").status_code == 401
