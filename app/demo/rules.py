"""The YAML file of the demo's workers: a model whose inputs will move has a reference of those that it knows."""

from collections.abc import Sequence
from pathlib import Path

from app.core.drift.building import distribution_of
from app.core.drift.reference import Reference
from app.demo.recordings import Recording
from app.demo.traffic import CURRENT, PREDICTOR
from app.reference_file import write_reference


def write_rules(folder: Path, recordings: Sequence[Recording]) -> Path:
    """Write the file, and beside it the references that it names: of the first phase of what has another one."""
    entries = []
    for recording in recordings:
        first, *others = recording["phases"]
        if others:
            columns = zip(*(row["features"] for row in first["rows"]), strict=True)
            features = map(distribution_of, recording["feature_names"], columns)
            name = f"{recording['service']}.prom"
            write_reference(folder / name, Reference(tuple(features)))
            match = f"{recording['namespace']}/{recording['service']}/{PREDICTOR[CURRENT]}/*"
            entries.append(f'  - {{match: "{match}", reference: {name}}}\n')
    file = folder / "tally.yaml"
    file.write_text("models:\n" + "".join(entries))
    return file
