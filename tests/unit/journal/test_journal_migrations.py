"""Migrations: from nothing, from something older, never from something newer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event

from bot.journal import codec, migrations
from bot.journal.ledger import Ledger, ledger_engine
from bot.journal.store import JournalReader, SqliteJournal
from bot.journal.tables import METADATA
from bot.model.errors import JournalError
from bot.model.event import Refused


def test_empty_file_becomes_current_and_matches_the_tables(tmp_path: Path) -> None:
    """The revisions build exactly the schema that tables.py declares."""
    path = tmp_path / "desk.db"
    path.touch()
    migrations.open_current(path)
    assert migrations.revision(path) == migrations.HEAD
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
    assert [p.name for p in tmp_path.iterdir()] == ["desk.db"], "an empty file needs no copy"


def test_upgrade_twice_is_one_upgrade() -> None:
    """Running it on a current database changes nothing."""
    engine = create_engine("sqlite://")
    migrations.upgrade(engine)
    migrations.upgrade(engine)
    engine.dispose()


def test_head_is_the_newest_script() -> None:
    """The constant that spares a start the import of Alembic agrees with the scripts."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_current_head() == migrations.HEAD
    assert {script.revision for script in scripts.walk_revisions()} == set(migrations.KNOWN)


def test_older_database_is_copied_before_it_is_changed(tmp_path: Path) -> None:
    """What was in the file is in the copy, and the upgraded file keeps it too."""
    path = tmp_path / "desk.db"
    old = sqlite3.connect(path)
    old.execute("CREATE TABLE before (x)")
    old.execute("INSERT INTO before VALUES (42)")
    old.commit()
    old.close()
    migrations.open_current(path)
    for file in (path, tmp_path / "desk.db.unversioned.bak"):
        assert sqlite3.connect(file).execute("SELECT x FROM before").fetchone() == (42,)
    assert migrations.revision(tmp_path / "desk.db.unversioned.bak") is None


