"""HOW A MODEL TRAVELS: ONNX export, parity, the signed-off bundle, the judge and the registry.

May import training and features; `session`, `bundle` and `registry` are what a worker loads, so these
import neither training nor torch.
"""
