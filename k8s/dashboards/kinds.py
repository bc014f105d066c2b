"""The dashboards of each kind of model: two classes, more of them, numbers."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard

from k8s.dashboards.words import (
    COUNT,
    IN_WINDOW,
    MODEL,
    NO_LABELS,
    PLAIN,
    QUARTER,
    SHARE,
    THIRD,
    dashboard_of,
    limit,
    lines,
    matrix,
    number,
    of_models,
    score,
)

OF_CLASS: Final = f"{MODEL} class {{{{class}}}}"
NO_PROBABILITIES: Final = "The answers bring no probabilities"


def binary() -> dashboard.Dashboard:
    """The seed's first two dashboards, with right formulas."""
    helps = {
        "Accuracy": ("accuracy", "Share of the judged rows that are right."),
        "Precision": ("precision", "Of the rows predicted to be positive those that are."),
        "Recall": ("recall", "Of the positive rows those that were predicted to be."),
        "Specificity": ("specificity", "Of the negative rows those not predicted to be positive."),
    }
    interval = {
        name: of_models(f"tally_score_{end}", 'score="accuracy"', 'class=""', IN_WINDOW)
        for end, name in (("low", f"lower end {MODEL}"), ("high", f"upper end {MODEL}"))
    }
    probabilities = {
        "roc_auc": "How well the probabilities order the rows: 1 is perfect, 0.5 is chance.",
        "log_loss": "Logarithmic loss of the probabilities: the less the better.",
        "brier": "Mean square of the probabilities' errors: the less the better.",
        "ece": "By how much the probabilities differ from the shares that come true.",
    }
    return dashboard_of(
        "binary",
        "Real Time Model Accuracy",
        "Models of two classes. Each score is scikit-learn's, over right counts; the red line is its limit.",
        {
            "": [
                number(title, score(name), what=text, empty=NO_LABELS, legend=MODEL, unit=SHARE, span=QUARTER)
                for title, (name, text) in helps.items()
            ],
            "Over time": [
                lines(
                    f"Real Time Model {title}", {MODEL: score(name)}, what=text, empty=NO_LABELS, limit=limit(name)
                )
                for title, (name, text) in helps.items()
            ],
            "How far it can be trusted": [
                lines(
                    "Rows judged", {MODEL: score("accuracy", series="tally_score_samples")},
                    what="Rows that the accuracy rests on.", empty=NO_LABELS, unit=COUNT, span=THIRD,
                ),
                lines(
                    "Accuracy with its 95 % interval", {MODEL: score("accuracy")} | interval, span=THIRD,
                    what="Where the YAML file asks for intervals.", empty=NO_LABELS,
                ),
                lines(
                    "Other scores",
                    {f"{name} {MODEL}": score(name) for name in ("f1", "npv", "balanced_accuracy", "mcc")},
                    what="F1, negative predictive value, balanced accuracy, Matthews' correlation.", empty=NO_LABELS,
                    unit=PLAIN, span=THIRD,
                ),
            ],
            "Which way it errs": [
                matrix(
                    "Confusion", f"sum by (actual, predicted) ({of_models('tally_window_confusion', IN_WINDOW)})",
                    row="actual", column="predicted", what="Rows judged, by class. Choose one model above.",
                    empty=NO_LABELS,
                ),
                lines(
                    "Rewards", {MODEL: score("reward_mean", of_class="=")}, unit=PLAIN, limit=limit("reward_mean"),
                    what="Mean reward of the feedback that brings one: what the seed's dashboard calls accuracy.",
                    empty="No feedback of this window brings a reward",
                ),
            ],
            "Probabilities": [
                lines(name, {MODEL: score(name)}, what=text, empty=NO_PROBABILITIES, unit=PLAIN, span=QUARTER)
                for name, text in probabilities.items()
            ],
        },
        models='tally_model_info{task="binary"}',
        windows="tally_window_confusion",
    )  # fmt: skip


