"""Access to the machine: files, the network, the clock, threads, ids. Below everything that uses it."""
