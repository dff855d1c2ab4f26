"""What every `JobStore` must do, as tests to inherit.

    class TestMyStore(JobStoreSuite):
        @pytest.fixture
        async def store(self):
            store = MyStore(...)
            await store.open()
            yield store
            await store.close()

Nothing in here knows a dialect, a file or a thread. Times are numbers that the tests choose.
"""

from __future__ import annotations

from stoker.testing.job_store_suite.asking import Asking
from stoker.testing.job_store_suite.entering import Entering
from stoker.testing.job_store_suite.leaving import Leaving
from stoker.testing.job_store_suite.upkeep import Upkeep


class JobStoreSuite(Entering, Leaving, Upkeep, Asking):
    """Inherit it and give it a fixture `store`: an open, empty store."""


__all__ = ["JobStoreSuite"]
