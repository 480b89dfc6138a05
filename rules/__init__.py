"""The rules: a situation in, a decision out, by a policy that people write. Pure; knows the domain and no
I/O, no clock.

`rules.build.build` makes a `Policy` of a file's model; `decide` applies it; `rules.receipt` is what a
decision leaves behind; `rules.cases` runs the tables of tests beside a policy.
"""

from rules.decide import decide
from rules.policy import Policy
from rules.situation import Situation, Surroundings

__all__ = ["Policy", "Situation", "Surroundings", "decide"]
