"""The rules: facts of a passage in, a decision out. Pure; knows the domain and no I/O, no clock."""

from rules.decide import Facts, Policy, decide

__all__ = ["Facts", "Policy", "decide"]
