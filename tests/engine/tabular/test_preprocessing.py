"""What is learnt from the training part, and what becomes of everything else."""

from datetime import datetime

import numpy as np
import orjson
import polars as pl
import pytest

from engine.tabular.columns import columns_of
from engine.tabular.documents import ArtifactError
from engine.tabular.preprocessing import Encoding, PreprocessingOptions, Preprocessor, learn
from engine.tabular.problems import PredictError, TrainingError
from tests.engine.tabular.tables import FEATURES, houses

LINEAR = Encoding(fill=True, one_hot=True, scale=True, most_categories=50)
NAN = float("nan")


def learnt(frame: pl.DataFrame, encoding: Encoding | None = None, **options: int) -> Preprocessor:
    return learn(frame, columns_of(frame), encoding or Encoding(), PreprocessingOptions(**options))[0]


def towns(*names: str | None) -> pl.DataFrame:
    return pl.DataFrame({"town": pl.Series(list(names), dtype=pl.String)})


def test_categories_are_coded_by_frequency_and_unseen_ones_share_a_code() -> None:
    preprocessor = learnt(towns("Ulm", "Bonn", "Bonn", "Jena", None))

    matrix = preprocessor.transform(towns("Bonn", "Jena", "Ulm", "Paris", "Rome", None))

    np.testing.assert_array_equal(matrix.values[:, 0], [0, 1, 2, 3, 3, NAN])
    assert matrix.categorical == (0,)


def test_rare_categories_are_pooled_on_request_and_told() -> None:
    frame = towns("Ulm", "Ulm", "Ulm", "Bonn", "Bonn", "Jena")

    preprocessor, values, notes = learn(frame, columns_of(frame), Encoding(), PreprocessingOptions(min_category_rows=2))

    assert values[:, 0].tolist() == [0, 0, 0, 1, 1, 2]
    assert preprocessor.features[0].categories == ("Ulm", "Bonn")
    assert notes == ("town: all but 2 categories are pooled as one.",)
    assert learnt(frame, most_categories=1).features[0].categories == ("Ulm",)


def test_one_hot_has_columns_for_what_training_saw_and_zeros_for_what_it_did_not() -> None:
    encoding = Encoding(fill=True, one_hot=True)

    seen = learnt(towns("Ulm", "Ulm", "Bonn", None), encoding).transform(towns("Ulm", "Bonn", "Paris", None))
    pooled = learnt(towns("Ulm", "Ulm", "Bonn"), encoding, most_categories=1).transform(towns("Ulm", "Paris", None))

    assert seen.values.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert pooled.values.tolist() == [[1, 0], [0, 1], [0, 0]]


def test_missing_numbers_stay_missing_or_become_the_median_with_an_indicator() -> None:
    train = pl.DataFrame({"size": pl.Series([1.0, 2.0, 9.0, None]), "rooms": pl.Series([1, 2, 3, 4])})
    later = pl.DataFrame({"size": pl.Series([None, 5.0]), "rooms": pl.Series([None, 2], dtype=pl.Int64)})

    kept = learnt(train).transform(later)
    filled = learnt(train, Encoding(fill=True)).transform(later)

    np.testing.assert_array_equal(kept.values, [[NAN, NAN], [5, 2]])
    assert filled.values.tolist() == [[2.0, 1.0, 2.5], [5.0, 0.0, 2.0]]


def test_scaled_training_columns_have_mean_0_and_deviation_1() -> None:
    frame = houses(100).select(FEATURES)

    _, values, _ = learn(frame, columns_of(frame), LINEAR)

    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-9)


def test_moments_become_the_parts_that_vary() -> None:
    frame = pl.DataFrame({"sold": pl.Series([datetime(2024, 1, 1), datetime(2024, 3, 1), None], dtype=pl.Datetime("us"))})  # noqa: DTZ001

    preprocessor = learnt(frame)
    matrix = preprocessor.transform(frame)

    assert preprocessor.features[0].parts == ("days", "year", "month", "day", "weekday", "hour", "minute")
    np.testing.assert_array_equal(matrix.values[:, 2], [1, 3, NAN])


