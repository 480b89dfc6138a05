"""Tables of cases beside a policy: read from YAML, with the place of every mistake."""

from __future__ import annotations

from pathlib import Path as FilePath

from pydantic import ValidationError

from gated.config.errors import ConfigErrors, Problem, dotted
from gated.config.source import read
from gated.config.translate import findings
from rules.cases import CasesModel

ENDING = ".cases.yaml"


def beside(policy: FilePath) -> FilePath:
    """Where the cases of a policy file are looked for: `policy.cases.yaml` beside `policy.yaml`."""
    return policy.with_name(policy.name.removesuffix(".yaml").removesuffix(".yml") + ENDING)


def load_cases(path: FilePath) -> CasesModel:
    """A table of cases. Raises ConfigErrors with all problems."""
    source = read(path)
    try:
        return CasesModel.model_validate(source.data)
    except ValidationError as error:
        problems = []
        for found in findings(error, CasesModel, source.data, ()):
            if found.path == ("table",) and source.data.get("table"):
                continue  # says only that the cases in it are not right
            mark = source.mark(found.path)
            where = dotted(found.path)
            problems.append(
                Problem(source.name, mark.line, mark.column, where, found.message, found.hint, found.zh)
            )
        raise ConfigErrors(problems) from error
