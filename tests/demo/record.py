"""Records the sample traffic of the demo: the answers of two models, current and shadow, on rows that they never saw.

`python -m tests.demo.record` rewrites the files in `app/demo/samples`; the demo itself only reads them and needs no
scikit-learn. They were recorded with scikit-learn 1.9.1 and numpy 2.4.6; the same versions give the same bytes on the
same machine, others may differ in the last digits.

The data and the class numbers are scikit-learn's own: in breast-cancer "1" is benign and "0" malignant; in iris
"0", "1", "2" are setosa, versicolor and virginica.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.demo import recordings
from app.demo.recordings import Phase, Recording, Row

SAMPLES = Path(recordings.__file__).parent / "samples"

# The first three are all that the current model looks at.
BREAST_CANCER_FEATURES = (
    "mean radius",
    "mean texture",
    "mean smoothness",
    "mean concave points",
    "mean symmetry",
    "worst radius",
    "worst texture",
    "worst smoothness",
    "worst concave points",
    "worst symmetry",
)
# Petal width, the last, is the one that the current model does without.
IRIS_FEATURES = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
# In the drifted phase the mean radius arrives as if measured with a wrong scale.
RADIUS_ERROR = 1.3

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Model:
    """A logistic regression on the first `width` features; a smaller `c` holds its weights back more."""

    width: int
    c: float = 1.0

    def held_out(self, measured: Matrix, labels: Labels, seen: Matrix) -> Matrix:
        """Probabilities for every row of `seen`, each from a model trained on `measured` without that row."""
        probabilities = np.empty((len(labels), len(np.unique(labels))))
        folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=0)
        for train, test in folds.split(measured, labels):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=self.c, max_iter=1000))
            model.fit(measured[train, : self.width], labels[train])
            probabilities[test] = model.predict_proba(seen[test, : self.width])
        return probabilities


def record_breast_cancer() -> Recording:
    """Two classes; a steady phase, and one with disturbed inputs where the current model fails and the shadow holds."""
    features, labels = shuffled(load_breast_cancer(), BREAST_CANCER_FEATURES)
    disturbed = features.copy()
    disturbed[:, 0] *= RADIUS_ERROR
    models = Model(width=3), Model(width=10)
    return Recording(
        service="breast-cancer",
        namespace="demo",
        classes=["0", "1"],
        positive="1",
        feature_names=list(BREAST_CANCER_FEATURES),
        phases=[
            record_phase("steady", models, features, labels, features),
            record_phase("drifted", models, features, labels, disturbed),
        ],
    )


def record_iris() -> Recording:
    """Three classes, steady throughout."""
    features, labels = shuffled(load_iris(), IRIS_FEATURES)
    models = Model(width=3, c=0.5), Model(width=4)
    return Recording(
        service="iris",
        namespace="demo",
        classes=["0", "1", "2"],
        positive=None,
        feature_names=list(IRIS_FEATURES),
        phases=[record_phase("steady", models, features, labels, features)],
    )


def record_phase(name: str, models: tuple[Model, Model], measured: Matrix, labels: Labels, seen: Matrix) -> Phase:
    """What the current and the shadow model, trained on `measured`, answer to the rows of `seen`."""
    current, shadow = (model.held_out(measured, labels, seen) for model in models)
    return Phase(
        name=name,
        rows=[
            Row(features=short(inputs), label=int(label), current=short(first), shadow=short(second))
            for inputs, label, first, second in zip(seen, labels, current, shadow, strict=True)
        ],
    )


def shuffled(data: Any, names: Sequence[str]) -> tuple[Matrix, Labels]:
    """The named columns and the labels, in an order that mixes the classes: iris comes sorted by them.

    `data` is what scikit-learn's loaders return (Any, as scikit-learn publishes no types).
    """
    # numpy promises the same order for ever of RandomState, not of its newer generators.
    order = np.random.RandomState(0).permutation(len(data.target))
    columns = [list(data.feature_names).index(name) for name in names]
    return data.data[order][:, columns], data.target[order]


def short(numbers: Matrix) -> list[float]:
    """The numbers to 6 significant digits."""
    return [float(f"{number:.6g}") for number in numbers]


def as_bytes(recording: Recording) -> bytes:
    """The recording as JSON, one line a row, so that a change shows as the rows that it touches."""
    text = json.dumps(recording, sort_keys=True, separators=(",", ":"))
    return text.replace('{"current"', '\n{"current"').encode() + b"\n"


def main() -> None:
    """Rewrite both files and say where they are."""
    SAMPLES.mkdir(exist_ok=True)
    for recording in (record_breast_cancer(), record_iris()):
        path = SAMPLES / f"{recording['service']}.json"
        path.write_bytes(as_bytes(recording))
        print(f"{path}: {sum(len(phase['rows']) for phase in recording['phases'])} rows")


if __name__ == "__main__":
    main()
