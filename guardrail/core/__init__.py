"""The pure core: its functions depend only on their arguments. They use no clock, randomness,
files, sockets or logging.
"""
