"""Policy engines: one method each, alike in what they answer."""
