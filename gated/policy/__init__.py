"""Policy files: reading, checking with file and line, and which policy is in force.

`read` gives the text of a file, `load` a policy from text; `gated.store.policies` keeps what was activated.
What a policy means is `rules`' business.
"""

from gated.policy.load import default_text, load, read

__all__ = ["default_text", "load", "read"]
