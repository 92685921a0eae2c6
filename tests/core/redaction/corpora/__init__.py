"""Generated corpora for measuring redaction. Everything in them is invented."""
