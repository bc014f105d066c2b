"""The dashboards of models: what needs attention, comparisons, segments, labels."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard

from k8s.dashboards.words import (
    COUNT,
    HALF,
    IN_WINDOW,
    MODEL,
    NO_ANSWERS,
    NO_LABELS,
    NO_WORKER,
    PLAIN,
    SECONDS,
    THIRD,
    dashboard_of,
    limit,
    lines,
    number,
    of_models,
    rows,
    score,
)

NO_LIMIT: Final = "Every score is within its limit, or none has one (limits of the YAML file)"
NO_SEGMENTS: Final = "No segments: name some in the YAML file (TALLY_CONFIG)"
NO_FAIRNESS: Final = "No fairness: name an attribute in the YAML file (TALLY_CONFIG)"
NO_SHADOW: Final = "No two models answer the same requests: see README, Is the shadow better?"
BETTER: Final = {"1": ("better", "green"), "0": ("no difference shown", "text"), "-1": ("worse", "red")}


ON: Final = "model_namespace, model_service, predictor, model, model_version, score, class"


def _selected(uid: str) -> str:
    """Where a dashboard shows the model of a row alone."""
    return (
        f"/d/tally-{uid}?var-service=${{__data.fields.model_service}}&var-predictor=${{__data.fields.predictor}}"
        "&var-model=${__data.fields.model}"
    )


def _bare(expression: str) -> str:
    """The same with the labels of models alone, so that a table has all numbers of a model in one row."""
    return f"max without (part, score, error, class, window, quantity) ({expression})"


def _missed(sign: str, series: str, of_limit: str) -> str:
    """Scores beyond their limits."""
    return f"{series} {sign} on ({ON}) group_left () {of_limit}"


def judged(window: str) -> str:
    """Rows that have been compared with a label, of classes or of numbers."""
    of_classes = score("accuracy", series="tally_score_samples", window=window)
    of_numbers = of_models("tally_error_samples", 'error="mae"', window)
    return f"{of_classes} or {of_numbers}"


def overview() -> dashboard.Dashboard:
    """What needs attention first, of all models."""
    limits = of_models("tally_score_limit")
    errors = f'label_replace({of_models("tally_error", IN_WINDOW)}, "score", "$1", "error", "(.+)")'
    every = f"({of_models('tally_score', IN_WINDOW)} or {errors})"
    lower, upper = (of_models("tally_score_limit", f'bound="{bound}"') for bound in ("lower", "upper"))
    missed = f"{_missed('<', every, lower)} or {_missed('>', every, upper)}"
    firing = 'ALERTS{alertname=~"Tally.+", alertstate="firing"}'
    return dashboard_of(
        "overview",
        "Tally: what needs attention",
        "The models that are not as they should be, and whether everything is counted.",
        {
            "": [
                number(
                    "Alerts", f"count({firing}) or vector(0)", what="Alerts that fire now.", empty=NO_WORKER,
                    steps=[(1, "red")],
                ),
                number(
                    "Models", f"count({of_models('tally_model_info')})", what="Models that are counted.",
                    empty=NO_ANSWERS,
                ),
                number(
                    "Workers", 'sum(up{job="tally"})', what="Workers that Prometheus reaches.", empty=NO_WORKER,
                ),
                number(
                    "Partitions without a worker",
                    'max(tally_topic_partitions) - sum(tally_partitions{state="ready"})',
                    what="Their events are not counted: /ready of the workers says why.", empty=NO_WORKER,
                    steps=[(1, "red")],
                ),
                number(
                    "Behind", "max(tally_lag_seconds)", what="Age of the oldest event that is not counted yet.",
                    empty="The lag is not known: does Kafka answer?", unit=SECONDS,
                    steps=[(60, "orange"), (300, "red")],
                ),
                number(
                    "Refused", "sum(increase(tally_rejected_total[$__range]))",
                    what="Events of the time range that cannot be used: `tally dead-letters list` shows them.",
                    empty=NO_WORKER, steps=[(1, "orange")],
                ),
            ],
            "Attention": [
                rows(
                    "Alerts that fire", {"fires": firing}, what="What to do stands in README, When an alert fires.",
                    empty="Nothing fires", unit=PLAIN, span=HALF, hidden=["alertstate"],
                ),
                rows(
                    "Scores that miss their limits",
                    {"score is": missed, "limit": f"{limits} and on ({ON}) ({missed})"},
                    what="In the chosen window, on however few rows: the alerts wait for least_count.", empty=NO_LIMIT,
                    unit=PLAIN, span=HALF, link=("model", _selected("overview")),
                ),
            ],
            "All models": [
                rows(
                    "Models",
                    {
                        "counted": of_models("tally_model_info"),
                        "answers": _bare(of_models("tally_window_exchanges", 'part="response"', IN_WINDOW)),
                        "coverage": _bare(score("coverage")),
                        "accuracy": _bare(score("accuracy")),
                        "rows judged": _bare(judged(IN_WINDOW)),
                        "mean reward": _bare(score("reward_mean")),
                    },
                    what="In the chosen window. Coverage: the share of the answered rows that have a label.",
                    empty=NO_ANSWERS, counts=["answers", "rows judged"],
                    hidden=["Value #A"],
                    link=("model", _selected("${__data.fields.task}")),
                ),
                lines(
                    "Accuracy", {MODEL: score("accuracy")}, what="Share of the judged rows that are right.",
                    empty=NO_LABELS, limit=limit("accuracy"),
                ),
                lines(
                    "Mean absolute error", {MODEL: of_models("tally_error", 'error="mae"', IN_WINDOW)},
                    what="Of the models that predict numbers, in the unit of their labels.",
                    empty="No model of this selection predicts numbers", unit=PLAIN, limit=limit("mae"),
                ),
                lines(
                    "Answers", {MODEL: of_models("tally_window_exchanges", 'part="response"', IN_WINDOW)},
                    what="Answers in the window.", empty=NO_ANSWERS, unit=COUNT,
                ),
                lines(
                    "Coverage", {MODEL: score("coverage")}, limit=limit("coverage"),
                    what="Share of the answered rows that have a label: without it a score means little.",
                    empty=NO_ANSWERS,
                ),
            ],
        },
        models="tally_model_info",
        windows="tally_window_exchanges",
    )  # fmt: skip


def comparison() -> dashboard.Dashboard:
    """A model and its shadow, side by side."""

    def of(quantity: str) -> str:
        return of_models("tally_comparison", f'quantity="{quantity}"', IN_WINDOW)

    pair = "{{shadow}} against {{model_service}}/{{predictor}}/{{model}}"
    legs = 'model_namespace=~"$namespace", model_service=~"$service", score="accuracy", class="", window="$window"'
    difference = "difference of accuracy or of error"
    either = "accuracy_difference|error_difference"

    def end(suffix: str) -> str:
        return of_models("tally_comparison", f'quantity=~"({either}){suffix}"', IN_WINDOW)

    return dashboard_of(
        "comparison",
        "Tally: is the shadow better?",
        "Two models on the rows that both have answered. Differences are the shadow's less the current model's.",
        {
            "": [
                number(
                    "Verdict", of("verdict"), what="By a p-value that may be looked at as often as one likes.",
                    empty="Too few rows for a verdict (least_count)", legend=pair, span=HALF, mapped=BETTER,
                ),
                number("Rows that both have answered", of("samples"), what="With a label.", empty=NO_SHADOW,
                       legend=pair, span=HALF),
            ],
            "Side by side": [
                lines(
                    "Accuracy of the legs",
                    {MODEL: f"max without (instance, pod, container, endpoint, node) (tally_score{{{legs}}})"},
                    what="Of all predictors of the service, on all their own rows.", empty=NO_LABELS,
                ),
                lines(
                    "Difference with its interval",
                    {
                        f"{difference} {pair}": end(""),
                        f"lower end {pair}": end("_low_always"),
                        f"upper end {pair}": end("_high_always"),
                    },
                    what="The interval holds however often one looks. It excludes 0 where there is a difference.",
                    empty=NO_SHADOW, unit=PLAIN,
                ),
            ],
            "In numbers": [
                rows(
                    "Comparisons",
                    {
                        "rows": _bare(of("samples")),
                        "agreement": _bare(of("agreement")),
                        "only current right": _bare(of("only_current_right")),
                        "only shadow right": _bare(of("only_shadow_right")),
                        "difference": _bare(end("")),
                        "p": _bare(of("p_value_always")),
                        "verdict": _bare(of("verdict")),
                        "detectable": _bare(of("detectable")),
                    },
                    what="`tally compare` shows the same, and by class.", empty=NO_SHADOW, unit=PLAIN,
                ),
                lines("p", {pair: of("p_value_always")}, what="Below 0.05 the difference is no chance.",
                      empty=NO_SHADOW, limit="vector(0.05)"),
                lines(
                    "Rows that tell them apart",
                    {f"only current right {pair}": of("only_current_right"),
                     f"only shadow right {pair}": of("only_shadow_right")},
                    what="Rows that one of them alone has right.", empty="No classes are compared", unit=COUNT,
                ),
            ],
        },
        models="tally_comparison",
        windows="tally_comparison",
    )  # fmt: skip


def segments() -> dashboard.Dashboard:
    """How models do for parts of what they are asked."""
    of_whole = 'class=""'
    of_segment = of_models("tally_segment_score", 'score="accuracy"', of_whole, IN_WINDOW)
    rows_of = of_models("tally_segment_score_samples", 'score="accuracy"', of_whole, IN_WINDOW)
    value = f"{MODEL} {{{{segment}}}} {{{{value}}}}"
    group = f"{MODEL} {{{{attribute}}}} {{{{value}}}} {{{{measure}}}}"
    return dashboard_of(
        "segments",
        "Tally: segments and fairness",
        "How a model does for each part of its requests, and how much the parts differ.",
        {
            "": [
                lines("Accuracy by segment", {value: of_segment}, empty=NO_SEGMENTS,
                      what="A model may be right as a whole and wrong for some."),
                lines("Rows by segment", {value: rows_of}, empty=NO_SEGMENTS, unit=COUNT,
                      what="Rows judged: a score of few of them says little."),
                rows("Worst segments",
                     {"accuracy": _bare(f"bottomk(20, {of_segment})"), "rows": _bare(rows_of)},
                     what="The twenty lowest accuracies.", empty=NO_SEGMENTS, counts=["rows"], span=HALF),
                lines("Fairness", {group: of_models("tally_fairness", IN_WINDOW)}, empty=NO_FAIRNESS, unit=PLAIN,
                      what="How those of a value fare beside the privileged one; without a value: all the others."),
            ]
        },
        models="tally_segment_score",
        windows="tally_segment_score",
    )  # fmt: skip


def labels() -> dashboard.Dashboard:
    """Whether labels come, how late, and what they say by both clocks."""
    buckets = of_models("tally_feedback_delay_seconds_bucket")
    came = 'window=~"labels_.+"'
    return dashboard_of(
        "labels",
        "Tally: labels",
        "Scores rest on labels: whether they come, how late, and what they say by both clocks.",
        {
            "": [
                lines("Coverage", {f"{MODEL} {{{{window}}}}": of_models("tally_score", 'score="coverage"')},
                      what="Share of the answered rows that have a label, in each window.", empty=NO_ANSWERS),
                lines(
                    "Labels that came", {f"{MODEL} {{{{window}}}}": judged(came)},
                    what="Rows judged by labels that came in the window, whenever their predictions were.",
                    empty=NO_LABELS, unit=COUNT,
                ),
            ],
            "How late they are": [
                lines(
                    "Delay",
                    {f"{int(share * 100)} % {MODEL}": f"histogram_quantile({share}, {buckets})"
                     for share in (0.5, 0.9, 0.99)},
                    what="Within which time half, 90 % and 99 % of the labels have come, since the model is counted.",
                    empty=NO_LABELS, unit=SECONDS,
                ),
                rows(
                    "Labels by delay", {"labels": f"sum by (le) ({buckets})"}, unit=COUNT, span=HALF,
                    what="Labels that took at most so many seconds.", empty=NO_LABELS,
                ),
            ],
            "Both clocks": [
                lines(
                    "Accuracy by the time of the prediction",
                    {f"{MODEL} {{{{window}}}}": score("accuracy", window='window!~"labels_.+|total"')},
                    what="Of the predictions of each window, as far as they have labels by now.", empty=NO_LABELS,
                ),
                lines(
                    "Accuracy by the time of the label",
                    {f"{MODEL} {{{{window}}}}": score("accuracy", window='window=~"labels_.+"')},
                    what="Of the labels of each window: where labels are late, watch this one.", empty=NO_LABELS,
                ),
            ],
            "What is odd": [
                lines("Mismatched labels", {MODEL: of_models("tally_mismatched_labels")}, unit=COUNT, span=THIRD,
                      what="Answers whose rows do not match their labels in number.", empty=NO_ANSWERS),
                lines(
                    "Corrected, late and without prediction",
                    {name: f"sum(increase(tally_{name}_total[$__rate_interval]))"
                     for name in ("corrections", "late", "orphans")},
                    what="Feedback that replaced an earlier one, that came too late for its window, or for no answer.",
                    empty=NO_WORKER, unit=COUNT, span=THIRD,
                ),
                lines(
                    "Feedback",
                    {"feedback": 'sum(rate(tally_events_total{kind="feedback"}[$__rate_interval]))'},
                    what="Events of labels and rewards, a second.", empty=NO_WORKER, unit="ops", span=THIRD,
                ),
            ],
        },
        models="tally_model_info",
    )  # fmt: skip
