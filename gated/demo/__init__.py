"""`gated demo`: a whole simulated village on embedded defaults, without hardware.

`village` makes the configuration, `passes` the entry passes, `show` the live table, `run` starts and ends it
all. The devices are those of `adapters.simulator`, in a process of their own, on the wires of real ones.
"""
