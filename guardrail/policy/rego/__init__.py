"""Static analysis of policies, based on their syntax trees."""
