"""What pytest must not import here: scripts that run in environments of other clients."""

collect_ignore = ["connector_session.py", "ib_async_adapter.py", "ib_async_session.py", "ibapi_session.py"]
