"""GA/T 1400 (视图库): plates from any camera or platform that pushes them so, and to one of the district. See
`docs/devices/gat1400.md`."""

from adapters.gat1400.receiver import Config, Gat1400Source, create

__all__ = ["Config", "Gat1400Source", "create"]
