"""Static analysis of policies, from their syntax trees."""
