from tests.engine.tabular.tables import houses, trained


def test_model_is_better_than_the_mean_and_answers_in_any_column_order() -> None:
    result = trained("regression")
    frame = houses(10, seed=2)

    told = result.model.predict(frame.select(sorted(frame.columns)))

    assert result.metrics["r2"] > 0.7
    assert told.values == result.model.predict(frame).values
