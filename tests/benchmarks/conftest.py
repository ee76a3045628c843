"""What pytest must not import here: a script for another interpreter."""

collect_ignore = ["quix_script.py"]