def multiclass() -> dashboard.Dashboard:
    """The seed's third dashboard, with right formulas."""
    overall = {
        "ACCURACY": ("accuracy", "Share of the judged rows that are right."),
        "PRECISION": ("precision_macro", "Mean precision over the classes."),
        "RECALL": ("recall_macro", "Mean recall over the classes."),
    }
    by_class = {
        "PRECISION": ("precision", "Of the rows predicted to be of a class those that are."),
        "RECALL": ("recall", "Of the rows of a class those that were predicted to be."),
        "F1": ("f1", "Harmonic mean of precision and recall."),
        "SPECIFICITY": ("specificity", "Of the rows of other classes those not predicted to be."),
    }
    return dashboard_of(
        "multiclass",
        "MultiClass Prediction Statistics",
        "Models of more than two classes: as a whole, by class, and which classes they take for which.",
        {
            "": [
                number(title, score(name), what=text, empty=NO_LABELS, legend=MODEL, unit=SHARE, span=THIRD)
                for title, (name, text) in overall.items()
            ],
            "As a whole": [
                lines(
                    "Real Time Model ACCURACY", {MODEL: score("accuracy")}, limit=limit("accuracy"),
                    what="Share of the judged rows that are right. It is never of one class.", empty=NO_LABELS,
                ),
                lines(
                    "Kappa and F1", {f"{name} {MODEL}": score(name) for name in ("kappa", "f1_macro", "f1_weighted")},
                    what="Agreement beyond that of chance; mean F1 over the classes, plain and by their rows.",
                    empty=NO_LABELS, unit=PLAIN,
                ),
            ],
            "By class": [
                lines(
                    f"Real Time Model {title} by Class", {OF_CLASS: score(name, of_class="!=")}, what=text,
                    empty=NO_LABELS, limit=of_models("tally_score_limit", f'score="{name}"', 'class!=""'),
                )
                for title, (name, text) in by_class.items()
            ],
            "Which classes are taken for which": [
                matrix(
                    "Confusion", f"sum by (actual, predicted) ({of_models('tally_window_confusion', IN_WINDOW)})",
                    row="actual", column="predicted", empty=NO_LABELS,
                    what="Rows judged: actual classes down, predicted ones across. Choose one model above.",
                ),
                lines(
                    "Rows by class", {OF_CLASS: score("recall", series="tally_score_samples", of_class="!=")},
                    what="Rows that are of each class.", empty=NO_LABELS, unit=COUNT,
                ),
            ],
        },
        models='tally_model_info{task="multiclass"}',
        windows="tally_window_confusion",
    )  # fmt: skip


def regression() -> dashboard.Dashboard:
    """Models that predict numbers."""
    errors = {
        "Mean absolute error": ("mae", "Mean error, without its sign."),
        "Root mean square error": ("rmse", "Square root of the mean square of the error."),
        "Bias": ("bias", "Predictions minus labels: above 0 the model predicts too much."),
    }
    spread = {f"{name} {MODEL}": of_models("tally_error", f'error="{name}"', IN_WINDOW)
              for name in ("error_p50", "error_p90", "error_p99", "max_error")}  # fmt: skip
    return dashboard_of(
        "regression",
        "Tally: errors of predicted numbers",
        "Models that predict numbers. Errors have the unit of the labels; the red line is their limit.",
        {
            "": [
                lines(
                    title, {MODEL: of_models("tally_error", f'error="{name}"', IN_WINDOW)}, what=text, empty=NO_LABELS,
                    unit=PLAIN, span=THIRD, limit=limit(name),
                )
                for title, (name, text) in errors.items()
            ],
            "More": [
                lines("Spread", spread, what="Errors that half, 90 %, 99 % and all of the rows do not exceed.",
                      empty=NO_LABELS, unit=PLAIN, span=THIRD),
                lines("R²", {MODEL: score("r2")}, what="Share of the labels' variance that the predictions explain.",
                      empty=NO_LABELS, unit=PLAIN, span=THIRD, limit=limit("r2")),
                lines("Rows judged", {MODEL: of_models("tally_error_samples", 'error="mae"', IN_WINDOW)},
                      what="Rows that the errors rest on.", empty=NO_LABELS, unit=COUNT, span=THIRD),
            ],
        },
        models='tally_model_info{task="regression"}',
        windows="tally_error",
    )  # fmt: skip
