"""The page's own files, kept packed in memory: a first visit asks for fifty, and each read and packed anew is most of its cost."""

from __future__ import annotations

import gzip
import os
import stat
from hashlib import blake2b
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

LARGEST = 1 << 20  # bytes of a file that is kept


class _Kept(NamedTuple):
    stamp: tuple[int, int]  # when it was changed last, in nanoseconds, and its size
    plain: bytes
    packed: bytes
    headers: dict[str, str]


class Files(StaticFiles):
    """Checked for a change at each use, by their ETag, so that an upgrade is never half old; a file that was edited is read again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory)
        self._kept: dict[str, _Kept] = {}

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, or why there is none."""
        where, found = self.lookup_path(path)
        if (
            found is None
            or not stat.S_ISREG(found.st_mode)
            or found.st_size > LARGEST
            or scope["method"] != "GET"
        ):
            response = await super().get_response(path, scope)
            response.headers["Cache-Control"] = "no-cache"
            return response
        one = self._read(where, found)
        asked = Headers(scope=scope)
        headers = Headers(one.headers)
        if self.is_not_modified(headers, asked):
            return NotModifiedResponse(headers)
        if "gzip" in asked.get("accept-encoding", ""):
            return Response(one.packed, headers={**one.headers, "Content-Encoding": "gzip"})
        return Response(one.plain, headers=one.headers)

    def _read(self, where: str, found: os.stat_result) -> _Kept:
        stamp = found.st_mtime_ns, found.st_size
        known = self._kept.get(where)
        if known is None or known.stamp != stamp:
            plain = Path(where).read_bytes()
            kind = guess_type(where)[0] or "application/octet-stream"
            text = kind.startswith("text/") or kind.endswith(("javascript", "json", "xml"))
            headers = {
                "Content-Type": f"{kind}; charset=utf-8" if text else kind,
                "ETag": f'"{blake2b(plain, digest_size=16).hexdigest()}"',
                "Cache-Control": "no-cache",
                "Vary": "Accept-Encoding",
            }
            known = self._kept[where] = _Kept(stamp, plain, gzip.compress(plain, 6, mtime=0), headers)
        return known
