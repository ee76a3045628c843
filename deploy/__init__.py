"""HOW IT RUNS: the command line, the embedded services, the demo and one round of recalibration.

May import every other package.
"""
