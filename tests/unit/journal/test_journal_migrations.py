"""Migrations: from nothing, from something older, never from something newer."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from bot.journal import migrations
from bot.journal.tables import METADATA
from bot.model.errors import JournalError


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
