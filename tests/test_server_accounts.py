"""Accounts: roles, invitations, sessions, CSRF, API tokens, rate limits, the audit trail."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from amenable.feedback import accounts
from amenable.feedback.account_tables import Account, SignedIn
from amenable.feedback.database import reading, writing
from amenable.feedback.tables import Member, now
from amenable.server.app import create_app
from amenable.server.errors import TooMany
from amenable.server.rates import LIMITS, Rates
from amenable.server.settings import ServerSettings
from amenable.server.site import Site, open_site
from tests.server_makers import PASSWORD, Browser, browser, client_of, site

__all__ = ["site"]

OPEN = {
    ("GET", "/api/health"),
    ("GET", "/api/session"),
    ("POST", "/api/sign-in"),
    ("GET", "/api/invitations/{secret}"),
    ("POST", "/api/invitations/{secret}"),
}
"""The routes that nobody need be signed in for."""


def test_every_other_route_asks_who_it_is(site: Site) -> None:
    visitor = browser(site)
    paths = create_app(site).openapi()["paths"]
    guarded = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert set(guarded) >= OPEN and len(guarded) > len(OPEN)
    for method, path in set(guarded) - OPEN:
        filled = path.replace("{secret}", "x")
        while "{" in filled:
            filled = filled[: filled.index("{")] + "1" + filled[filled.index("}") + 1 :]
        assert visitor.send(method, filled, {}).status_code == 401, (method, path)


def test_the_first_link_makes_the_one_administrator(site: Site) -> None:
    with writing(site.engine) as connection:
        older = accounts.first_invitation(connection)
        newer = accounts.first_invitation(connection)
    visitor = browser(site)
    assert visitor.get("/api/session").json()["first_start"] is True
    assert visitor.get(f"/api/invitations/{older}").status_code == 404
    assert visitor.get(f"/api/invitations/{newer}").json()["role"] == "administrator"
    said = visitor.post(f"/api/invitations/{newer}", {"name": "Ada", "password": PASSWORD}).json()
    assert said["user"]["name"] == "Ada" and said["first_start"] is False
    assert visitor.post(f"/api/invitations/{newer}", {"name": "Eve", "password": PASSWORD}).status_code == 404
    with writing(site.engine) as connection:
        assert accounts.first_invitation(connection) is None


def test_roles_bound_what_people_do(site: Site) -> None:
    boss, chat = browser(site, "administrator"), browser(site, "chat")
    labeler, reviewer = browser(site, "labeler"), browser(site, "reviewer")
    assert [b.get("/api/users").status_code for b in (chat, labeler, reviewer, boss)] == [403, 403, 200, 200]
    assert [b.post("/api/invitations", {"role": "chat"}).status_code for b in (chat, labeler, reviewer, boss)] == [
        403,
        403,
        403,
        201,
    ]
    labeler_id = labeler.get("/api/session").json()["user"]["id"]
    assert boss.send("PATCH", f"/api/users/{labeler_id}", {"role": "reviewer"}).json()["role"] == "reviewer"
    assert labeler.get("/api/users").status_code == 200
    assert boss.send("PATCH", f"/api/users/{labeler_id}", {"active": False}).status_code == 200
    assert labeler.get("/api/users").status_code == 401
    own = boss.get("/api/session").json()["user"]["id"]
    assert boss.send("PATCH", f"/api/users/{own}", {"role": "chat"}).status_code == 409
    assert boss.get("/api/users").status_code == 200


def test_an_invitation_may_lead_into_a_project(site: Site) -> None:
    boss = browser(site, "administrator")
    site.store.add_prompts("helpful", [])
    assert boss.post("/api/invitations", {"role": "labeler", "project": "nothing"}).status_code == 404
    link = boss.post("/api/invitations", {"role": "labeler", "project": "helpful"}).json()["link"]
    visitor = browser(site)
    secret = link.removeprefix("/invite/")
    assert visitor.get(f"/api/invitations/{secret}").json()["project"] == "helpful"
    made = visitor.post(f"/api/invitations/{secret}", {"name": "Ada", "password": PASSWORD}).json()["user"]
    with reading(site.engine) as connection:
        assert connection.execute(sa.select(Member.user_id)).scalars().all() == [made["id"]]


def test_signing_in_and_out(site: Site) -> None:
    ada = browser(site, "administrator", "Ada")
    again = Browser(client_of(site))
    assert again.post("/api/sign-in", {"name": "Ada", "password": "wrong password"}).status_code == 403
    assert again.post("/api/sign-in", {"name": "Nobody", "password": PASSWORD}).status_code == 403
    said = again.post("/api/sign-in", {"name": "ada", "password": PASSWORD})
    assert said.json()["user"]["name"] == "Ada"
    cookie = said.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie
    assert again.get("/api/tokens").status_code == 200
    assert again.post("/api/sign-out").json()["user"] is None
    assert again.get("/api/tokens").status_code == 401 and ada.get("/api/tokens").status_code == 200
    assert ada.post("/api/account/password", {"old": "wrong", "new": PASSWORD * 2}).status_code == 403
    again.post("/api/sign-in", {"name": "Ada", "password": PASSWORD})
    assert ada.post("/api/account/password", {"old": PASSWORD, "new": "another long one"}).status_code == 200
    assert ada.get("/api/tokens").status_code == 200 and again.get("/api/tokens").status_code == 401
    assert again.post("/api/sign-in", {"name": "Ada", "password": PASSWORD}).status_code == 403


def test_secrets_are_kept_as_hashes_alone(site: Site) -> None:
    ada = browser(site, "administrator", "Ada")
    token = ada.post("/api/tokens", {"name": "script"}).json()["token"]
    secret = next(cookie.value for cookie in ada.client.cookies.jar if cookie.name == "amenable_session")
    with reading(site.engine) as connection:
        stored = [str(tuple(row)) for t in ("accounts", "sessions", "api_tokens", "invitations", "audit") for row in connection.execute(sa.text(f"SELECT * FROM {t}"))]  # fmt: skip
        assert connection.execute(sa.select(Account.password_hash)).scalar_one().startswith("$argon2id$")
    assert stored and not [row for row in stored for hidden in (PASSWORD, token, secret) if str(hidden) in row]


@pytest.mark.parametrize("name", ["", " ", "a\0b", "x" * 101, "simulated-7", "a\u202eb", "line\nbreak"])
def test_names_that_cannot_be(site: Site, name: str) -> None:
    with writing(site.engine) as connection:
        _, secret = accounts.invite(connection, "chat")
    answer = browser(site).post(f"/api/invitations/{secret}", {"name": name, "password": PASSWORD})
    assert answer.status_code in (400, 422) and answer.json()["detail"]


def test_names_are_one_persons_alone(site: Site) -> None:
    with site.store as store:
        store.add_prompts("p", [], owner="")
    browser(site, "labeler", "Ada")
    for name in ("Ada", "ADA", " ada "):
        with writing(site.engine) as connection:
            _, secret = accounts.invite(connection, "chat")
        answer = browser(site).post(f"/api/invitations/{secret}", {"name": name, "password": PASSWORD})
        assert answer.status_code == 400 and "taken" in answer.json()["detail"]


def test_names_of_any_script_sign_in(site: Site) -> None:
    browser(site, "labeler", "Éva")
    visitor = browser(site)
    for name in ("Éva", "éva", "E\N{COMBINING ACUTE ACCENT}va", " ÉVA"):
        assert visitor.post("/api/sign-in", {"name": name, "password": PASSWORD}).status_code == 200, name
    with writing(site.engine) as connection:
        _, secret = accounts.invite(connection, "chat")
    assert "taken" in visitor.post(f"/api/invitations/{secret}", {"name": "éVA", "password": PASSWORD}).json()["detail"]


def test_weak_passwords_are_refused(site: Site) -> None:
    with writing(site.engine) as connection:
        _, secret = accounts.invite(connection, "chat")
    for password in ("short", "Adalovelace1"):
        answer = browser(site).post(f"/api/invitations/{secret}", {"name": "Adalovelace", "password": password})
        assert answer.status_code == 400, password


# Other sites, forged and old sessions


def test_requests_of_other_sites_are_refused(site: Site) -> None:
    ada = browser(site, "administrator")
    for headers in (
        {"x-csrf-token": ""},
        {"x-csrf-token": "0" * 64},
        {"x-csrf-token": browser(site).csrf},
        {"x-csrf-token": ada.csrf, "origin": "https://evil.example"},
        {"x-csrf-token": ada.csrf, "origin": "null"},
    ):
        answer = ada.client.post("/api/tokens", json={"name": "x"}, headers=headers)
        assert answer.status_code == 403, headers
    assert ada.post("/api/tokens", {"name": "x"}, headers={"origin": "http://127.0.0.1:8000"}).status_code == 201
    assert client_of(site).post("/api/sign-in", json={"name": "a", "password": "b"}).status_code == 403


def test_forged_and_expired_sessions(site: Site) -> None:
    ada = browser(site, "administrator")
    forged = client_of(site)
    for value in ("", "x", "0" * 43, "' OR 1=1 --", accounts.new_secret()):
        forged.cookies.set("amenable_session", value)
        assert forged.get("/api/tokens").status_code == 401
    with writing(site.engine) as connection:
        early = now() - timedelta(hours=site.settings.session_hours + 1)
        connection.execute(sa.update(SignedIn).values(last_seen_at=early))
    assert ada.get("/api/tokens").status_code == 401
    with writing(site.engine) as connection:
        early = now() - timedelta(days=site.settings.session_days + 1)
        connection.execute(sa.update(SignedIn).values(last_seen_at=now(), created_at=early))
    assert ada.get("/api/tokens").status_code == 401


def test_with_tls_cookies_are_secure_and_bound_to_the_host(site: Site) -> None:
    safe = open_site(site.workspace, ServerSettings(behind_tls=True))
    answer = client_of(safe).get("/api/session")
    assert "__Host-amenable_visitor=" in answer.headers["set-cookie"] and "Secure" in answer.headers["set-cookie"]
    assert "strict-transport-security" in answer.headers


# API tokens, limits, the trail


def test_api_tokens(site: Site) -> None:
    ada, eve = browser(site, "labeler", "Ada"), browser(site, "labeler", "Eve")
    made = ada.post("/api/tokens", {"name": "script"}).json()
    bare = client_of(site)
    bearer = {"authorization": f"Bearer {made['token']}"}
    assert [t["name"] for t in bare.get("/api/tokens", headers=bearer).json()["items"]] == ["script"]
    assert bare.post("/api/tokens", json={"name": "second"}, headers=bearer).status_code == 201  # no cookie, no CSRF
    for wrong in ("Bearer nonsense", f"Basic {made['token']}", "Bearer", ""):
        assert bare.get("/api/tokens", headers={"authorization": wrong}).status_code == 401
    assert eve.send("DELETE", f"/api/tokens/{made['id']}").status_code == 404
    assert ada.send("DELETE", f"/api/tokens/{made['id']}").status_code == 200
    assert bare.get("/api/tokens", headers=bearer).status_code == 401


def test_guessing_passwords_is_slowed_down(site: Site) -> None:
    browser(site, "administrator", "Ada")
    guesser = browser(site)
    guesses = {"name": "Nobody", "password": "x"}
    codes = [guesser.post("/api/sign-in", guesses).status_code for _ in range(int(LIMITS["sign_in"][1]) + 1)]
    assert codes[-1] == 429 and 403 in codes


def test_guesses_at_one_name_count_however_it_is_written(site: Site) -> None:
    guesser = browser(site)
    for name in ("Ada", " aDA "):
        guesser.post("/api/sign-in", {"name": name, "password": "x"})
    assert {who for kind, who in site.rates._buckets if kind == "sign_in" and who.startswith("name")} == {"name ada"}


def test_rates_refill() -> None:
    time = [0.0]
    rates = Rates(lambda: time[0])
    most = int(LIMITS["sign_in"][1])
    for _ in range(most):
        rates.take("sign_in", "a")
    with pytest.raises(TooMany):
        rates.take("sign_in", "a")
    rates.take("sign_in", "b")
    time[0] += 1 / LIMITS["sign_in"][0] + 0.001
    rates.take("sign_in", "a")
    with pytest.raises(TooMany):
        rates.take("sign_in", "a")


def test_the_audit_trail_is_only_added_to(site: Site) -> None:
    boss = browser(site, "administrator", "Ada")
    boss.post("/api/invitations", {"role": "chat"})
    items = boss.get("/api/audit").json()["items"]
    assert [entry["action"] for entry in items] == ["invite", "sign in", "accept", "invite"]
    assert items[0]["user"] == "Ada"
    for change in ("DELETE FROM audit", "UPDATE audit SET action = 'nothing'"):
        with pytest.raises(sa.exc.DBAPIError, match="only added"), writing(site.engine) as connection:
            connection.execute(sa.text(change))
