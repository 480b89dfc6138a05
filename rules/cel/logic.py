"""What can be proven of conditions before any passage comes: which never hold, and whether one always does.

Every fact that is compared with constants is cut into cells, within which all these comparisons agree: the
values themselves, what lies between them, everything else, and NaN for numbers with decimals. An atom is then
a set of cells, and a search in the manner of DPLL does the rest, within a budget of steps. Pure.

It is sound for CEL's errors too. A condition that has an error neither holds nor lets the next one have its
turn; one that holds in spite of an error in a part holds whatever that part would have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rules.cel.engine import Expression
from rules.cel.python import Constants, with_constants
from rules.cel.skeleton import Asks, Joined, Not, Opaque, Skeleton, skeleton
from rules.cel.tree import Value, show, show_value

BUDGET = 100_000
"""How many parts of formulas one question may look at: some 0.1 s."""

Domains = Mapping[str, Sequence[str]]
"""All values that a fact can have, where they are few: `{"passage.direction": ("in", "out")}`."""


class Proven(StrEnum):
    """The answer to a question. UNKNOWN: the budget was used up, or the constants make it too large."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "not proven"


def contradiction(
    condition: Expression, constants: Constants, domains: Domains, *, budget: int = BUDGET
) -> Proven:
    """Whether a condition can never hold."""
    return _answer(_solved(_skeletons([condition], constants), domains, budget))


def implied_by_any(
    condition: Expression,
    earlier: Sequence[Expression],
    constants: Constants,
    domains: Domains,
    *,
    budget: int = BUDGET,
) -> Proven:
    """Whether one of `earlier` holds wherever the condition does, so that a later rule has no turn."""
    others: list[Skeleton] = [Not(one) for one in _skeletons(earlier, constants)]
    return _answer(_solved([*_skeletons([condition], constants), *others], domains, budget))


def covers_all(
    conditions: Sequence[Expression], constants: Constants, domains: Domains, *, budget: int = BUDGET
) -> Proven:
    """Whether one of the conditions holds whatever the facts are."""
    return _answer(_solved([Not(one) for one in _skeletons(conditions, constants)], domains, budget))


def uncovered(
    conditions: Sequence[Expression], constants: Constants, domains: Domains, *, budget: int = BUDGET
) -> dict[str, bool | str] | None:
    """An example in which none of the conditions holds: facts (or whole conditions) with a value, or what is
    known of it ("> 3, < 5"). None if there is none, or none was found within the budget."""
    found = _solved([Not(one) for one in _skeletons(conditions, constants)], domains, budget)
    return found if isinstance(found, dict) else None


def _skeletons(conditions: Sequence[Expression], constants: Constants) -> list[Skeleton]:
    return [skeleton(with_constants(one, constants)) for one in conditions]


_Found = dict[str, bool | str] | Proven


def _answer(found: _Found) -> Proven:
    return Proven.NO if isinstance(found, dict) else found


# --- cells --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cell:
    """Values that all comparisons at hand take alike: one (`point`), or all between `low` and `high`, without
    these; None is without end. `wild`: NaN, which every comparison is false for."""

    point: Any = None
    low: Any = None
    high: Any = None
    wild: bool = False

    def holds(self, sign: str, values: tuple[Value, ...] | frozenset[Value]) -> bool:
        if self.wild:
            return False
        if sign in ("in", "=="):
            return self.point is not None and self.point in values
        (limit,) = values
        bound: Any = limit
        if self.point is not None:
            return bool(_SIGNS[sign](self.point, bound))
        if sign[0] == "<":
            return self.high is not None and self.high <= bound
        return self.low is not None and self.low >= bound


_SIGNS: dict[str, Any] = {
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
}


