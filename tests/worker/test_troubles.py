"""Troubles: a line when one begins, when it changes and when it ends, and none in between."""

import logging

import pytest

from app.worker.troubles import Troubles


def test_what_is_tried_again_and_again_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    troubles = Troubles()
    for _ in range(3):
        troubles.begin("Partition 1", "It cannot be loaded.")
    troubles.begin("Partition 1", "It cannot be loaded for another reason.")
    troubles.begin("Partition 2", "Nor can this one.")
    assert [*troubles] == ["It cannot be loaded for another reason.", "Nor can this one."]
    troubles.forget("Partition 2")
    for _ in range(2):
        troubles.end("Partition 1")
    assert not [*troubles]
    assert [record.getMessage() for record in caplog.records] == [
        "It cannot be loaded.",
        "It cannot be loaded for another reason.",
        "Nor can this one.",
        "Partition 1: all is well again",
    ]


def test_a_note_whose_sentence_changes_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    troubles = Troubles()
    for sentence in (None, "It is 40 s ahead.", "It is 41 s ahead."):
        troubles.note("The clock", sentence)
    assert [*troubles] == ["It is 41 s ahead."]
    troubles.note("The clock", None)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
