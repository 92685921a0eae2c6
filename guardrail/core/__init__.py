"""The pure core: values in, values out. No clock, randomness, files, sockets or logging."""
