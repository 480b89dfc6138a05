"""UHPPOTE / Weigeng (微耕) controllers: cards, doors and barriers. See `docs/devices/uhppote.md`."""

from adapters.uhppote.config import Config
from adapters.uhppote.device import UhppoteController, create
from adapters.uhppote.probe import probe

__all__ = ["Config", "UhppoteController", "create", "probe"]
