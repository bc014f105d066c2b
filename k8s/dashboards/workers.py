"""The dashboards of the workers, and that which runs the seed's expressions."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard

from k8s.dashboards.words import (
    BYTES,
    COUNT,
    HALF,
    NO_WORKER,
    PER_SECOND,
    QUARTER,
    SECONDS,
    SHARE,
    SIXTH,
    THIRD,
    dashboard_of,
    lines,
    number,
    of_workers,
    rate,
)

NO_DOCUMENTS: Final = "No worker writes documents: TALLY_ELASTICSEARCH_URL is unset"
NO_SOURCES: Final = "No worker reads sources: TALLY_INTAKE_TOPICS is unset"
NO_OLD: Final = "No model has these series: is TALLY_SELDON_SERIES true?"
READY: Final = 'state="ready"'
REFUSED: Final = 'result="refused"'
WORKER: Final = "{{instance}}"


def worker() -> dashboard.Dashboard:
    """Whether everything is counted, and what it costs."""
    busy = "tally_http_request_duration_seconds_bucket"
    return dashboard_of(
        "worker",
        "Tally: workers and intake",
        "Whether all partitions are counted and how far behind, what comes in and what is refused, and what it costs.",
        {
            "": [
                number("Workers", f"sum({of_workers('up')})", what="Workers that Prometheus reaches.", empty=NO_WORKER),
                number("Partitions ready", f"sum({of_workers('tally_partitions', READY)})",
                       what="Partitions that are counted.", empty=NO_WORKER),
                number("Partitions of the topics", f"max({of_workers('tally_topic_partitions')})",
                       what="As many must be ready.", empty=NO_WORKER),
                number("Behind", f"max({of_workers('tally_lag_seconds')})", unit=SECONDS,
                       what="Age of the oldest event that is not counted yet.",
                       empty="The lag is not known: does Kafka answer?", steps=[(60, "orange"), (300, "red")]),
                number("Open exchanges", f"sum({of_workers('tally_open_exchanges')})",
                       what="Request ids that a label may still come for.", empty=NO_WORKER),
                number("Other rules", f"max({of_workers('tally_rules_differ')})", steps=[(1, "red")], span=SIXTH,
                       what="Partitions that are counted by another TALLY_CONFIG.", empty=NO_WORKER),
            ],
            "Is everything counted": [
                lines("Partitions", {f"{WORKER} {{{{state}}}}": of_workers("tally_partitions")}, unit=COUNT,
                      what="By worker and state.", empty=NO_WORKER),
                lines("Events not counted yet", {f"{WORKER} {{{{topic}}}}": of_workers("tally_lag_events")}, unit=COUNT,
                      what="By topic.", empty="The lag is not known: does Kafka answer?"),
                lines("Age of the oldest event", {WORKER: of_workers("tally_lag_seconds")}, unit=SECONDS,
                      what="How far behind each worker is.", empty="The lag is not known: does Kafka answer?",
                      limit="vector(300)"),
                lines("Silence of Kafka",
                      {f"fetches {WORKER}": of_workers("tally_fetch_age_seconds"),
                       f"heartbeats {WORKER}": of_workers("tally_heartbeat_age_seconds")},
                      what="Seconds since a broker has last answered.", empty=NO_WORKER, unit=SECONDS,
                      limit="vector(60)"),
            ],
            "What comes in": [
                lines("Events", {"{{kind}}": rate("tally_events_total", "kind")}, unit=PER_SECOND,
                      what="Events read, a second.", empty=NO_WORKER, span=THIRD),
                lines("Refused", {"{{reason}}": f"{rate('tally_rejected_total', 'reason')} > 0"}, unit=PER_SECOND,
                      what="Events that cannot be used, by reason.", empty="Nothing is refused", span=THIRD),
                lines("Changed nothing", {"{{kind}}": rate("tally_duplicates_total", "kind")}, unit=PER_SECOND,
                      what="Events that came twice, or were outdated.", empty=NO_WORKER, span=THIRD),
                lines("Lost", {"{{topic}}": f"sum by (topic) (increase({of_workers('tally_lost_events_total')}[1h]))"},
                      what="Events that brokers deleted before they were read, in the last hour.", empty=NO_WORKER,
                      unit=COUNT, span=THIRD),
                lines("Not exported", {"{{what}}": f"max by (what) ({of_workers('tally_dropped_total')})"}, unit=COUNT,
                      what="What TALLY_MAX_CLASSES and TALLY_MAX_SERIES keep from being shown.", empty=NO_WORKER,
                      span=THIRD),
                lines("Clock", {WORKER: of_workers("tally_clock_offset_seconds")}, unit=SECONDS, span=THIRD,
                      what="By how much each machine is ahead of the brokers.", empty=NO_WORKER),
            ],
            "Intake": [
                lines("Events of sources", {"{{topic}}": rate("tally_intake_events_total", "topic")}, unit=PER_SECOND,
                      what="Canonical events that were written, by source.", empty=NO_SOURCES, span=THIRD),
                lines("Records not read yet", {WORKER: of_workers("tally_intake_lag_events")}, unit=COUNT, span=THIRD,
                      what="Of all sources.", empty=NO_SOURCES),
                lines("Standstill", {WORKER: of_workers("tally_intake_stalled_seconds")}, unit=SECONDS, span=THIRD,
                      what="For how long the intake has not got on though records wait.", empty=NO_SOURCES,
                      limit="vector(300)"),
                lines("HTTP requests", {"{{route}} {{code}}": rate("tally_http_requests_total", "route, code")},
                      what="By route and status.", empty=NO_WORKER, unit=PER_SECOND),
                lines("HTTP, 99 % within", {"{{route}}": f"histogram_quantile(0.99, {rate(busy, 'route, le')})"},
                      what="Time to the answer, by route.", empty="No requests", unit=SECONDS),
            ],
            "What it costs": [
                lines("Memory", {WORKER: of_workers("process_resident_memory_bytes")}, unit=BYTES, span=QUARTER,
                      what="About 350 bytes an open exchange, beside 150 MB.", empty=NO_WORKER),
                lines("CPU", {WORKER: f"rate({of_workers('process_cpu_seconds_total')}[$__rate_interval])"},
                      what="Cores. A worker uses one at most.", empty=NO_WORKER, unit=SHARE, span=QUARTER),
                lines("Open exchanges", {WORKER: of_workers("tally_open_exchanges")}, unit=COUNT, span=QUARTER,
                      what="Kept for TALLY_EXCHANGE_RETENTION.", empty=NO_WORKER),
                lines("Last loading", {WORKER: of_workers("tally_recovery_seconds")}, unit=SECONDS, span=QUARTER,
                      what="Seconds that the last loading of partitions took.", empty=NO_WORKER),
            ],
        },
        job=True,
    )  # fmt: skip


def documents() -> dashboard.Dashboard:
    """Whether Elasticsearch has all documents."""
    return dashboard_of(
        "documents",
        "Tally: documents",
        "Whether Elasticsearch gets the document of every prediction. The numbers of the models do not depend on it.",
        {
            "": [
                number("Records that wait", f"sum({of_workers('tally_documents_backlog')})", empty=NO_DOCUMENTS,
                       what="Joined records whose documents are not in Elasticsearch yet.", span=THIRD),
                number("Oldest", f"max({of_workers('tally_documents_oldest_seconds')})", unit=SECONDS, span=THIRD,
                       what="Age of the oldest one.", empty=NO_DOCUMENTS, steps=[(60, "orange"), (600, "red")]),
                number("Refused",
                       f"sum(increase({of_workers('tally_documents_total', REFUSED)}[$__range]))",
                       what="By Elasticsearch, in the time range: the dead letters have its reason.",
                       empty=NO_DOCUMENTS, span=THIRD, steps=[(1, "red")]),
            ],
            "Over time": [
                lines("Documents", {"{{result}}": rate("tally_documents_total", "result")}, unit=PER_SECOND,
                      what="By what became of them.", empty=NO_DOCUMENTS),
                lines("Records that wait", {WORKER: of_workers("tally_documents_backlog")}, unit=COUNT,
                      what="By worker.", empty=NO_DOCUMENTS),
                lines("Age of the oldest record", {WORKER: of_workers("tally_documents_oldest_seconds")}, unit=SECONDS,
                      what="By worker.", empty=NO_DOCUMENTS, limit="vector(600)", span=HALF),
                lines("Documents refused",
                      {WORKER: f"rate({of_workers('tally_documents_total', REFUSED)}[$__rate_interval])"},
                      what="Documents that Elasticsearch takes in no form.", empty=NO_DOCUMENTS, unit=PER_SECOND),
            ],
        },
        job=True,
    )  # fmt: skip


def seldon() -> dashboard.Dashboard:
    """The expressions of the seed's three dashboards, unchanged."""
    app, by_class = "{{app}}", "{{class}} - {{seldon_app}}"
    binary = {
        "Accuracy": "(true_pos+true_neg)/(true_pos + true_neg + false_neg + false_pos)",
        "Precision": "true_pos/(true_pos + false_pos)",
        "Recall": "true_pos/(true_pos + false_neg)",
        "Specificity": "true_neg/(true_neg + false_pos)",
    }
    overall = {"ACCURACY": "score_TP + score_FN + score_FP", "PRECISION": "score_TP + score_FP",
               "Recall": "score_TP + score_FN"}  # fmt: skip
    beware = "Beware: it counts each error twice, and shows A/(2-A) for an accuracy of A."
    right = "The old expression over right counts."
    return dashboard_of(
        "seldon",
        "Seldon's expressions, unchanged",
        "What dashboards of Seldon's examples ask for, over right counts. The others say the same with right formulas.",
        {
            "Real Time Model Accuracy": [
                lines("Real Time Model Accuracy", {"Accuracy %": "sum(correct_total) / sum(total_total)"},
                      what="Rewards per feedback, of all models together.", empty=NO_OLD, span=24),
            ],
            "Binary models": [
                lines(f"Real Time Model {title} (binary)" if title == "Accuracy" else f"Real Time Model {title}",
                      {app: expression}, what=right, empty=NO_OLD)
                for title, expression in binary.items()
            ],
            "MultiClass Prediction Statistics": [
                *(
                    number(title, f"(sum(score_TP) by (seldon_app)) / (sum({whole}) by (seldon_app))", unit=SHARE,
                           what=beware if title == "ACCURACY" else right, empty=NO_OLD, legend=by_class, span=THIRD)
                    for title, whole in overall.items()
                ),
                *(
                    lines(f"Real Time Model {title.upper()} by Class",
                          {by_class: f"sum(score_TP / ({whole})) by (class, seldon_app)"},
                          what=beware if title == "ACCURACY" else right, empty=NO_OLD, span=THIRD)
                    for title, whole in overall.items()
                ),
            ],
        },
    )  # fmt: skip
