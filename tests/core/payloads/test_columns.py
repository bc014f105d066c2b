"""Answers by named columns: the class column, else the class with the highest score, else no class and why."""

from typing import Any

import pytest

from app.core.payloads.bodies import read_response
from app.core.payloads.words import class_rank, family_of, is_identifier, loose_family_of, names_its_class
from tests.core.payloads.reading import classes, label, no_class, written


def frame(content_type: str = "pd", **columns: list[Any]) -> Any:
    tensors = [
        {
            "name": name.removeprefix("_"),
            "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
            "shape": [len(values), 1],
            "data": values,
        }
        for name, values in columns.items()
    ]
    return {"outputs": tensors, "parameters": {"content_type": content_type}}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        # a class column beside scores
        ({"Kind": "oak", "Probability_oak": 0.7, "Probability_elm": 0.3, "Node_Id": "3"}, "oak"),
        ({"Probability_oak": 0.7, "Probability_elm": 0.3, "Kind": "elm"}, "elm"),  # it beats the scores
        ({"y": 1, "probability(0)": 0.25, "probability(1)": 0.75}, "1"),
        ({"Probability_1": 0.2, "Probability_2": 0.8, "Node_Id": "1"}, "2"),  # an id is no class
        ({"note": 7, "Kind": "oak", "Probability_7": 0.3, "Probability_oak": 0.7}, "oak"),  # of two columns neither
        ({"Predicted_Kind": "oak", "Probability_oak": 0.1, "Probability_elm": 0.9}, "oak"),
        ({"predict": "elm", "pelm": 0.2, "poak": 0.8}, "elm"),
        ({"prediction": 1, "prob_no": 0.2, "prob_yes": 0.8}, "1"),
        ({"winner": "oak", "oak": 0.6, "elm": 0.4}, "oak"),
        # a column of scores for each class
        ({"prob_oak": 0.3, "prob_elm": 0.7}, "elm"),
        ({"Probability_versicolor": 0.7, "Probability_virginica": 0.3}, "versicolor"),
        ({"probability_of_oak": 0.3, "probability_of_elm": 0.7}, "elm"),
        ({"oak_probability": 0.3, "elm_probability": 0.7}, "elm"),
        ({"oakProbability": 0.3, "elmProbability": 0.7}, "elm"),
        ({"prob0": 0.3, "prob1": 0.7}, "1"),
        ({"score.oak": 2.5, "score.elm": -1}, "oak"),
        ({"p_oak": 0.3, "p_elm": 0.7}, "elm"),
        ({"P(oak)": 0.3, "P(elm)": 0.7}, "elm"),
        ({"class_oak": 0.3, "class_elm": 0.7}, "elm"),
        ({"label_0": 0.3, "label_1": 0.7}, "1"),
        ({"output_0": 0.9, "output_1": 0.1}, "0"),
        ({"class_oak": 0, "class_elm": 1}, "elm"),
        ({"request_id": "x", "prob_oak": 0.3, "prob_elm": 0.7, "model_version": 3}, "elm"),
        # the classes are the names
        ({"oak": 0.3, "elm": 0.7}, "elm"),
        ({"0": 0.4, "1": 0.6}, "1"),
        ({"red oak": 0.46, "white oak": 0.3, "elm": 0.05, "ash": 0.01}, "red oak"),
        ({"oak": 0.3004, "elm": 0.7}, "elm"),
        ({"oak": 0.25, "elm": 0.75, "id": "x"}, "elm"),
        # lists
        ({"displayNames": ["oak", "elm"], "confidences": [0.3, 0.7], "ids": ["1", "2"]}, "elm"),
        ({"classes": ["oak", "elm"], "scores": [0.7, 0.3]}, "oak"),
        ({"labels": [3, 7], "probs": [0.2, 0.8]}, "7"),
        ({"displayNames": ["oak"], "confidences": [0.9], "ids": ["1"]}, "oak"),
        ({"logits": [3.0, 1.0], "probabilities": [0.2, 0.8]}, "1"),
        ({"probabilities": [0.2, 0.8], "explanation": {"x": 1}}, "1"),
        ({"prediction": [0.2, 0.8]}, "1"),
        ({"OUTPUT0": [3, 200, 7], "OUTPUT1": [0, 0, 0]}, "1"),  # scores may be whole numbers
        ({"label": [0, 0, 1]}, "2"),
        # objects in objects
        ({"prediction": {"label": "oak", "score": 0.9}}, "oak"),
        ({"predictions": [{"label": "oak", "score": 0.1}, {"label": "elm", "score": 0.9}]}, "elm"),
        # one column
        ({"score": 0.25}, 0.25),
        ({"fraud_probability": 0.25, "id": "x"}, 0.25),
        ({"y_hat": "oak"}, "oak"),
        ({"0": 3}, "3"),
        ({"prediction": True}, "1"),
        ({"predictionValues": [{"label": "oak", "value": 0.9}], "prediction": "oak", "rowId": 0}, "oak"),
        ({"prediction": "oak", "embedding": [0.1, 0.2]}, "oak"),
    ],
)
def test_the_class_of_a_row_of_columns(row: dict[str, Any], found: Any) -> None:
    assert classes({"predictions": [row]}) == [found]
    assert classes([row, row]) == [found, found]
    assert classes({"jsonData": row}) == [found]
    assert label({"predictions": [row]}) == [found]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"Probability_oak": 0.4}, "the answer's column Probability_oak holds no class"),
        ({"took": 7}, "the answer's column took holds no class"),
        ({"mean": 0.7, "std": 0.3}, "the answer's columns mean, std hold no class"),
        ({"score_mean": 0.7, "score_std": 0.1}, "columns score_mean, score_std hold no class"),
        ({"age": 0.2, "height": 0.1}, "columns age, height hold no class"),
        ({"oak": 1, "elm": 0}, "columns oak, elm hold no class"),
        ({"oak": 0.6, "elm": 0.4, "note": "close"}, "columns oak, elm, note hold no class"),
        ({"score": 0.9, "start": 1, "end": 2, "answer": "Oslo"}, "columns score, start, end, answer hold no class"),
        ({"generated_text": "Oslo"}, "column generated_text holds no class"),
        ({"labels": [1, 2], "scores": [0.9, 0.8], "boxes": [[1], [2]]}, "but places, areas or features"),
        ({"detection_classes": [1.0, 2.0], "detection_scores": [0.9, 0.8], "num_detections": 2}, "but places"),
        ({"label": "oak", "score": 0.9, "box": {"xmin": 1}}, "columns label, score, box hold no class, but places"),
        ({"segmentation": [[0, 1]], "label": [1, 2]}, "but places, areas or features"),
        ({"classes": ["oak", "elm"], "scores": ["high", "low"]}, "columns classes, scores hold no class"),
        ({"labels": [3, 7]}, "column labels holds no class"),
        ({"label": {"is": {"deep": 1}}}, "column is holds no class"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}, "columns a, b, c, d, e and 2 more hold no class"),
        ({}, "the answer's object is empty"),
    ],
)
def test_where_nothing_is_sure_there_is_no_class(row: dict[str, Any], why: str) -> None:
    assert why in no_class({"predictions": [row]})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (frame(_0=[0.2, 0.9], _1=[0.8, 0.1]), ["1", "0"]),
        (frame(oak=[0.2], elm=[0.8]), ["elm"]),
        (frame(took=[3.0, 4.0]), ["3", "4"]),  # of one column it is the answer
        (frame("", took=["oak"]), ["oak"]),
        (frame("", kind=["oak"], probability_oak=[0.9], probability_elm=[0.1]), ["oak"]),
        ({"outputs": {"oak": [0.2, 0.9], "elm": [0.8, 0.1]}}, ["elm", "oak"]),
        ({"outputs": {"probabilities": [[0.2, 0.8]], "id": [7]}}, ["1"]),
        ({"outputs": {"kind": ["oak"], "Probability_oak": [0.9], "Probability_elm": [0.1]}}, ["oak"]),
    ],
)
def test_tensors_and_frames_are_columns_too(body: Any, found: list[Any]) -> None:
    assert classes(body) == found


