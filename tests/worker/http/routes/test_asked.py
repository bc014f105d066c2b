"""What cannot be asked for is refused with a sentence that names it and says what can."""

import pytest

from app.settings import load_settings
from tests.builders import START
from tests.worker.http.routes.scene import KEY, PAIR, a_worker, error, get

HISTORY = f"/api/models/{KEY}/history"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/overview?window=7h", "window: '7h' is none of 5m, 1h, 24h, total (TALLY_WINDOWS)."),
        ("/api/overview?window=", "window: '' is none of 5m, 1h, 24h, total (TALLY_WINDOWS)."),
        ("/api/overview?clock=wall", "clock: 'wall' is neither predictions nor labels."),
        ("/api/overview?windw=1h", "/api/overview has no parameter windw: it has window, clock."),
        ("/api/models?x", "/api/models has no parameter x: it has none."),
        ("/api/overview?window=1h&window=5m", "window is given more than once: give it once."),
        (f"{HISTORY}?step=90", "step: 90 s is no multiple of the panes of 60 s (TALLY_PANE_SECONDS)."),
        (f"{HISTORY}?step=0", "step: '0' is no whole number of seconds from 1 on."),
        (f"{HISTORY}?step=1500ms", "step: '1500ms' is no whole number of seconds from 1 on."),
        (f"{HISTORY}?step=-5m", "step: '-5m' must be a duration like 10s, 5m, 1h or 7d, or a number of seconds."),
        (f"{HISTORY}?step=soon", "step: 'soon' must be a duration like 10s, 5m, 1h or 7d, or a number of seconds."),
        (f"{HISTORY}?from=yesterday", "from: 'yesterday' is no time: give seconds since 1970."),
        (f"{HISTORY}?from=nan", "from: 'nan' is no time: give seconds since 1970."),
        (f"{HISTORY}?to=-1", "to: '-1' is no time: give seconds since 1970."),
        (f"{HISTORY}?to=1e300", "to: '1e300' is no time: give seconds since 1970."),
        (f"{HISTORY}?from=20&to=10", "from: 20 is after `to`, 10."),
        (f"{HISTORY}?back=1d&from=0", "back: give either `back` or `from`."),
        (f"{HISTORY}?back=0", "back: '0' is no whole number of seconds from 1 on. It may be `kept` or `all`, too."),
        (f"{HISTORY}?back=", "back: '' must be a duration like 10s, 5m, 1h or 7d, or a number of seconds. It may be "),
        (f"{HISTORY}?back=-1d", "back: '-1d' must be a duration like 10s, 5m, 1h or 7d, or a number of seconds. It "),
        (
            f"{HISTORY}?back=ALL",
            "back: 'ALL' must be a duration like 10s, 5m, 1h or 7d, or a number of seconds. It may",
        ),
        (f"{HISTORY}?back=1e9d", "back: '1e9d' must be a duration like 10s, 5m, 1h or 7d, or a number of seconds. It "),
        (f"{HISTORY}?score=acuracy", "score: 'acuracy' is none of reward_mean, coverage, accuracy, precision, "),
        (f"{HISTORY}?score=%7Bcat%7D", "score: '{cat}' is none of reward_mean, "),
        (f"/api/models/{KEY}/examples?limit=0", "limit: '0' is no number from 1 to 500."),
        (f"/api/models/{KEY}/examples?limit=501", "limit: '501' is no number from 1 to 500."),
        (f"/api/models/{KEY}/examples?limit=%C2%B2", "limit: '²' is no number from 1 to 500."),
        ("/api/models/m", "m is no key of a model: one is namespace/service/predictor/model@version, "),
        ("/api/models/a/b/c/d/e/history", "a/b/c/d/e is no key of a model: "),
        ("/api/comparisons/history", "current: give it, as `/api/comparisons/history?current=…`."),
        (f"/api/comparisons/history?current={KEY}", "shadow: give it, as `/api/comparisons/history?shadow=…`."),
        (f"/api/comparisons/examples?{PAIR}&right=both", "right: 'both' is neither current nor shadow."),
        (
            f"/api/comparisons/view?{PAIR}&right=current",
            "/api/comparisons/view has no parameter right: it has current, ",
        ),
        (
            f"/api/models/{KEY}/view?window=1h",
            f"/api/models/{KEY}/view has no parameter window: it has score, monitor, ",
        ),
        ("/api/models/m/view", "m is no key of a model: "),
        ("/api/comparisons/view", "current: give it, as `/api/comparisons/view?current=…`."),
        ("/api/letters?reason=lost", "reason: 'lost' is none of no-key, no-puid, "),
        ("/api/letters?limit=many", "limit: 'many' is no number from 1 to 500."),
    ],
)
def test_a_wrong_parameter(path: str, sentence: str) -> None:
    status, said = error(get(path))
    assert (status, said[: len(sentence)]) == (400, sentence)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/models/a/b/c/d", "There is no model a/b/c/d; /api/overview lists those that there are."),
        (f"/api/models/{KEY}@2/history", f"There is no model {KEY}@2; /api/overview lists those that there are."),
        (
            f"/api/comparisons/history?current=ns/svc/shadow/m&shadow={KEY}",
            f"{KEY} is not compared with ns/svc/shadow/m; /api/comparisons lists what is.",
        ),
        ("/api/models/a/b/c/d/view", "There is no model a/b/c/d; /api/overview lists those that there are."),
        ("/api/exchanges/p1/documents", "There are no documents: TALLY_ELASTICSEARCH_URL is not set."),
    ],
)
def test_what_is_not_there(path: str, sentence: str) -> None:
    assert error(get(path)) == (404, sentence)


def test_the_clock_of_labels_needs_its_setting() -> None:
    settings = load_settings(label_windows=False)
    assert error(get("/api/overview?clock=labels", a_worker(settings=settings), settings)) == (
        400,
        "clock: what is known by the time of labels needs TALLY_LABEL_WINDOWS=true.",
    )


def test_too_many_stretches_are_refused() -> None:
    settings = load_settings(pane_seconds=1, window_retention="30d")
    status, said = error(
        get(f"{HISTORY}?step=10&from=0", a_worker(settings=settings, now=START + 20 * 86400.0), settings)
    )
    assert (status, said) == (
        400,
        "step: 172,801 stretches of 10 s are too many: make them longer, or fewer by `from`.",
    )
