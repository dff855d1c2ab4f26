"""The five verbs over HTTP: `Client` for asyncio, `SyncClient` for everybody else."""

from stoker.client.blocking import SyncClient, SyncLease
from stoker.client.errors import ServerUnreachable
from stoker.client.http import Client, RemoteCall, RemoteLease

__all__ = [
    "Client",
    "RemoteCall",
    "RemoteLease",
    "ServerUnreachable",
    "SyncClient",
    "SyncLease",
]
