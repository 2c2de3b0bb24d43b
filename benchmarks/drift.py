"""Model drift on real data: a model trained through 2015-04-30 watched until August, when store CA_2's demand has doubled.

Run: .venv/bin/python -m benchmarks.drift [--through 2015-04-30] [--days 123]

The reference is the champion's own backtest, the 90 days before its training ended. Printed: on how many days each
segment would have been named, when first, and the verdict of one day in full.
"""

import argparse
from collections import Counter
from datetime import date, timedelta

import polars as pl

from benchmarks.panels import retail_panel
from engine.drift import DriftRule, model_drift
from engine.forecasting.backtest import backtest
from engine.forecasting.recipe import LightGBMRecipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--through", type=date.fromisoformat, default=date(2015, 4, 30))
    parser.add_argument("--days", type=int, default=123)
    parser.add_argument("--show", type=date.fromisoformat, default=None, help="print the verdict of this day in full")
    arguments = parser.parse_args()
    through, end = arguments.through, arguments.through + timedelta(days=arguments.days)
    errors = collect_errors(through, end)
    reference = (through - timedelta(days=89), through)
    named: Counter[str] = Counter()
    first: dict[str, date] = {}
    days = [through + timedelta(days=offset) for offset in range(7, arguments.days + 1)]
    fired = 0
    for day in days:
        verdict = model_drift(errors, as_of=day, reference=reference, rule=DriftRule(replay_days=0))
        fired += verdict.drifted
        for found in verdict.named:
            name = f"{found.column} {found.value}".strip()
            named[name] += 1
            first.setdefault(name, day)
    print(f"{len(days)} daily checks after {through}: {fired} with an alarm; the reference's own weeks: {verdict.reference_alarm_rate:.1%}")
    for name, count in named.most_common():
        print(f"  {name:20} {count:3} days, first on {first[name]}")
    verdict = model_drift(errors, as_of=arguments.show or through + timedelta(days=35), reference=reference)
    replay = f"fired on {verdict.fired_days} of the {verdict.replayed_days} days before"
    print(f"{verdict.as_of}: score {verdict.score:.2f}, {verdict.severity}, {replay}")
    for found in verdict.segments[:5]:
        print(f"  {'!' if found.drifted else ' '} {found.column} {found.value}: {found.reason}")


def collect_errors(through: date, end: date) -> pl.DataFrame:
    """Daily sums per segment: the reference window by rolling origin, the days since by the model trained `through`."""
    panel = retail_panel()
    recipe = LightGBMRecipe()
    before = backtest(panel.until(through), recipe, window_days=90)
    champion = recipe.fit(panel, through=through)
    since = backtest(panel.until(end), recipe, window_days=(end - through).days, frozen=champion)
    return pl.concat([before.segments, since.segments])


if __name__ == "__main__":
    main()
