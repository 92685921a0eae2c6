"""What policies say, read from their syntax trees without evaluating them."""
