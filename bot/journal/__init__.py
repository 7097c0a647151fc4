"""The durable record: journal of obligations, tape of observations, and what is derived from them.

store, writer, emergency and codec make events durable; tape keeps observations in bulk; accounts and attribution are
pure and fold the same events into money; ledger, tables and migrations project them into SQL. Nothing is imported
here, so that the guardian and the bench can use one part without SQLAlchemy.
"""
