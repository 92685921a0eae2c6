"""Access to the machine: files, the network, the clock, threads and ids.

No other layer is below this one.
"""
