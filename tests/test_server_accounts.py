"""Accounts: roles, invitations, sessions, CSRF, API tokens, rate limits, the audit trail."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from amenable.cli.main import run
from amenable.errors import StoreError
from amenable.feedback import accounts
from amenable.feedback.account_tables import Account, Invitation, SignedIn
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


# API tokens


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


# Lost passwords


def number_of(person: Browser) -> int:
    return int(person.get("/api/session").json()["user"]["id"])


def password_link(boss: Browser, person: Browser) -> str:
    """The path of the routes of a fresh link for a person."""
    made = boss.post(f"/api/users/{number_of(person)}/password-link")
    assert made.status_code == 201, made.text
    return "/api/invitations/" + made.json()["link"].removeprefix("/invite/")


def test_a_link_to_a_new_password_works_once_and_for_its_person(site: Site) -> None:
    boss, ada = browser(site, "administrator", "Eve"), browser(site, "labeler", "Ada")
    token = ada.post("/api/tokens", {"name": "script"}).json()["token"]
    path = password_link(boss, ada)
    assert ada.get("/api/tokens").status_code == 200  # until it is used nothing changes
    offered = boss.get("/api/invitations").json()["items"]
    assert [(link["person"], link["by"]) for link in offered] == [("Ada", "Eve")]
    elsewhere = browser(site)
    assert elsewhere.get(path).json()["person"] == "Ada"
    said = elsewhere.post(path, {"password": "a new long one"}).json()
    assert said["user"] == {"id": number_of(elsewhere), "name": "Ada", "role": "labeler"}
    assert elsewhere.get("/api/tokens").status_code == 200 and ada.get("/api/tokens").status_code == 401
    bearer = {"authorization": f"Bearer {token}"}
    assert client_of(site).get("/api/tokens", headers=bearer).status_code == 200
    for password, status in ((PASSWORD, 403), ("a new long one", 200)):
        assert ada.post("/api/sign-in", {"name": "Ada", "password": password}).status_code == status
    assert elsewhere.post(path, {"password": "yet another one"}).status_code == 404
    assert boss.get("/api/invitations").json()["items"] == []
    trail = [entry for entry in boss.get("/api/audit").json()["items"] if entry["action"].startswith("password")]
    number = offered[0]["id"]
    assert [(entry["user"], entry["action"], entry["detail"]) for entry in trail] == [
        ("Ada", "password", {"invitation": number}),
        ("Eve", "password link", {"user": number_of(elsewhere), "invitation": number}),
    ]


def test_links_that_do_not_work_all_answer_alike(site: Site) -> None:
    boss = browser(site, "administrator", "Eve")
    people = {name: browser(site, "labeler", name) for name in ("Used", "Older", "Changed", "Closed", "Expired", "Withdrawn")}  # fmt: skip
    paths = {name: password_link(boss, person) for name, person in people.items()}
    visitor = browser(site)
    assert visitor.post(paths["Used"], {"password": "a new long one"}).status_code == 200
    newer = password_link(boss, people["Older"])
    own = {"old": PASSWORD, "new": "chosen meanwhile"}
    assert people["Changed"].post("/api/account/password", own).status_code == 200
    for active in (False, True):  # opened again, the link of before stays over
        closed = boss.send("PATCH", f"/api/users/{number_of_name(site, 'Closed')}", {"active": active})
        assert closed.status_code == 200
    listed = {link["person"]: link["id"] for link in boss.get("/api/invitations").json()["items"]}
    assert boss.send("DELETE", f"/api/invitations/{listed['Withdrawn']}").status_code == 200
    with writing(site.engine) as connection:
        late = sa.update(Invitation).where(Invitation.id == listed["Expired"])
        connection.execute(late.values(expires_at=now() - timedelta(seconds=1)))
    visitor = browser(dataclasses.replace(site, rates=Rates()))  # one address asks more often than people do
    paths["Unknown"] = "/api/invitations/" + accounts.new_secret()
    alike = {(answer.status_code, answer.text) for path in paths.values() for answer in
             (visitor.get(path), visitor.post(path, {"password": "a new long one"}))}  # fmt: skip
    assert alike == {(404, '{"detail":"this link was used or is over: ask for a new one","field":null}')}
    assert visitor.get(newer).json()["person"] == "Older"


def number_of_name(site: Site, name: str) -> int:
    with reading(site.engine) as connection:
        return accounts.number_of(connection, name)


def test_a_closed_account_has_no_link(site: Site) -> None:
    boss, ada = browser(site, "administrator"), browser(site, "labeler", "Ada")
    number, path = number_of(ada), password_link(boss, ada)
    with writing(site.engine) as connection:
        connection.execute(sa.update(Account).where(Account.user_id == number).values(active=False))
    assert browser(site).post(path, {"password": "a new long one"}).status_code == 404
    with writing(site.engine) as connection, pytest.raises(StoreError, match="used or is over"):
        accounts.renew_password(connection, path.rsplit("/", 1)[1], "hash")
    assert boss.post(f"/api/users/{number}/password-link").status_code == 409
    with writing(site.engine) as connection:
        accounts.erase(connection, number)
    assert boss.post(f"/api/users/{number}/password-link").status_code == 409
    assert boss.post("/api/users/999/password-link").status_code == 404


def test_only_administrators_make_password_links_and_not_for_themselves(site: Site) -> None:
    boss, ada = browser(site, "administrator"), browser(site, "labeler", "Ada")
    for role in ("chat", "labeler", "reviewer"):
        path = f"/api/users/{number_of(ada)}/password-link"
        assert browser(site, role).post(path).status_code == 403
    assert boss.post(f"/api/users/{number_of(boss)}/password-link").status_code == 409
    path = f"/api/users/{number_of(ada)}/password-link"
    assert boss.client.post(path, json={}).status_code == 403  # without the CSRF header
    assert boss.get("/api/invitations").json()["items"] == []


def test_a_password_link_makes_no_account_and_an_invitation_takes_none(site: Site) -> None:
    boss, other = browser(site, "administrator", "Eve"), browser(site, "administrator", "Ada")
    path, visitor = password_link(boss, other), browser(site)
    assert visitor.post(path, {"name": "Mallory", "password": PASSWORD}).status_code == 400
    with writing(site.engine) as connection, pytest.raises(StoreError, match="used or is over"):
        accounts.accept(connection, path.rsplit("/", 1)[1], "Mallory", "hash")
    with writing(site.engine) as connection:
        _, secret = accounts.invite(connection, "administrator")
        with pytest.raises(StoreError, match="used or is over"):
            accounts.renew_password(connection, secret, "hash")
    assert visitor.post(f"/api/invitations/{secret}", {"password": PASSWORD}).status_code == 400
    for password in ("short", "Ada 12345678"):
        assert visitor.post(path, {"password": password}).status_code == 400
    assert client_of(site).post(path, json={"password": "a new long one"}).status_code == 403  # of another site's page
    assert visitor.post(path, {"password": "a new long one"}).status_code == 200


def test_guessing_links_is_slowed_down(site: Site) -> None:
    guesser = browser(site)
    path = "/api/invitations/" + accounts.new_secret()
    codes = [guesser.post(path, {"password": PASSWORD}).status_code for _ in range(int(LIMITS["sign_in"][1]) + 1)]
    assert set(codes[:-1]) == {404} and codes[-1] == 429


def test_the_command_line_lets_the_only_administrator_back_in(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    boss = browser(site, "administrator", "Ada")
    there = ["--workspace", str(site.workspace.root)]
    assert run(["password", "ada", "--url", "https://label.example.org/", *there]) == 0
    link = re.search(r"https://label\.example\.org/invite/(\S+)", capsys.readouterr().out)
    assert link is not None
    with reading(site.engine) as connection:
        found = accounts.invitation(connection, link[1])
    assert found is not None and timedelta(hours=23) < found.expires_at - now() < timedelta(hours=25)
    visitor = browser(site)
    assert visitor.post(f"/api/invitations/{link[1]}", {"password": "a new long one"}).json()["user"]["name"] == "Ada"
    assert boss.get("/api/tokens").status_code == 401
    assert run(["password", "Ada", "--json", *there]) == 0
    assert json.loads(capsys.readouterr().out)["link"].startswith("http://127.0.0.1:8000/invite/")
    assert visitor.get("/api/audit").json()["items"][0]["action"] == "password link"
    assert run(["password", "Nobody", *there]) == 1
    assert "the administrators are Ada" in capsys.readouterr().err


# Limits, the trail


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