def test_newer_database_is_refused(tmp_path: Path) -> None:
    """A schema this program does not know is left alone."""
    path = tmp_path / "desk.db"
    migrations.open_current(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(JournalError, match="9999"):
        migrations.open_current(path)


def test_pure_parts_load_without_sqlalchemy() -> None:
    """The loop, the bench and the guardian use these modules without SQLAlchemy or Alembic."""
    code = (
        "import sys, bot.journal.attribution, bot.journal.accounts, bot.journal.tape, bot.journal.store\n"
        "print([m for m in ('sqlalchemy', 'alembic') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def first(path: Path) -> None:
    """Make a database as the program of revision 0001 left it, with two steps, a checkpoint and a projected ledger."""
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    old = sqlite3.connect(path)
    for seq in (1, 2):
        rows = codec.encode(seq, [refusal(seq), refusal(seq)])
        old.executemany("INSERT INTO journal (seq, n, ts, kind, body) VALUES (?, ?, ?, ?, ?)", rows)
    old.execute("INSERT INTO checkpoint VALUES (2, x'7b7d')")
    old.execute("INSERT INTO watermark VALUES ('ledger', 2)")
    old.execute("INSERT INTO meta VALUES ('mode', 'paper'), ('run', '4')")
    old.commit()
    old.close()


def refusal(ts: int) -> Refused:
    """Return a refusal."""
    return Refused(ts=ts, pair="a", rule="depth", observed=1.5, limit=2.0)


def test_upgrade_from_the_first_schema(tmp_path: Path) -> None:
    """Rows are kept and sealed, the checkpoint too, past decisions appear with the next projection, and a copy is beside it."""
    path = tmp_path / "desk.db"
    first(path)
    reader = JournalReader(path)
    assert len(list(reader.read())) == 4 and reader.latest_checkpoint() == (2, b"{}"), "an older schema is read as it is"
    reader.close()
    journal = SqliteJournal(path)
    assert list(journal.read()) == [(seq, n, refusal(seq)) for seq in (1, 2) for n in (0, 1)]
    assert journal.latest_checkpoint() == (2, b"{}") and journal.lease_run("paper") == 5
    ledger = Ledger(ledger_engine(path), {})
    assert ledger.watermark() == 0
    ledger.project(journal.read())
    assert [(row.kind, row.rule, row.count) for row in ledger.decisions()] == [("refused", "depth", 4)]
    journal.close()
    copy = tmp_path / "desk.db.0001.bak"
    assert migrations.revision(copy) == "0001" and not list(tmp_path.glob("*.tmp"))
    old = sqlite3.connect(copy)
    assert old.execute("SELECT count(*), (SELECT seq FROM watermark) FROM journal").fetchone() == (4, 2)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE journal SET body = replace(body, '1.5', '1.6') WHERE seq = 1 AND n = 1")
    connection.commit()
    reader = JournalReader(path)
    with pytest.raises(JournalError, match="seq 1 n 1 is damaged"):
        list(reader.read())
    reader.close()


def dump(path: Path) -> list[str]:
    """Return the whole content of a database as text."""
    connection = sqlite3.connect(path)
    text = list(connection.iterdump())
    connection.close()
    return text


@pytest.mark.parametrize("at", range(10))
def test_upgrade_that_fails_anywhere_changes_nothing(tmp_path: Path, at: int) -> None:
    """Whichever statement of the revision is the last, the file is as before, and the next start upgrades it."""
    path = tmp_path / "desk.db"
    first(path)
    before, calls = dump(path), 0

    def failing(connection: Connection, *_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 4:
            raise sqlite3.OperationalError("disk I/O error")

    event.listen(Engine, "before_cursor_execute", failing)
    try:
        with pytest.raises(JournalError, match="upgrade from schema 0001 to 0002 failed and changed nothing: disk I/O error"):
            migrations.open_current(path)
    finally:
        event.remove(Engine, "before_cursor_execute", failing)
    assert dump(path) == before and [p.name for p in tmp_path.iterdir()] == ["desk.db"]
    migrations.open_current(path)
    assert migrations.revision(path) == migrations.HEAD


def test_process_that_dies_in_an_upgrade_changes_nothing(tmp_path: Path) -> None:
    """A SIGKILL between two statements leaves the old schema; the next start upgrades it."""
    path = tmp_path / "desk.db"
    first(path)
    before = dump(path)
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom sqlalchemy import Engine, event\n"
        "def die(c, cursor, statement, *_):\n"
        "    if statement.startswith('UPDATE checkpoint'):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "event.listen(Engine, 'before_cursor_execute', die)\n"
        "from bot.journal import migrations\nmigrations.open_current(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[3], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()[-1000:]
    SqliteJournal(path).close()
    assert dump(tmp_path / "desk.db.0001.bak") == before and migrations.revision(path) == migrations.HEAD


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("CREATE TABLE decisions (seq)", "table decisions already exists.*put the copy made before the upgrade back"),
        ("ALTER TABLE journal ADD COLUMN crc", "duplicate column name: crc.*put the copy"),
        ("UPDATE alembic_version SET version_num = '0002'", "half migrated: schema 0002 without column journal.crc; put the copy"),
        ("DELETE FROM alembic_version", "table journal already exists.*put the copy"),
    ],
)
def test_half_applied_revision_is_refused(tmp_path: Path, statement: str, says: str) -> None:
    """A schema that is not what its number says is refused with what to do, and stays as it was found, however often."""
    path = tmp_path / "desk.db"
    first(path)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    before = dump(path)
    for _ in range(2):
        with pytest.raises(JournalError, match=f"desk.db.*{says}") as caught:
            SqliteJournal(path)
        assert "\n" not in str(caught.value) and dump(path) == before
    assert not list(tmp_path.glob("*.bak"))


def test_lost_table_is_refused(tmp_path: Path) -> None:
    """A current database without one of its tables is named."""
    path = tmp_path / "desk.db"
    migrations.open_current(path)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE fills")
    connection.close()
    with pytest.raises(JournalError, match="without table fills"):
        migrations.open_current(path)


def test_no_copy_no_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk has no room for the copy, the database is left alone."""
    path = tmp_path / "desk.db"
    first(path)
    before = dump(path)

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(JournalError, match="no copy before the upgrade, so nothing was changed: .*No space left"):
        migrations.open_current(path)
    assert dump(path) == before and [p.name for p in tmp_path.iterdir()] == ["desk.db"]


def test_schema_constant_is_the_tables() -> None:
    """What a start checks without SQLAlchemy is what tables.py declares."""
    declared = {name: {c.name for c in table.columns} for name, table in METADATA.tables.items()}
    assert declared == {name: set(columns.split()) for name, columns in migrations.SCHEMA.items() if name != "alembic_version"}
