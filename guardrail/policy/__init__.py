"""Policy engines. All engines share one interface and give the same answers."""
