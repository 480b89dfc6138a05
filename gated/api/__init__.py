"""The HTTP side: JSON for people and programs (FastAPI), pushes of devices (bare ASGI), health, metrics.

Turns requests into calls and results into replies. It decides nothing about passages and drives no device:
those are behind `gated.api.services`. Nothing is imported here, so that the lean parts stay lean.
"""
