"""What pytest must not import here: scripts that run in environments of other clients."""

collect_ignore = ["ibapi_session.py", "ib_async_session.py", "ib_async_adapter.py"]
