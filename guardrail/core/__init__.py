"""The pure core: its functions depend only on their arguments. They do not use the clock, random
numbers, files, sockets or logging.
"""
