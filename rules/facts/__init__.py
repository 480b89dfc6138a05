"""The facts that rules may ask: importing this package fills `TABLE`."""

from rules.facts import passage, passes, show, surroundings
from rules.facts.base import TABLE, Case, Fact, Facts, FactType, live

__all__ = ["TABLE", "Case", "Fact", "FactType", "Facts", "live", "passage", "passes", "show", "surroundings"]
