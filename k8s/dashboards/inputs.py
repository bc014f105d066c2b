"""The dashboard of what comes before any label: drift of features, predictions and labels, and their quality."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard

from k8s.dashboards.words import (
    COUNT,
    HALF,
    IN_WINDOW,
    MODEL,
    PLAIN,
    THIRD,
    WORKER_LABELS,
    dashboard_of,
    lines,
    number,
    of_models,
    rows,
)

NO_REFERENCE: Final = "No rows in this window, or no reference: see README, Has the data moved?"
NOT_DECLARED: Final = "Nothing is declared: see `features:` in README, Has the data moved?"
NO_VERSIONS: Final = "No version with one before it, or no rows in this window: see README, Is the shadow better?"
OF_FEATURE: Final = f"{MODEL} {{{{feature}}}}"
#: Features as such: the rest of what a reference has stands in parentheses.
FEATURES: Final = 'feature!~"[(].*"'
ANSWERS: Final = 'feature=~"[(](prediction|score|labelled score)[)]"'
FROM_BEFORE: Final = f"{OF_FEATURE} after {{{{before}}}}"


def _drift(measure: str, *more: str) -> str:
    return of_models("tally_drift", f'measure="{measure}"', IN_WINDOW, *more)


def _share(kind: str, *more: str) -> str:
    return of_models("tally_feature_share", f'kind="{kind}"', IN_WINDOW, *more)


def _apart(*more: str) -> str:
    return of_models("tally_version_drift", 'measure="psi"', IN_WINDOW, *more)


def _in_a_row(expression: str) -> str:
    """The same without the labels that tell the columns of a table apart."""
    return f"max without (measure, kind, window, {WORKER_LABELS}) ({expression})"


def drift() -> dashboard.Dashboard:
    """How far what comes is from the reference, the furthest first."""
    kinds = ("missing", "below", "above", "unseen", "invalid")
    others = 'feature=~"[(](prediction|score|label)[)]"'
    return dashboard_of(
        "drift",
        "Tally: has the data moved?",
        "What models are asked and answer, against their reference; and what of it is not as it should be.",
        {
            "": [
                number(
                    "Features that have drifted", of_models("tally_drifted_share", IN_WINDOW), legend=MODEL,
                    what="Share of those with enough rows, corrected for how many there are.", empty=NO_REFERENCE,
                    unit="percentunit", span=HALF, steps=[(0.01, "orange"), (0.5, "red")],
                ),
                number(
                    "Rows with an invalid value", _share("invalid", 'feature="(row)"'), legend=MODEL,
                    what="Share of the rows in which any value is not what `features:` declares.",
                    empty=NOT_DECLARED, unit="percentunit", span=HALF, steps=[(0.01, "orange"), (0.05, "red")],
                ),
            ],
            "By drift": [
                rows(
                    "Features",
                    {
                        "PSI": _in_a_row(f"topk(50, {_drift('psi')})"),
                        "p": _in_a_row(_drift("chi2_p")),
                        "Kolmogorov-Smirnov": _in_a_row(_drift("ks")),
                        "Jensen-Shannon": _in_a_row(_drift("js")),
                        "rows": _in_a_row(of_models("tally_feature_rows", IN_WINDOW)),
                    },
                    what="The fifty that are furthest from the reference. One has drifted where PSI is above 0.1, p "
                    "below 0.01, and there are least_count rows. Bins stand in /api/models.",
                    empty=NO_REFERENCE, unit=PLAIN, counts=["rows"],
                ),
                lines(
                    "PSI of features", {OF_FEATURE: f"topk(20, {_drift('psi', FEATURES)})"}, unit=PLAIN,
                    what="The twenty that are furthest from the reference; the red line is 0.1.", empty=NO_REFERENCE,
                    limit="vector(0.1)",
                ),
                lines(
                    "PSI of predictions, scores and labels", {OF_FEATURE: _drift("psi", others)}, unit=PLAIN,
                    what="What a model answers moves where what it is asked does; labels move where the world does.",
                    empty=NO_REFERENCE, limit="vector(0.1)",
                ),
            ],
            "Quality": [
                *(
                    lines(
                        title, {OF_FEATURE: f"topk(20, {_share(kind, FEATURES)})"}, what=text, span=THIRD,
                        empty=NOT_DECLARED if kind == "invalid" else NO_REFERENCE,
                    )
                    for kind, title, text in (
                        ("missing", "Missing", "Null, NaN, infinite, or no number where numbers are expected."),
                        ("unseen", "Unseen", "Categories that the reference has not."),
                        ("invalid", "Invalid", "Values that `features:` does not allow."),
                    )
                ),
                lines(
                    "Out of range",
                    {f"{kind} {OF_FEATURE}": f"topk(20, {_share(kind, FEATURES)})" for kind in ("below", "above")},
                    what="Numbers below or above all of the reference.", empty=NO_REFERENCE,
                ),
                rows(
                    "All shares", {kind: _in_a_row(_share(kind)) for kind in kinds}, span=HALF,
                    what="Of each feature in the chosen window.", empty=NO_REFERENCE,
                ),
            ],
            "Against the version before": [
                lines(
                    "PSI of answers, against the version before", {FROM_BEFORE: _apart(ANSWERS)}, unit=PLAIN,
                    what="What a version answers, against all that the one before it ever has; the red line is 0.1.",
                    empty=NO_VERSIONS, limit="vector(0.1)",
                ),
                lines(
                    "PSI of features, against the version before",
                    {FROM_BEFORE: f"topk(20, {_apart(FEATURES)})"}, unit=PLAIN, limit="vector(0.1)", empty=NO_VERSIONS,
                    what="The twenty that are furthest: where they have moved too, it is asked otherwise.",
                ),
                rows(
                    "Versions",
                    {
                        "PSI": _in_a_row(f"topk(50, {_apart()})"),
                        "p": _in_a_row(of_models("tally_version_drift", 'measure="chi2_p"', IN_WINDOW)),
                        "rows": _in_a_row(of_models("tally_version_rows", IN_WINDOW)),
                    },
                    what="The fifty that are furthest apart. Rows are those of the version that has fewer.",
                    empty=NO_VERSIONS, unit=PLAIN, counts=["rows"],
                ),
            ],
            "How far it can be trusted": [
                lines(
                    "Rows", {OF_FEATURE: of_models("tally_feature_rows", IN_WINDOW)}, unit=COUNT,
                    what="Rows that are compared: of few of them nothing has drifted.", empty=NO_REFERENCE,
                ),
                lines(
                    "p of features", {OF_FEATURE: f"bottomk(20, {_drift('chi2_p', FEATURES)})"}, unit=PLAIN,
                    what="The twenty lowest: below 0.01 the difference is no chance.", empty=NO_REFERENCE,
                    limit="vector(0.01)",
                ),
            ],
        },
        models="tally_feature_rows",
        windows="tally_feature_rows",
    )  # fmt: skip
