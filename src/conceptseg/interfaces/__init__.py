"""How people meet the library: command line, web page, server."""
