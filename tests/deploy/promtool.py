"""What promtool says of rules: series are given over time, and it tells which alerts fire and when."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parent.parent.parent
ALERTS: Final = ROOT / "k8s/alerts.yaml"


def promtool() -> str:
    """The program; a test that asks for it is skipped where it is missing, and fails in CI."""
    found = shutil.which("promtool")
    if found is None:
        missing = "promtool is not on PATH: install the Debian package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """What series do, a value every so many minutes, and what an alert makes of it after so many steps."""

    alert: str
    what: str
    series: Mapping[str, str]
    at: int  # steps
    fires: bool = True
    #: For how many of the minutes before it fires, where that is the point.
    minutes: int | None = None
    every: int = 1  # minutes
    #: How it reads, where it fires.
    summary: str | None = None

    def __str__(self) -> str:
        return f"{self.alert}: {self.what}"


def test_of(case: Case) -> dict[str, Any]:
    """The case as promtool takes it."""
    firing = f'ALERTS{{alertname="{case.alert}", alertstate="firing"}}'
    asked = [(f"count({firing}) or vector(0)", 1 if case.fires else 0)]
    if case.minutes is not None:
        asked.append((f"sum(count_over_time({firing}[{case.at}m:1m])) or vector(0)", case.minutes))
    return {
        "name": str(case),
        "interval": f"{case.every}m",
        "input_series": [{"series": series, "values": _spelt_out(values)} for series, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{case.at * case.every}m",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for expression, value in asked
        ],
    }


def _spelt_out(values: str) -> str:
    """Promtool repeats numbers alone."""
    return re.sub(r"NaNx(\d+)", lambda found: " ".join(["NaN"] * (int(found[1]) + 1)), values)


def run(cases: Sequence[Case], folder: Path, rules: str) -> str:
    """Let promtool try the cases on the rules; what it objects to, nothing where all is as it should be."""
    alike: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for case in cases:
        alike.setdefault((case.alert, case.every), []).append(test_of(case))
    return "".join(_say(tests, every, folder, only(rules, alert)) for (alert, every), tests in alike.items())


def only(rules: str, alert: str) -> str:
    """The rules that one alert rests on, and it: promtool works all of them out at every step, which takes minutes."""
    groups = yaml.safe_load(rules)["groups"]
    known = {rule.get("record") or rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
    wanted, found = [alert], set[str]()
    while wanted:
        name = wanted.pop()
        found.add(name)
        wanted += [other for other in known if other in known[name] and other not in found]
    for group in groups:
        group["rules"] = [rule for rule in group["rules"] if (rule.get("record") or rule["alert"]) in found]
    return yaml.safe_dump({"groups": [group for group in groups if group["rules"]]})


def shown(case: Case, folder: Path, rules: str) -> str:
    """The alert as it fires, with its labels and texts: promtool shows it where none is expected."""
    expected = {"alertname": case.alert, "eval_time": f"{case.at * case.every}m", "exp_alerts": []}
    test = test_of(case) | {"promql_expr_test": [], "alert_rule_test": [expected]}
    return _say([test], case.every, folder, only(rules, case.alert))


def _say(tests: list[dict[str, Any]], every: int, folder: Path, rules: str) -> str:
    file, tried = folder / "rules.yaml", folder / "test.yaml"
    file.write_text(rules)
    tried.write_text(yaml.safe_dump({"rule_files": [str(file)], "evaluation_interval": f"{every}m", "tests": tests}))
    done = subprocess.run([promtool(), "test", "rules", str(tried)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def is_accepted(rules: str, folder: Path) -> bool:
    """Whether they are well-formed."""
    file = folder / "checked.yaml"
    file.write_text(rules)
    return subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, check=False).returncode == 0
