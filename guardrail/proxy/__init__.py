"""A proxy in front of a model provider's API, for programs that can't be changed."""
