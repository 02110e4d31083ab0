"""`conceptseg serve`: segmentation, rules and annotation tools over HTTP, as one FastAPI app (extra `[server]`)."""
