"""Who is calling: principal, agent and session."""
