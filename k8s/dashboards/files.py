"""The JSON file of each dashboard."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from k8s.dashboards import inputs, kinds, models, monitors, workers

FOLDER: Final = Path(__file__).parent
DASHBOARDS: Final[tuple[Callable[[], dashboard.Dashboard], ...]] = (
    models.overview,
    kinds.binary,
    kinds.multiclass,
    kinds.regression,
    models.comparison,
    models.segments,
    models.labels,
    inputs.drift,
    monitors.monitors,
    workers.worker,
    workers.documents,
    workers.seldon,
)


def files() -> dict[str, str]:
    """The text of each file by its name."""
    return {
        f"{make.__name__}.json": json.dumps(make().build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
        for make in DASHBOARDS
    }
