"""The caller's identity: principal, agent and session."""
