"""A sqlite3 database with several processes that write at once."""

from __future__ import annotations

import sqlite3

from .common import CACHE, child, equal, reap, step, workplace

WRITERS = 4
TRANSACTIONS = 10


def connect() -> sqlite3.Connection:
    """A connection that waits for locks."""
    return sqlite3.connect("database", timeout=60, isolation_level=None)


def write(writer: int) -> None:
    """Add rows and to the common counter, in transactions."""
    database = connect()
    for number in range(TRANSACTIONS):
        database.execute("BEGIN IMMEDIATE")
        (count,) = database.execute("SELECT value FROM counter").fetchone()
        database.execute("UPDATE counter SET value = ?", (count + 1,))
        rows = [(writer, number, line, "text " * 20) for line in range(10)]
        database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
        database.execute("COMMIT" if number % 5 != 4 else "ROLLBACK")
    database.close()


def exercise(mode: str) -> None:
    """All writers at once; then everything must be there."""
    step(f"{WRITERS} writers, journal mode {mode}")
    database = connect()
    (got,) = database.execute(f"PRAGMA journal_mode={mode}").fetchone()
    equal("journal mode", mode, got)
    database.execute("DROP TABLE IF EXISTS counter")
    database.execute("DROP TABLE IF EXISTS rows")
    database.execute("CREATE TABLE counter (value INTEGER)")
    database.execute("CREATE TABLE rows (writer INTEGER, number INTEGER, line INTEGER, text TEXT)")
    database.execute("CREATE INDEX by_number ON rows (number, line)")
    database.execute("INSERT INTO counter VALUES (0)")
    database.close()
    reap(*[child(lambda writer=writer: write(writer)) for writer in range(WRITERS)])  # type: ignore[misc]
    database = connect()
    committed = WRITERS * TRANSACTIONS * 4 // 5
    equal("counter", (committed,), database.execute("SELECT value FROM counter").fetchone())
    equal("rows", (committed * 10,), database.execute("SELECT count(*) FROM rows").fetchone())
    equal("integrity", [("ok",)], database.execute("PRAGMA integrity_check").fetchall())
    database.execute("VACUUM")
    equal("integrity", [("ok",)], database.execute("PRAGMA integrity_check").fetchall())
    database.close()


if __name__ == "__main__":
    with workplace():
        exercise("delete")
        exercise("truncate")
        if CACHE != "none":  # the write-ahead log needs shared memory
            exercise("wal")
