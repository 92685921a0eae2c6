"""Programs that tests start as processes, to drive them and to kill them."""
