"""Accounts and chats on a real PostgreSQL: the same tables, the same guards."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher

from amenable.config.folder import init_workspace
from amenable.feedback import accounts, conversations, rows, said
from amenable.feedback.accounts import Person
from amenable.feedback.database import writing
from amenable.feedback.talk_tables import Conversation, Turn
from amenable.server.settings import ServerSettings
from amenable.server.site import Site, open_site
from tests.feedback_stores import cluster
from tests.server_makers import PASSWORD, Browser, browser, client_of

__all__ = ["cluster"]


@pytest.fixture
def site(cluster: sa.URL, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A server's insides on a database of its own."""
    monkeypatch.setattr(accounts, "hasher", lambda: PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    engine = sa.create_engine(cluster, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE accounts")
    engine.dispose()
    workspace = init_workspace(tmp_path_factory.mktemp("workspace"))
    url = cluster.set(database="accounts").render_as_string(hide_password=False)
    workspace.settings.write_text(f'database = "{url}"\n')
    return open_site(workspace, ServerSettings())


def test_accounts_and_chats(site: Site) -> None:
    ada, boss = browser(site, "chat", "Ada"), browser(site, "administrator", "Eve")
    assert Browser(client_of(site)).post("/api/sign-in", {"name": "ADA", "password": PASSWORD}).status_code == 200
    token = ada.post("/api/tokens", {"name": "a"}).json()["token"]
    bearer = {"authorization": f"Bearer {token}"}
    assert client_of(site).get("/api/tokens", headers=bearer).status_code == 200
    assert len(boss.get("/api/audit").json()["items"]) > 4
    for change in ("DELETE FROM audit", "UPDATE audit SET action = 'nothing'"):
        with pytest.raises(sa.exc.DBAPIError, match="only added"), writing(site.engine) as connection:
            connection.execute(sa.text(change))
    user = ada.get("/api/session").json()["user"]
    link = boss.post(f"/api/users/{user['id']}/password-link").json()["link"].removeprefix("/invite/")
    assert ada.post(f"/api/invitations/{link}", {"password": "a new long one"}).json()["user"] == user
    assert ada.post(f"/api/invitations/{link}", {"password": "a new long one"}).status_code == 404
    person = Person(id=user["id"], name=user["name"], role="chat")
    with writing(site.engine) as connection:
        said.set_consent(connection, person, True)
        values = {"title": "", "model": "m", "system": "", "settings": {}}
        number = rows.insert(connection, Conversation, user_id=person.id, **values)
        asked = conversations.add(connection, number, None, "user", "Hi?")
        first = conversations.add(connection, number, asked, "assistant", "Hello.", model="m")
        second = conversations.add(connection, number, asked, "assistant", "No.", model="m")
        assert conversations.thumb(connection, person, first, True, ["kind"], "")
        assert conversations.choose(connection, person, first, second)
        assert conversations.edit(connection, person, second, "Good day.")[1]
    kinds = ("labels", "comparisons", "demonstrations")
    assert [len(list(site.store.records("chat", kind))) for kind in kinds] == [1, 2, 1]
    assert ada.send("PUT", "/api/consent", {"given": False}).json()["withdrawn"] == 3
    assert [len(list(site.store.records("chat", kind))) for kind in kinds] == [0, 0, 0]
    with writing(site.engine) as connection:
        conversations.erase(connection, person.id)
        accounts.erase(connection, person.id)
        assert connection.execute(sa.select(sa.func.count()).select_from(Turn)).scalar() == 0
    assert ada.get("/api/tokens").status_code == 401
    site.engine.dispose()
