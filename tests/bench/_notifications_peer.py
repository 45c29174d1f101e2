"""The plainest door there can be: the same web server, the same signature, and an INSERT with a commit each.

``python -m tests.bench._notifications_peer postgresql://…`` prints the port it listens on.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import sys
from urllib.parse import parse_qsl

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from tests.bench._notifications_load import SECRET

_TABLE = "CREATE TABLE IF NOT EXISTS peer (id bigserial PRIMARY KEY, received_at timestamptz DEFAULT now(), body bytea)"


async def serve(url: str) -> None:
    async with AsyncConnectionPool(url, min_size=10, max_size=10, open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute(_TABLE)

        async def take(request: web.Request) -> web.Response:
            body = await request.read()
            words = dict(parse_qsl(body.decode()))
            text = "".join(words[name] for name in ("caller_id", "called_did", "call_start"))
            expected = hmac.new(SECRET.encode(), text.encode(), "sha1").hexdigest().encode()
            if not hmac.compare_digest(base64.b64decode(request.headers["Signature"]), expected):
                return web.Response(status=403)
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO peer (body) VALUES (%s)", (body,))
            return web.Response()

        app = web.Application()
        app.router.add_post("/", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
