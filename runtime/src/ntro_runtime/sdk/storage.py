"""`ntro.capabilities.storage` on the files of the run."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from typing import Any

from .context import run_files

_DEFAULT_TYPE = "application/octet-stream"


async def write(*, path: str, content: bytes, content_type: str = _DEFAULT_TYPE) -> str:
    """Store bytes under `path`; returns the path."""
    output = await asyncio.to_thread(run_files().write, path, bytes(content), content_type)
    return output.name


async def read(*, path: str) -> bytes:
    """The bytes under `path`. Raises `FileNotFoundError`."""
    return await read_file(path)


async def write_file(file_path: str, *, content: bytes) -> dict[str, Any]:
    """Store bytes; the media type follows the extension."""
    media_type = mimetypes.guess_type(file_path)[0] or _DEFAULT_TYPE
    output = await asyncio.to_thread(run_files().write, file_path, bytes(content), media_type)
    return {"path": output.name, "size_bytes": output.size}


async def read_file(file_path: str) -> bytes:
    """The bytes under `file_path`. Raises `FileNotFoundError`."""
    return await asyncio.to_thread(run_files().read, file_path)


async def list_files(prefix: str = "") -> list[str]:
    """Names of the run's files that start with `prefix`, sorted."""
    return run_files().names(prefix)


async def write_table(table_name: str, *, data: list[dict[str, Any]], period: str = "", mode: str = "overwrite") -> dict[str, Any]:
    """Store rows as JSON; `mode="append"` keeps those already there."""
    path = _table(table_name, period)
    rows = [*(await read_table(table_name, period=period)), *data] if mode == "append" else list(data)
    content = json.dumps(rows, indent=2, default=str).encode()
    await asyncio.to_thread(run_files().write, path, content, "application/json")
    return {"rows_written": len(data), "total_rows": len(rows), "path": path}


async def read_table(table_name: str, *, period: str = "") -> list[dict[str, Any]]:
    """Rows stored before; none if there is no such table."""
    try:
        rows: list[dict[str, Any]] = json.loads(await read_file(_table(table_name, period)))
    except FileNotFoundError:
        return []
    return rows


def _table(name: str, period: str) -> str:
    return f"{name}_{period}.json" if period else f"{name}.json"


REPLACED = {function.__name__: function for function in (write, read, write_file, read_file, list_files, write_table, read_table)}
