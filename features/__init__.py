"""WHAT WE KNOW: contracts, state, features, the knowledge base and the reasoner.

Read in this order: events, decisions, notices, settings, windows, state, feedback, schema, knowledge, prompt, reasoner,
adapter, vectors, ledger, definitions, store. Imports no other package of ours.
"""
