"""The durable store: tables, the group-commit writer, queries by subject, migrations, backups.

`store` has the object that the daemon uses, `records` what it is given; `passes`, `passages`, `openings`,
`alerts`, `reads`, `outbox`, `tokens`, `idempotency`, `audit`, `policies`, `presence`, `lists` and `dwellings`
have queries over a connection.
"""

from gated.store.records import (
    AlreadyRecorded,
    BackupFailed,
    NotReadable,
    OpeningRecord,
    OutboxMessage,
    PassageRecord,
    ReadRecord,
    StaleDecision,
    StoreError,
    StoreInUse,
    StoreUnusable,
    VersionConflict,
)
from gated.store.store import Store, restore

__all__ = [
    "AlreadyRecorded",
    "BackupFailed",
    "NotReadable",
    "OpeningRecord",
    "OutboxMessage",
    "PassageRecord",
    "ReadRecord",
    "StaleDecision",
    "Store",
    "StoreError",
    "StoreInUse",
    "StoreUnusable",
    "VersionConflict",
    "restore",
]
