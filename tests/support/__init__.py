"""Kits that tests share, the programs that they start, and the stand-ins that misbehave on
purpose.
"""
