"""Policy engines. They share one interface, and all give the same answers."""
