"""The server in this process, over a database of its own: what a run sends goes through its ingest, and stays where rules look."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from fastapi.testclient import TestClient

from foreshock.send.transport import REQUEST_SECONDS, Answer, Request
from foreshock_server import migrate
from foreshock_server.app import create_app
from foreshock_server.db import Database
from foreshock_server.rules.load import RuleSet, builtin_packs, parse_pack
from foreshock_server.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self


class Service:
    """A context: the application without its workers, for rules are tried on what is stored, by the code that judges live."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'foreshock.db'}"
        self.database = Database(url)
        migrate.to_head(self.database)
        # The TestClient calls the server "testserver", and a server without a key answers to no name but its own.
        settings = Settings(
            database_url=url,
            data_dir=folder,
            workers=False,
            public_url="http://testserver",
            ingest_requests_per_second=0,
            ingest_bytes_per_second=0,
        )
        self.rules = RuleSet.load(settings)
        self._client = TestClient(create_app(settings))

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, trace)
        self.database.close()

    def transport(self) -> Direct:
        """For a run of this process."""
        return Direct(self._client)


class Direct:
    """The SDK's transport to an application that is no network away."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def exchange(self, request: Request, seconds: float = REQUEST_SECONDS) -> Answer:
        """What the application answers."""
        headers = {"Content-Type": request.media_type}
        answer = self._client.request(request.method, request.path, content=request.body, headers=headers)
        body = answer.json() if answer.content else {}
        after = answer.headers.get("Retry-After")
        return Answer(answer.status_code, body, None if after is None else float(after))

    def close(self) -> None:
        """The application stays."""


def packs_of_rules() -> dict[str, str]:
    """Rule id -> name of the built-in pack that it comes from."""
    packs = [parse_pack(text, name) for name, text in builtin_packs()]
    return {rule.id: pack.pack for pack in packs for rule in pack.rules}
