"""Conditions: CEL texts, checked by the engine, run as Python where that is the same, reasoned about at load.

    env = Environment({"pass.kind": CelType.STRING, "pass.found": CelType.BOOL})
    expression = env.compile('pass.found && pass.kind == "resident"')
    expression.evaluate({"pass.found": True, "pass.kind": "visitor"})  # False

Knows nothing of facts, rules and policies; pure, but for the engine in C++.
"""

from rules.cel.engine import MAX_LIST, MAX_STRING, MAX_TEXT, CelType, Environment, Expression
from rules.cel.errors import CelError, CelErrors, EvaluationFailed, Kind
from rules.cel.fuse import fuse_all, fuse_first
from rules.cel.logic import Proven, contradiction, covers_all, implied_by_any, uncovered
from rules.cel.python import constant_value, python_of

__all__ = [
    "MAX_LIST",
    "MAX_STRING",
    "MAX_TEXT",
    "CelError",
    "CelErrors",
    "CelType",
    "Environment",
    "EvaluationFailed",
    "Expression",
    "Kind",
    "Proven",
    "constant_value",
    "contradiction",
    "covers_all",
    "fuse_all",
    "fuse_first",
    "implied_by_any",
    "python_of",
    "uncovered",
]
