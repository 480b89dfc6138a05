"""gated: checks each passage at a village's entrances against the entry passes and opens the barrier."""

__version__ = "0.1.0"
