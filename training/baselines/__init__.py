"""The rankers that QE-Rec is held against, one idea a file, each given the same trial and as many tuning trials."""
