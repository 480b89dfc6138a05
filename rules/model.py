"""The policy file as pydantic models: shapes, limits and defaults of each value alone.

What needs more than one place (names, types of conditions, reachability) is `rules.build`'s. Unknown keys are
refused. Reading YAML is not done here.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gated.domain import Direction, Outcome, Severity, Text
from rules.windows import dates_of, hours_of

WORD = r"^[a-z][a-z0-9_]{0,62}$"
Word = Annotated[str, Field(pattern=WORD)]
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_EXPRESSION = 4000


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def listed(value: object) -> object:
    """A single value stands for a list of one."""
    return [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value


def _hours(value: str) -> str:
    hours_of(value)
    return value


def _dates(value: str) -> str:
    dates_of(value)
    return value


Hours = Annotated[str, AfterValidator(_hours)]
Dates = Annotated[str, AfterValidator(_dates)]


class Say(Section):
    """A sentence in both languages; `{pass.kind}` stands for a fact. A plain text stands for both."""

    zh: Sentence
    en: Sentence

    @model_validator(mode="before")
    @classmethod
    def _one_is_enough(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"zh": value, "en": value}
        if isinstance(value, dict) and ("zh" in value) != ("en" in value):
            return {**value, "en": value["zh"]} if "zh" in value else {**value, "zh": value["en"]}
        return value

    def text(self) -> Text:
        """As the domain has it."""
        return Text(self.zh, self.en)


class AlertModel(Section):
    """Whom a rule tells. `route`: `entrance` (the grid of the entrance), `holder` (the grid of the holder's
    dwelling, else of the entrance), `site` (the root grid), or a grid's id."""

    severity: Severity = Severity.NOTICE
    route: str = Field(default="entrance", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"severity": value} if isinstance(value, str) else value


class Only(Section):
    """Where a rule, or other values, are in force; without it everywhere."""

    entrances: Annotated[tuple[Id, ...], BeforeValidator(listed)] = ()
    lanes: Annotated[tuple[Id, ...], BeforeValidator(listed)] = ()
    direction: Direction | None = None


class RuleModel(Section):
    """One rule. Without `when` it always holds. `reason` is the stable code, the rule's id unless given."""

    id: Word
    when: Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION)] | Literal[True] = "true"
    then: Literal["grant", "refer", "deny", "alert"]
    reason: Word | None = None
    say: Say | None = None
    alert: AlertModel | None = None
    only: Only = Only()
    note: str | None = Field(default=None, max_length=2000)

    @model_validator(mode="after")
    def _whole(self) -> RuleModel:
        if self.then == "alert" and self.alert is None:
            raise ValueError("only alerts, and has no alert: add `alert: notice`")
        if self.say is None and (self.then != "grant" or self.alert is not None):
            raise ValueError("has no sentence: say what to tell the person at the gate with `say:`")
        return self

    @property
    def outcome(self) -> Outcome | None:
        """What it decides; None for a rule that only alerts."""
        return None if self.then == "alert" else Outcome(self.then)

    @property
    def condition(self) -> str:
        """The condition as text."""
        return "true" if self.when is True else self.when


class WindowModel(Section):
    """A named window of the calendar."""

    name: Say | None = None
    hours: Annotated[tuple[Hours, ...], BeforeValidator(listed)] = ()
    days: Annotated[tuple[Day, ...], BeforeValidator(listed)] = WEEK
    dates: Annotated[tuple[Dates, ...], BeforeValidator(listed)] = ()

    @model_validator(mode="after")
    def _one_of(self) -> WindowModel:
        if self.dates and self.days != WEEK:
            raise ValueError("give days of the week or dates, not both")
        return self


class DutyModel(Section):
    """Volunteers on duty."""

    entrances: Annotated[tuple[Id, ...], BeforeValidator(listed)] = ()
    hours: Annotated[tuple[Hours, ...], BeforeValidator(listed)] = ()
    days: Annotated[tuple[Day, ...], BeforeValidator(listed)] = WEEK
    volunteers: int = Field(ge=1, le=100)


class ProofModel(Section):
    """An attestation that passes must carry."""

    proof: Word
    name: Say
    pass_kinds: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    entrances: Annotated[tuple[Id, ...], BeforeValidator(listed)] = ()
    since: date | None = None
    until: date | None = None
    max_age_days: int | None = Field(default=None, ge=0, le=36_500)

    @model_validator(mode="after")
    def _in_order(self) -> ProofModel:
        if self.since is not None and self.until is not None and self.until < self.since:
            raise ValueError("until is before since")
        return self


Limit = bool | int | float | Annotated[str, Field(max_length=200)]


class ElsewhereModel(Section):
    """Other values of limits at some entrances or lanes; of several that fit, the last wins."""

    only: Only
    limits: Annotated[dict[Word, Limit], Field(min_length=1)]


class PolicyModel(Section):
    """A whole policy file. `policy: 1` is the version of this form."""

    policy: Literal[1]
    name: Say
    limits: dict[Word, Limit] = {}
    elsewhere: tuple[ElsewhereModel, ...] = ()
    groups: dict[
        Word, Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=1000)]
    ] = {}
    holidays: Annotated[tuple[Dates, ...], BeforeValidator(listed)] = ()
    calendar: dict[Word, WindowModel] = {}
    duty: tuple[DutyModel, ...] = ()
    proofs: tuple[ProofModel, ...] = ()
    rules: Annotated[tuple[RuleModel, ...], Field(min_length=1, max_length=500)]
