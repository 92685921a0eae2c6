"""The pure core: functions of their arguments alone. It uses no clock, randomness, files, sockets
or logging.
"""