def test_rows_with_other_columns_are_read_by_their_own() -> None:
    assert classes({"predictions": [{"oak": 0.9, "elm": 0.1}, {"ash": 0.6, "oak": 0.4}]}) == ["oak", "ash"]


def test_what_is_read_of_the_first_row_holds_for_all() -> None:
    rows = [{"Kind": "oak", "Probability_oak": 1.0, "Probability_elm": 0.0}] * 2
    rows.append({"Kind": "elm", "Probability_oak": 0.6, "Probability_elm": 0.4})
    assert classes({"predictions": rows}) == ["oak", "oak", "elm"]


def test_the_score_of_the_winner_is_kept() -> None:
    assert read_response(written({"predictions": [{"oak": 0.25, "elm": 0.75}]})).scores == b"\0\0@?"


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Probability_oak", ("probability", "oak")),
        ("predict_proba_oak", ("predict_proba", "oak")),
        ("probability(red oak)", ("probability", "red oak")),
        ("oak_score", ("score", "oak")),
        ("oak", None),
        ("improbable", None),
    ],
)
def test_a_name_says_of_which_class_it_is_the_score(name: str, family: tuple[str, str] | None) -> None:
    assert family_of(name) == family


def test_other_words_of_names() -> None:
    assert loose_family_of("class_oak") == ("class", "oak")
    assert names_its_class("Probability_oak")
    assert not names_its_class("fraud_score")
    assert is_identifier("Node_Id")
    assert is_identifier("requestId")
    assert not is_identifier("kidney")
    assert class_rank("all_classes") == class_rank("class_probabilities") == -1
    assert class_rank("predicted") == 0
