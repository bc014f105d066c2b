"""Sentences for the log on what a batch of events showed of models, each said once a model."""

from collections.abc import Iterable

from app.core.counts.numbers import Numbers
from app.core.events import shown


def without_class(found: Iterable[tuple[int, str]], numbers: Numbers) -> list[str]:
    """Of which models answers name no class, and why; `found` is by the number of the leg."""
    return [
        f"answers of {numbers.legs[leg]} name no class that labels could be right about: {why}" for leg, why in found
    ]


def without_probabilities(found: Iterable[tuple[int, str]], numbers: Numbers) -> list[str]:
    """Of which models answers have no probabilities where `probability_field` says, and why."""
    return [f"answers of {numbers.legs[leg]} have no probabilities that count: {why}" for leg, why in found]


def unfit(found: Iterable[tuple[int, str]], numbers: Numbers) -> list[str]:
    """Which requests do not fit the reference of their model, or what is declared of it, and how."""
    return [f"requests of {numbers.legs[leg]}: {why}" for leg, why in found]


def mixed(legs: Iterable[int], puid: bytes, numbers: Numbers) -> list[str]:
    """Of which models rows are judged and others measured, and by which puid that was seen."""
    return [
        f"{numbers.legs[leg]} has labelled rows that name classes and others that are measurements, first "
        f"seen at puid {shown(puid)}: most of them say what the model is, the others count as measured; a line "
        "`task:` of the YAML settles it"
        for leg in legs
    ]
