"""`conceptseg app`: the page in the browser, for people who draw (Gradio, extra `[app]`).

Only `page` imports Gradio; what its buttons do is in the other modules, and works without.
"""
