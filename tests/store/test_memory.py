import pytest

from stoker.testing.job_store import InMemoryJobStore
from stoker.testing.job_store_suite import JobStoreSuite


class TestInMemoryJobStore(JobStoreSuite):
    @pytest.fixture
    async def store(self):
        store = InMemoryJobStore()
        await store.open()
        yield store
        await store.close()
