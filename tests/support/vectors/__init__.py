"""The parts of the vectors of docs/record-format.md, which tests/vectors/make_vectors.py writes."""