def _cells(type_: str, atoms: Iterable[Asks], domain: Sequence[str] | None) -> Iterator[_Cell]:
    if type_ == "bool":
        yield from (_Cell(True), _Cell(False))
        return
    if domain is not None and type_ == "string":
        yield from map(_Cell, domain)
        return
    points: list[Any] = sorted({value for atom in atoms for value in atom.values})
    low: Any = None
    for point in points:
        if not _next_to(low, point):
            yield _Cell(low=low, high=point)
        yield _Cell(point)
        low = point
    if not (type_ == "int" and low == 2**63 - 1):
        yield _Cell(low=low)
    if type_ == "double":
        yield _Cell(wild=True)


def _next_to(low: Any, high: Any) -> bool:
    """Whether nothing lies between two values, as far as that is easily said."""
    if isinstance(high, int):
        return high == -(2**63) if low is None else high - low == 1
    if isinstance(high, str):
        return high == "" if low is None else high == low + "\0"
    return False


class _Variable:
    """A fact with its cells, or an opaque condition that is true or false. A set of cells is a bit mask."""

    def __init__(self, name: str, type_: str, atoms: list[Asks], domain: Sequence[str] | None) -> None:
        self.name = name
        sets = {atom: frozenset(atom.values) for atom in atoms}
        alike: dict[tuple[bool, ...], _Cell] = {}
        for cell in _cells(type_, atoms, domain):
            alike.setdefault(tuple(cell.holds(atom.sign, sets[atom]) for atom in atoms), cell)
        self.cells = tuple(alike.values())
        self.masks = {
            atom: sum(1 << index for index, held in enumerate(alike) if held[number])
            for number, atom in enumerate(atoms)
        }
        self.full = (1 << len(self.cells)) - 1
        self._values = sorted({value for atom in atoms for value in atom.values}, key=str)

    def told(self, mask: int) -> bool | str:
        """What a person may be told of a value in one of the cells."""
        left = [cell for index, cell in enumerate(self.cells) if mask >> index & 1]
        cell = next((one for one in left if one.point is not None), left[0])
        if isinstance(cell.point, bool):
            return cell.point
        if cell.point is not None:
            return cell.point if isinstance(cell.point, str) else show_value(cell.point)
        if cell.wild:
            return "NaN"
        if all(atom.sign in ("==", "in") for atom in self.masks):
            but = ", ".join(map(show_value, self._values[:3])) + (", ..." if len(self._values) > 3 else "")
            return f"not {but}"
        ends = [f"> {show_value(cell.low)}" if cell.low is not None else ""]
        ends += [f"< {show_value(cell.high)}" if cell.high is not None else ""]
        return ", ".join(filter(None, ends))


# --- formulas -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Literal:
    """The value of a variable is in one of some cells."""

    variable: int
    mask: int


@dataclass(frozen=True, slots=True)
class _Join:
    every: bool
    parts: tuple[_Formula, ...]


_Formula = bool | _Literal | _Join


class _Spent(Exception):
    """The budget is used up."""


