"""Policy engines. All engines implement the same interface and make the same decisions."""
