"""What the demo asks of both processes over HTTP; standard library only, it starts fast."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

# 503 says "the same again, after Retry-After": the group is busy, or a store was away for a moment.
# Tries of one request, and the longest pause between two, in s: two minutes at most.
_TRIES_MAX: Final = 12
_PAUSE_S_MAX: Final = 10.0


class Client:
    """A small JSON client with an optional token of the platform's built-in issuer."""

    def __init__(self, url: str, client_id: str = "", secret: str = "") -> None:
        self._url = url
        self._login = (client_id, secret)
        self._token = ""
        self._token_until = 0.0

    def get(self, path: str, **query: str | int | None) -> Any:
        """GET as JSON. Raises OSError when it fails."""
        asked = {k: v for k, v in query.items() if v is not None}
        tail = f"?{urllib.parse.urlencode(asked)}" if asked else ""
        return self._json(urllib.request.Request(f"{self._url}{path}{tail}"))  # noqa: S310

    def post(self, path: str, body: object = None) -> Any:
        """POST JSON, answer as JSON. Raises OSError when it fails."""
        request = urllib.request.Request(  # noqa: S310
            f"{self._url}{path}", data=json.dumps(body or {}).encode(),
            headers={"content-type": "application/json"}, method="POST",
        )  # fmt: skip
        return self._json(request)

    def text(self, path: str) -> str:
        """GET as text. Raises OSError when it fails."""
        with urllib.request.urlopen(f"{self._url}{path}", timeout=60) as answer:  # noqa: S310
            return str(answer.read().decode())

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 2xx."""
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=5):  # noqa: S310
                return True
        except OSError:
            return False

    def lines(self, path: str, **query: str) -> Iterator[Any]:
        """GET as NDJSON."""
        tail = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self._url}{path}{tail}", timeout=600) as answer:  # noqa: S310
            for line in answer:
                yield json.loads(line)

    def calls(self, **query: str | int | None) -> Iterator[dict[str, Any]]:
        """Every call of the platform's read API, page by page."""
        cursor: str | None = None
        while True:
            page = self.get("/v1/calls", limit=500, cursor=cursor, **query)
            yield from page["calls"]
            cursor = page.get("cursor")
            if cursor is None:
                return

    def _json(self, request: urllib.request.Request) -> Any:
        if self._login[0]:
            request.add_header("authorization", f"Bearer {self._fresh_token()}")
        tries = 0
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                    return json.load(answer)
            except urllib.error.HTTPError as bad:
                tries += 1
                if bad.code != 503 or tries == _TRIES_MAX:
                    raise
                time.sleep(min(float(bad.headers.get("retry-after") or 1), _PAUSE_S_MAX))

    def _fresh_token(self) -> str:
        if time.monotonic() >= self._token_until:
            client_id, secret = self._login
            form = {"grant_type": "client_credentials", "client_id": client_id,
                    "client_secret": secret}  # fmt: skip
            request = urllib.request.Request(  # noqa: S310
                f"{self._url}/oauth2/token", data=urllib.parse.urlencode(form).encode()
            )
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                said = json.load(answer)
            self._token = said["access_token"]
            self._token_until = time.monotonic() + said["expires_in"] / 2
        return self._token
