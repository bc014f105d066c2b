"""References while a worker runs: a changed file is read, a broken one is said, and what was before stays in force."""

import asyncio
import logging
from pathlib import Path

import pytest

from app.core.drift.declared import Declared
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.rules import Rulebook, Rules
from app.reference_file import read_reference, write_reference
from app.worker.references import References
from app.worker.troubles import Troubles

ONE = Reference((Distribution("a", "categorical", (), ("x",), (1,)),))
OTHER = Reference((Distribution("a", "categorical", (), ("x", "y"), (1, 1)),))


def test_a_changed_file_is_in_force_for_all_models_that_name_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "histogram.prom"
    write_reference(file, ONE)
    both = [Watched(str(file), Live(read_reference(file), count)) for count in (7, 9)]
    notes = Troubles()
    watch = References(Rulebook(tuple(Rules(reference=watched) for watched in both)), notes)
    before = [watched.live for watched in both]

    async def story() -> None:
        await watch.look()
        await watch.look()
        assert [watched.live for watched in both] == before
        write_reference(file, OTHER)
        await watch.look()
        assert [(watched.live.reference, watched.live.least_count) for watched in both] == [(OTHER, 7), (OTHER, 9)]
        file.write_text("half a fi")
        await watch.look()
        await watch.look()
        assert [sentence.partition(" is no text")[0] for sentence in notes] == [f"The reference {file}"]
        file.unlink()
        await watch.look()
        assert [sentence for sentence in notes if "cannot be read" in sentence]
        assert [watched.live.reference for watched in both] == [OTHER, OTHER]
        write_reference(file, ONE)
        await watch.look()
        assert not [*notes]
        assert [watched.live.reference for watched in both] == [ONE, ONE]

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    assert sum("drift is counted anew" in record.message for record in caplog.records) == 4


def test_what_was_written_between_the_start_and_the_first_look_is_found(tmp_path: Path) -> None:
    file = tmp_path / "histogram.prom"
    write_reference(file, ONE)
    watched = Watched(str(file), Live(read_reference(file)))
    write_reference(file, OTHER)
    asyncio.run(References(Rulebook((Rules(reference=watched),)), Troubles()).look())
    assert watched.live.reference == OTHER


def test_another_file_leaves_what_is_declared_and_declarations_without_file_are_no_file(tmp_path: Path) -> None:
    file, declared = tmp_path / "histogram.prom", (Declared("b", 0.0),)
    write_reference(file, ONE)
    watched = Watched(str(file), Live(read_reference(file), 7, declared))
    alone = Watched("", Live(Reference(()), 7, declared))
    notes = Troubles()
    watch = References(Rulebook((Rules(reference=watched), Rules(reference=alone))), notes)
    before = watched.live, alone.live

    async def story() -> None:
        await watch.look()
        assert (watched.live, alone.live) == before
        write_reference(file, OTHER)
        await watch.look()

    asyncio.run(story())
    assert (watched.live.reference, watched.live.declared, watched.live.least_count) == (OTHER, declared, 7)
    assert alone.live is before[1]
    assert not [*notes]
