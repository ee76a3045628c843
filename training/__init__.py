"""HOW WE LEARN: the declared world, the replayed log, the QE-Rec ranker and its alignment.

May import features only.
"""
