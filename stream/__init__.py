"""HOW WE SERVE: the Kafka stream worker, the embedder and the HTTP gateway.

May import export (never training, not even through export) and features.
"""