def test_moments_parts_that_never_vary_are_left_out() -> None:
    moments = [datetime(2024, 1, 1), datetime(2024, 1, 2)]  # noqa: DTZ001
    frame = pl.DataFrame({"sold": pl.Series(moments, dtype=pl.Datetime("us"))})

    assert learnt(frame).features[0].parts == ("days", "day", "weekday")


def test_features_that_never_vary_are_dropped_and_told() -> None:
    frame = pl.DataFrame({"one": [1, 1, 1], "none": pl.Series([None] * 3, dtype=pl.String), "good": [1, 2, 3]})

    preprocessor, values, notes = learn(frame, columns_of(frame), Encoding())

    assert preprocessor.owners == (2,)
    assert values.shape == (3, 1)
    assert notes == (
        "one is the same in every training row; it is not used.",
        "none has no value in the training part; it is not used.",
    )


def test_column_order_never_matters_and_extra_columns_are_ignored() -> None:
    frame = houses(30).select(FEATURES)
    preprocessor = learnt(frame)

    shuffled = preprocessor.transform(frame.select(reversed(frame.columns)).with_columns(extra=pl.lit(1)))

    np.testing.assert_array_equal(shuffled.values, preprocessor.transform(frame).values)


def test_later_rows_change_nothing_of_what_was_learnt() -> None:
    """The training rows come out alike whatever other rows stand beside them."""
    frame, other = houses(50).select(FEATURES), houses(50, seed=9).select(FEATURES)
    preprocessor = learnt(frame, LINEAR)

    together = preprocessor.transform(pl.concat([frame, other]))

    np.testing.assert_array_equal(together.values[:50], preprocessor.transform(frame).values)


def test_wrong_type_names_the_cell() -> None:
    preprocessor = learnt(pl.DataFrame({"size": [1.0, 2.0]}))

    with pytest.raises(PredictError, match="row 1, size: 'abc' is not a number"):
        preprocessor.transform(pl.DataFrame({"size": ["1", "abc"]}))


def test_numbers_beyond_32_bits_are_taken_to_the_border() -> None:
    preprocessor = learnt(pl.DataFrame({"size": [1.0, 1e300]}))

    assert np.isfinite(np.float32(preprocessor.transform(pl.DataFrame({"size": [-1e300]})).values)).all()


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (pl.DataFrame({"a": [1, 1]}), "features"),
        (pl.DataFrame({"a" * 201: [1, 2]}), "features"),
        (pl.DataFrame({f"f{index}": [1, 2] for index in range(2_001)}), "features"),
    ],
)
def test_frames_without_use_or_bounds_are_refused(frame: pl.DataFrame, field: str) -> None:
    with pytest.raises(TrainingError) as caught:
        learnt(frame)

    assert caught.value.field == field


@pytest.mark.parametrize("encoding", [Encoding(), LINEAR, Encoding(fill=True)])
def test_round_trip_through_json_is_exact(encoding: Encoding) -> None:
    frame = houses(60).select(FEATURES)
    preprocessor = learnt(frame, encoding)

    again = Preprocessor.from_json(orjson.loads(orjson.dumps(preprocessor.to_json())))

    assert again == preprocessor
    np.testing.assert_array_equal(again.transform(frame).values, preprocessor.transform(frame).values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("encoding.fill", 1),
        ("encoding.most_categories", 0),
        ("features", []),
        ("features.0.kind", "picture"),
        ("features.0.name", ""),
        ("features.1.name", "size"),
        ("features.2.categories", ["Ulm", "Ulm"]),
        ("features.2.categories", [1]),
        ("features.4.parts", ["century"]),
        ("features.4.parts", []),
        ("features.0.low", "1"),
        ("features.0.low", 10**400),
        ("fills", [1.0]),
        ("spreads", [0.0]),
        ("surprise", 1),
    ],
)
def test_changed_document_is_refused(path: str, value: object) -> None:
    document = orjson.loads(orjson.dumps(learnt(houses(60).select(FEATURES)).to_json()))
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value

    with pytest.raises(ArtifactError):
        Preprocessor.from_json(document)
