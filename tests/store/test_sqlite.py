import pytest

from stoker.store.sqlite import SqliteJobStore
from stoker.testing.job_store_suite import JobStoreSuite


class TestSqliteJobStore(JobStoreSuite):
    @pytest.fixture
    async def store(self, tmp_path):
        store = SqliteJobStore(tmp_path / "jobs.sqlite3")
        await store.open()
        yield store
        await store.close()
