"""The statuses of a batch, and the steps between them."""

from __future__ import annotations

import pytest

from stoker.core.batches import BATCH_STEPS, Batch, BatchStatus, cancelling, moved

BATCH = Batch("b", "", "/v1/embeddings", "f", "24h", created_at=1.0, expires_at=2.0)
FINAL = {
    BatchStatus.FAILED,
    BatchStatus.COMPLETED,
    BatchStatus.EXPIRED,
    BatchStatus.CANCELLED,
}


def test_exactly_the_ends_are_final_and_each_can_be_reached():
    assert {status for status in BatchStatus if status.is_final} == FINAL
    reached = {BatchStatus.VALIDATING}
    for _ in BatchStatus:
        reached |= {after for status in reached for after in BATCH_STEPS[status]}
    assert reached == set(BatchStatus)


def test_a_step_is_dated_and_keeps_the_dates_before():
    batch = moved(BATCH, BatchStatus.IN_PROGRESS, 5.0, model="m")
    batch = moved(batch, BatchStatus.FINALIZING, 6.0)

    assert (batch.status, batch.model) == (BatchStatus.FINALIZING, "m")
    assert batch.reached == {"in_progress": 5.0, "finalizing": 6.0}


def test_a_step_that_is_not_legal_is_a_bug():
    with pytest.raises(AssertionError, match="b: "):
        moved(BATCH, BatchStatus.COMPLETED, 5.0)


def test_only_a_batch_that_is_not_being_written_can_be_cancelled():
    in_progress = moved(BATCH, BatchStatus.IN_PROGRESS, 5.0)
    finalizing = moved(in_progress, BatchStatus.FINALIZING, 6.0)

    assert cancelling(BATCH, 7.0).status is BatchStatus.CANCELLING
    stopped = cancelling(in_progress, 7.0)
    assert stopped.reached["cancelling"] == 7.0
    assert cancelling(stopped, 8.0) == stopped
    assert cancelling(finalizing, 7.0) == finalizing
