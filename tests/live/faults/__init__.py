"""Faults while traffic goes on: after each of them all that Tally knows equals what a brute-force count says.

Each takes some seconds in an ordinary run. In a soak it strikes again and again, for its share of the minutes that the
soak is given, and a table at the end says how often it did, and how much differed.
"""
