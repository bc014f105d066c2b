"""What all dashboards are made of: selections, variables, and the kinds of panel."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="$source")
TAG: Final = "tally"
#: Labels that say which worker has exported a series: a model's series moves from one to another.
WORKER_LABELS: Final = "instance, pod, container, endpoint, node"
#: The models that the variables at the top of a dashboard select.
SELECTED: Final = (
    'model_namespace=~"$namespace", model_service=~"$service", predictor=~"$predictor", model=~"$model", '
    'model_version=~"$version"'
)
MODEL: Final = "{{model_service}}/{{predictor}}/{{model}} {{model_version}}"
IN_WINDOW: Final = 'window="$window"'
SHARE, COUNT, SECONDS, PER_SECOND, BYTES, PLAIN = "percentunit", "short", "s", "ops", "bytes", "none"
FULL, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
#: What stands where there is no data.
NO_LABELS: Final = "No labels in this window: send feedback (README, Connect your models)"
NO_ANSWERS: Final = "No answers in this window: does the model log to Tally? (README, Connect your models)"
NO_WORKER: Final = "No worker is scraped: see k8s/prometheus.yml, or the PodMonitor"

P = TypeVar("P", timeseries.Panel, stat.Panel, table.Panel)


def of_models(series: str, *more: str) -> str:
    """A series of the selected models, whichever worker exports it."""
    return f"max without ({WORKER_LABELS}) ({series}{{{', '.join((SELECTED, *more))}}})"


def score(name: str, *more: str, series: str = "tally_score", window: str = IN_WINDOW, of_class: str = "=") -> str:
    """A score of the selected models; `of_class` "!=" is of each class."""
    return of_models(series, f'score="{name}"', f'class{of_class}""', window, *more)


def limit(name: str) -> str:
    """What a score should reach, of the whole model."""
    return of_models("tally_score_limit", f'score="{name}"', 'class=""')


def of_workers(series: str, *more: str) -> str:
    """A series of all workers of the selected job."""
    selector = ", ".join(('job=~"$job"', *more))
    return f"{series}{{{selector}}}"


def rate(series: str, by: str, *more: str) -> str:
    """How often something happens on all workers together, a second."""
    return f"sum by ({by}) (rate({of_workers(series, *more)}[$__rate_interval]))"


# Panels


def lines(
    title: str,
    queries: Mapping[str, str],
    *,
    what: str,
    empty: str,
    unit: str = SHARE,
    span: int = HALF,
    limit: str | None = None,
    limit_legend: str = f"{{{{bound}}}} limit {MODEL} {{{{class}}}}",
) -> timeseries.Panel:
    """Lines over time: expressions by their legends. A limit is a dashed red line."""
    panel = timeseries.Panel().line_width(2).fill_opacity(4).show_points(common.VisibilityMode.NEVER)
    panel.legend(
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull"])
    )
    panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    if unit == SHARE:
        panel.max(1)
    for name, (legend, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        panel.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).range().ref_id(name))
    if limit is not None:
        name = "limit" if limit.startswith("vector") else limit_legend
        panel.with_target(prometheus.Dataquery().expr(limit).legend_format(name).range().ref_id("L"))
        dashed = {"fill": "dash", "dash": [10, 10]}
        panel.override_by_query(
            "L",
            [
                dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "red"}),
                dashboard.DynamicConfigValue("custom.lineStyle", dashed),
            ],
        )
    return _common(panel, title, what, empty, unit, span, 8)


def number(
    title: str,
    expression: str,
    *,
    what: str,
    empty: str,
    legend: str = "",
    unit: str = COUNT,
    span: int = SIXTH,
    steps: Sequence[tuple[float, str]] = (),
    mapped: Mapping[str, tuple[str, str]] | None = None,
) -> stat.Panel:
    """One number, or one a series. `steps` are values from which on it has a colour, `mapped` words for values."""
    panel = stat.Panel().reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode.AREA if not mapped else common.BigValueGraphMode.NONE)
    panel.text_mode(common.BigValueTextMode.VALUE_AND_NAME if legend else common.BigValueTextMode.VALUE)
    panel.with_target(prometheus.Dataquery().expr(expression).legend_format(legend).range().ref_id("A"))
    colours = [dashboard.Threshold(value=value, color=color) for value, color in steps]
    panel.thresholds(
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value=None, color="green" if steps else "text"), *colours])
    )
    if mapped:
        panel.mappings(
            [
                dashboard.ValueMap(
                    {value: dashboard.ValueMappingResult(text, color) for value, (text, color) in mapped.items()}
                )
            ]
        )
    return _common(panel, title, what, empty, unit, span, 4)


def rows(
    title: str,
    queries: Mapping[str, str],
    *,
    what: str,
    empty: str,
    unit: str = SHARE,
    span: int = FULL,
    counts: Sequence[str] = (),
    hidden: Sequence[str] = (),
    link: tuple[str, str] | None = None,
) -> table.Panel:
    """A table: the labels of the series, and a column for each expression by its title; `counts` are counts."""
    panel = table.Panel().cell_height(common.TableCellHeight.SM)
    renamed: dict[str, str] = {}
    for name, (column, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE).ref_id(name)
        panel.with_target(query)
        renamed["Value" if len(queries) == 1 else f"Value #{name}"] = column
    panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    left_out = dict.fromkeys(("Time", "__name__", "job", "instance", "namespace", *hidden), True)
    panel.with_transformation(
        dashboard.DataTransformerConfig("organize", options={"excludeByName": left_out, "renameByName": renamed})
    )
    for column in counts:
        panel.override_by_name(column, [dashboard.DynamicConfigValue("unit", COUNT)])
    if link is not None:
        column, url = link
        shown = [{"title": "Open", "url": url}]
        panel.override_by_name(column, [dashboard.DynamicConfigValue("links", shown)])
    return _common(panel, title, what, empty, unit, span, 8)


def matrix(title: str, expression: str, *, row: str, column: str, what: str, empty: str) -> table.Panel:
    """One label against another, the darker the greater."""
    panel = table.Panel().cell_height(common.TableCellHeight.SM)
    query = prometheus.Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE).ref_id("A")
    panel.with_target(query)
    options = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "zero"}
    panel.with_transformation(dashboard.DataTransformerConfig("groupingToMatrix", options=options))
    panel.cell_options(common.TableColoredBackgroundCellOptions(mode=common.TableCellBackgroundDisplayMode.GRADIENT))
    panel.color_scheme(builders.FieldColor().mode(dashboard.FieldColorModeId.CONTINUOUS_BLUES))
    return _common(panel, title, what, empty, COUNT, HALF, 9)


def _common(panel: P, title: str, what: str, empty: str, unit: str, span: int, height: int) -> P:
    panel.title(title).description(what).no_value(empty).unit(unit).span(span).height(height).datasource(SOURCE)
    return panel


# Dashboards

#: What each variable of the models chooses among, by the series of the dashboard.
_OF_MODEL: Final = {
    "namespace": ("Namespace", "model_namespace", ""),
    "service": ("Service", "model_service", 'model_namespace=~"$namespace"'),
    "predictor": ("Predictor", "predictor", 'model_namespace=~"$namespace", model_service=~"$service"'),
    "model": ("Model", "model", 'model_service=~"$service", predictor=~"$predictor"'),
    "version": ("Version", "model_version", 'model_service=~"$service", predictor=~"$predictor", model=~"$model"'),
}


def choice(name: str, label: str, query: str, *, several: bool = True) -> builders.QueryVariable:
    """A variable whose values are asked of Prometheus; where several may be chosen, all are at first."""
    variable = builders.QueryVariable(name).label(label).datasource(SOURCE).query(query)
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.NATURAL_ASC)
    if several:
        everything = dashboard.VariableOption(text="All", value="$__all", selected=True)
        variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable


def dashboard_of(
    uid: str,
    title: str,
    what: str,
    rooms: Mapping[str, Sequence[timeseries.Panel | stat.Panel | table.Panel]],
    *,
    models: str | None = None,
    windows: str | None = None,
    job: bool = False,
) -> builders.Dashboard:
    """A dashboard of rows of panels.

    `models` is the series (with a selector, where it has one) whose models can be chosen, `windows` that whose windows.
    """
    board = builders.Dashboard(title).uid(f"tally-{uid}").description(what).tags([TAG]).editable()
    board.time("now-6h", "now").refresh("30s").timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    board.with_variable(builders.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    if models is not None:
        series, _, selector = models.partition("{")
        own = selector.rstrip("}")
        for name, (label, key, above) in _OF_MODEL.items():
            inside = ", ".join(part for part in (own, above) if part)
            board.with_variable(choice(name, label, f"label_values({series}{{{inside}}}, {key})"))
    if windows is not None:
        window = choice("window", "Window", f"label_values({windows}, window)", several=False)
        board.with_variable(window.current(dashboard.VariableOption(text="1h", value="1h", selected=True)))
    if job:
        board.with_variable(choice("job", "Job", "label_values(tally_partitions, job)"))
    page = builders.TextBoxVariable("page").label("Tally's page").default_value("http://127.0.0.1:6066/")
    board.with_variable(page)
    board.link(
        builders.DashboardLink("Tally")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
    board.link(
        builders.DashboardLink("Tally's page").type(dashboard.DashboardLinkType.LINK).url("$page").target_blank(True)
    )
    number_of = 0
    for heading, panels in rooms.items():
        if heading:
            number_of += 1
            board.with_row(builders.Row(heading).id(number_of))
        for panel in panels:
            number_of += 1
            board.with_panel(panel.id(number_of))
    return board
