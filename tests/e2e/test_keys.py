"""The real process with keys: it listens where others can reach it, and lets in who has one."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.e2e.service import STOKER, Service, fake_engine


async def keys(service: Service, *arguments: str) -> str:
    """What `stoker keys` prints."""
    process = await asyncio.create_subprocess_exec(
        STOKER, "keys", *arguments, "--data", str(service.data), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def test_a_service_with_keys_listens_on_every_address_and_learns_of_changes(tmp_path):
    async with fake_engine("--slots", "4", "--token-ms", "1") as url:
        service = Service(tmp_path, "--engine", url, "--host", "0.0.0.0")
        secret = await keys(service, "create", "alice")
        async with service.running():
            await service.wait_ready()
            port = service.url.rpartition(":")[2]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                body = {"prompt": "hello", "max_tokens": 4}

                async def status(key: str | None) -> int:
                    headers = {"x-api-key": key} if key else {}
                    async with session.post("/v1/completions", json=body, headers=headers) as reply:
                        await reply.read()
                        return reply.status

                assert await status(None) == 401
                assert await status(secret) == 200
                fresh = await keys(service, "create", "bob")
                assert await status(fresh) == 200
                await keys(service, "revoke", "alice")
                assert [await status(secret), await status(fresh)] == [401, 200]
        assert secret not in service.log_path.read_text()
