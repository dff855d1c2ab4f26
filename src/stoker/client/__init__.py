"""The five verbs over HTTP: `Client` for asyncio, `SyncClient` for everybody else."""

from stoker.client.blocking import SyncClient, SyncLease
from stoker.client.http import Client, RemoteCall, RemoteLease
from stoker.core.errors import ServerUnreachable

__all__ = [
    "Client",
    "RemoteCall",
    "RemoteLease",
    "ServerUnreachable",
    "SyncClient",
    "SyncLease",
]