class _Problem:
    """Formulas that are all to hold, over variables with cells."""

    def __init__(self, skeletons: Sequence[Skeleton], domains: Domains, budget: int) -> None:
        self._left = budget
        self._index: dict[object, int] = {}
        self.variables: list[_Variable] = []
        self._gather(skeletons, domains)
        self.formulas = [self._formula(one, True) for one in skeletons]

    def _gather(self, skeletons: Sequence[Skeleton], domains: Domains) -> None:
        asked: dict[object, dict[Asks, None]] = {}
        waiting = list(skeletons)
        while waiting:
            match waiting.pop():
                case Not(part=part):
                    waiting.append(part)
                case Joined(parts=parts):
                    waiting.extend(parts)
                case Asks() as atom:
                    asked.setdefault(atom.name, {})[atom] = None
                case Opaque() as atom:
                    asked.setdefault(atom, {})
        for key, atoms in asked.items():
            self._index[key] = len(self.variables)
            if isinstance(key, Opaque):
                truth = Asks(show(key.node), "bool", "==", (True,))
                self.variables.append(_Variable(truth.name, "bool", [truth], None))
            else:
                first = next(iter(atoms))
                self.variables.append(_Variable(first.name, first.type, list(atoms), domains.get(first.name)))

    def _formula(self, one: Skeleton, positive: bool) -> _Formula:
        self.tick()
        match one:
            case bool():
                return one is positive
            case Not(part=part):
                return self._formula(part, not positive)
            case Joined(every=every, parts=parts):
                return _Join(every is positive, tuple(self._formula(part, positive) for part in parts))
            case Asks():
                return self._literal(
                    self._index[one.name], self.variables[self._index[one.name]].masks[one], positive
                )
            case Opaque():
                index = self._index[one]
                (mask,) = self.variables[index].masks.values()
                return self._literal(index, mask, positive)

    def _literal(self, index: int, mask: int, positive: bool) -> _Literal:
        return _Literal(index, mask if positive else self.variables[index].full & ~mask)

    def tick(self) -> None:
        """Takes a step off the budget. Raises _Spent when there is none left."""
        self._left -= 1
        if self._left < 0:
            raise _Spent

    def simplified(self, one: _Formula, cells: Sequence[int]) -> _Formula:
        """The formula where the variables have only these cells left."""
        self.tick()
        match one:
            case bool():
                return one
            case _Literal(variable=variable, mask=mask):
                both = cells[variable] & mask
                return both != 0 if both in (0, cells[variable]) else one
            case _Join(every=every, parts=parts):
                kept: list[_Formula] = []
                for part in parts:
                    found = self.simplified(part, cells)
                    if found is (not every):
                        return found
                    if found is not every:
                        kept.append(found)
                if not kept:
                    return every
                return kept[0] if len(kept) == 1 else _Join(every, tuple(kept))

    def solve(self) -> list[int] | None:
        """The cells that are left to each variable where all formulas hold; None if they never do."""
        waiting = [(self.formulas, [one.full for one in self.variables])]
        while waiting:
            formulas, cells = waiting.pop()
            open_ = self._settled(formulas, cells)
            if open_ is None:
                continue
            if not open_:
                return cells
            literal = _first_literal(min(open_, key=_width))
            without = list(cells)
            without[literal.variable] &= ~literal.mask
            cells[literal.variable] &= literal.mask
            waiting += [(open_, without), (open_, cells)]
        return None

    def _settled(self, formulas: Sequence[_Formula], cells: list[int]) -> list[_Formula] | None:
        """What is still open once all that has to be is so; None if that cannot be. Narrows `cells`."""
        while True:
            narrowed = False
            open_: list[_Formula] = []
            waiting = list(formulas)
            while waiting:
                one = self.simplified(waiting.pop(), cells)
                match one:
                    case False:
                        return None
                    case True:
                        pass
                    case _Literal(variable=variable, mask=mask):
                        cells[variable] &= mask
                        narrowed = True
                    case _Join(every=True, parts=parts):
                        waiting.extend(parts)
                    case _:
                        open_.append(one)
            if not narrowed:
                return open_
            formulas = open_

    def told(self, cells: list[int]) -> dict[str, bool | str]:
        """A solution for a person: only what matters."""
        self._left = BUDGET
        for index, variable in enumerate(self.variables):
            kept, cells[index] = cells[index], variable.full
            try:
                if all(self.simplified(one, cells) is True for one in self.formulas):
                    continue
            except _Spent:
                pass
            cells[index] = kept
        return {
            variable.name: variable.told(mask)
            for variable, mask in zip(self.variables, cells, strict=True)
            if mask != variable.full
        }


def _width(one: _Formula) -> int:
    return len(one.parts) if isinstance(one, _Join) else 1


def _first_literal(one: _Formula) -> _Literal:
    while isinstance(one, _Join):
        one = min(one.parts, key=_width)
    if isinstance(one, bool):
        raise TypeError("a formula that is not simplified")
    return one


def _solved(skeletons: Sequence[Skeleton], domains: Domains, budget: int) -> _Found:
    """An example in which all hold; YES that there is none; UNKNOWN."""
    try:
        problem = _Problem(skeletons, domains, budget)
        cells = problem.solve()
        return Proven.YES if cells is None else problem.told(cells)
    except _Spent:
        return Proven.UNKNOWN
