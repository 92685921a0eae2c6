"""Connects the components: opens and starts a guard, diagnoses and recovers a ledger, and reloads
policies.
"""
