"""How many there are of everything, for metrics. It reads whole indexes: not for a request."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter

from stoker.memories.records import Census, DocumentStatus, StageState
from stoker.memories.tiles import Status

_REASONS_MAX = 24
_CODE = re.compile(r"[a-z]\w*")

_REFUSED = (
    "SELECT reason, count(*) FROM tile_heads INDEXED BY tile_heads_status"
    " JOIN tile_states USING (tile, version) WHERE tile_heads.status = 'quarantined'"
    " GROUP BY reason UNION ALL"
    " SELECT reason, count(*) FROM stages INDEXED BY stages_state WHERE state = 'quarantined'"
    " GROUP BY reason"
)


def take(db: sqlite3.Connection, model: str) -> Census:
    """Count. `model` is whose vectors are wanted; empty for none."""
    documents: Counter[DocumentStatus] = Counter(dict.fromkeys(DocumentStatus, 0))
    is_open = 0
    for row in db.execute(
        "SELECT status, is_open, count(*) AS n FROM documents GROUP BY status, is_open"
    ):
        documents[DocumentStatus(row["status"])] += row["n"]
        is_open += row["n"] if row["is_open"] else 0
    return Census(
        documents=documents,
        documents_open=is_open,
        work={**dict.fromkeys(StageState, 0), **_work(db)},
        tiles={**dict.fromkeys(Status, 0), **_tiles(db)},
        refused=_refused(db),
        without_vector=_without_vector(db, model),
    )


def _work(db: sqlite3.Connection) -> dict[StageState, int]:
    rows = db.execute("SELECT state, count(*) AS n FROM stages GROUP BY state")
    return {StageState(row["state"]): row["n"] for row in rows}


def _tiles(db: sqlite3.Connection) -> dict[Status, int]:
    rows = db.execute("SELECT status, count(*) AS n FROM tile_heads GROUP BY status")
    return {Status(row["status"]): row["n"] for row in rows}


def _refused(db: sqlite3.Connection) -> dict[str, int]:
    """By the code at the start of each reason; what has none, and the rarest, are `other`."""
    counts: Counter[str] = Counter()
    for reason, count in db.execute(_REFUSED):
        code = reason.partition(":")[0]
        counts[code if _CODE.fullmatch(code) else "other"] += count
    common = dict(counts.most_common(_REASONS_MAX))
    if rest := counts.total() - sum(common.values()):
        common["other"] = common.get("other", 0) + rest
    return common


def _without_vector(db: sqlite3.Connection, model: str) -> int:
    if not model:
        return 0
    row = db.execute("SELECT seq FROM embedders WHERE model = ?", (model,)).fetchone()
    embedder = None if row is None else row["seq"]
    (wanted,) = db.execute(
        "SELECT (SELECT count(*) FROM tiles) + (SELECT count(*) FROM spans)"
    ).fetchone()
    (there,) = db.execute(
        "SELECT count(*) FROM embeddings WHERE embedder = ?", (embedder,)
    ).fetchone()
    return max(0, int(wanted) - int(there))
