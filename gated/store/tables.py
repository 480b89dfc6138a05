"""The tables: what is kept, and which indexes are worth their cost on the path of a passage.

Times are microseconds since 1970 (UTC), ids are those of `gated.ids`, enums are kept as their words, JSON as
text that nobody searches. Changing anything here needs a migration; a test compares the two. No I/O.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the key is called INTEGER, which there holds 64 bits as well
Number = BigInteger().with_variant(Integer, "sqlite")
Id = Text

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""`passes`: the number of the last change of a pass. `presence`: the passage up to which the table of
presence is written. `register`: the number of the last change of a dwelling or a list. `published`: the
outbox id up to which all messages were acknowledged. `district`: the passage up to which a platform of the
district was told, once it was configured. `settled`: the passage up to which openings were settled
at a start."""

passes = Table(
    "passes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("holder_name", Text, nullable=False),
    Column("holder_phone", Text),
    Column("dwelling_id", Text),
    Column("entrances", Text),  # JSON list; null: all of them
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_until", BigInteger, nullable=False),
    Column("hours", Text, nullable=False),  # JSON list of [days, since, until]
    Column("limits", Text, nullable=False),  # JSON object
    Column(
        "attestations", Text, nullable=False, server_default="[]"
    ),  # JSON list of [kind, day, day or null]
    Column("state", Text, nullable=False),
    Column("revoked_at", BigInteger),
    Column("revoked_reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False),
    Index(None, "change", unique=True),
    sqlite_with_rowid=False,
)

pass_credentials = Table(
    "pass_credentials",
    metadata,
    Column("pass_id", Id, ForeignKey("passes.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Index(None, "value", "kind"),
    sqlite_with_rowid=False,
)

passages = Table(
    "passages",
    metadata,
    # the order in which they were recorded; ids follow the clocks of devices
    Column("n", Number, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("lane", Text, nullable=False),
    Column("entrance", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("decided_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("device_time", BigInteger),
    Column("device", Text, nullable=False),
    Column("key", Text),
    Column("channel", Text),
    Column("credential_kind", Text),
    Column("credential", Text),
    Column("raw", Text, nullable=False),
    Column("confidence", Float),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("pass_id", Id),
    Column("change", BigInteger, nullable=False),
    Column("continues", Id),
    Column("details", Text, nullable=False),  # JSON: the explanation, and what else the read said
    UniqueConstraint("id"),
    # each index costs every passage about a tenth of its time: none on the time alone, for there are few
    # lanes, and the newest of all are among the newest of each; none on granted ones, which are most
    Index(None, "lane", "at"),
    Index(None, "credential", "at"),
    Index(
        None,
        "outcome",
        "at",
        sqlite_where=text("outcome <> 'grant'"),
        postgresql_where=text("outcome <> 'grant'"),
    ),
)

reads = Table(
    "reads",
    metadata,
    Column("n", Number, primary_key=True, autoincrement=True),
    Column("device", Text, nullable=False),
    Column("key", Text),
    # part of what makes two reads the same: the device's time, or the hour where it gave none
    Column("moment", BigInteger, nullable=False),
    Column("disposition", Text, nullable=False),
    Column("lane", Text),
    Column("passage_id", Id),
    Column("at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("credential_kind", Text),
    Column("credential", Text),
    Column("raw", Text, nullable=False),
    Column("confidence", Float),
    Column("details", Text, nullable=False),
    UniqueConstraint("device", "key", "moment", "disposition"),
    Index(None, "last_at"),
    Index(None, "credential"),
)
"""Reads that made no passage of their own. The same one again only counts."""

openings = Table(
    "openings",
    metadata,
    Column("id", Id, primary_key=True),
    Column("lane", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("passage_id", Id),
    Column("person", Text),
    Column("reason", Text),
    Column("detail", Text, nullable=False),
    Index(None, "passage_id"),
    Index(
        "ix_openings_pending",
        "id",
        sqlite_where=text("outcome = 'pending'"),
        postgresql_where=text("outcome = 'pending'"),
    ),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("fold_key", Text, nullable=False),
    Column("grid", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("text_zh", Text, nullable=False),
    Column("text_en", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("raised_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("lane", Text),
    Column("device", Text),
    Column("passage_id", Id),
    Index(None, "grid", "id"),
    Index(None, "state", "id"),
    sqlite_with_rowid=False,
)

topics = Table(
    "topics",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("topic", Text, nullable=False),
    UniqueConstraint("topic"),
)

outbox = Table(
    "outbox",
    metadata,
    # assigned by `gated.store.sequence` in the order of commits, which no sequence of a database promises
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("topic_id", Integer, nullable=False),  # of `topics`; a foreign key would cost every passage
    Column("seq", BigInteger, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("retain", Boolean, nullable=False),
    # see `gated.store.sequence`: an index with every row in it would cost each passage another page
    Column("landmark", Boolean, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index(
        "ix_outbox_landmarks",
        "topic_id",
        "seq",
        unique=True,
        sqlite_where=text("landmark"),
        postgresql_where=text("landmark"),
    ),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    UniqueConstraint("hash"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("n", Number, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),  # JSON
    Index(None, "subject"),
)

dwellings = Table(
    "dwellings",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("grid", Text, nullable=False),
    Column("tenure", Text, nullable=False),
    Column("lease_until", Text),  # a day
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

list_entries = Table(
    "list_entries",
    metadata,
    Column("list", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("note", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("added_by", Text, nullable=False),
    Column("until", BigInteger),
    sqlite_with_rowid=False,
)

policy_texts = Table(
    "policy_texts",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("first_at", BigInteger, nullable=False),
)
"""Every policy that ever decided: receipts name them by their hash, so none is ever deleted."""

policy_activations = Table(
    "policy_activations",
    metadata,
    Column("n", Number, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("hash", Text),  # null: no shadow any more
    Column("note", Text, nullable=False),
    Column("replaces", BigInteger),  # the activation that is in force again when this one is taken back
)

presence = Table(
    "presence",
    metadata,
    Column("pass_id", Id, primary_key=True),
    Column("entries", Integer, nullable=False),
    Column("first_entry", BigInteger),
    Column("last_entry", BigInteger),
    Column("last_exit", BigInteger),
    Column("day", Text),
    Column("today", Integer, nullable=False),
    Column("inside", Text, nullable=False),  # JSON object: credential to since when; negative: left then
    Column("last", Id),
    sqlite_with_rowid=False,
)
"""Written off the path of a passage, from the passages up to the counter `presence`."""

device_events = Table(
    "device_events",
    metadata,
    Column("n", Number, primary_key=True, autoincrement=True),
    Column("device", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("details", Text, nullable=False),
    Column("picture", LargeBinary),
    Index(None, "device", "n"),
)
"""What devices saw that people were told of; the latest only, and of these fewer with pictures."""

device_lists = Table(
    "device_lists",
    metadata,
    Column("device", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What gated put on devices' own lists; what staff put there by hand is not in it."""
