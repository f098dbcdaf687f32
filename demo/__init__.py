"""A first service on tether, and the same service without it.

gateway.py          the service: the code to copy
plain_gateway.py    the same, as it is usually written
data.py             its SQLite file and the queries, used by both
upstream.py         the slow service that it calls
watch.py            what a gateway does at the moment, for the measurements
traffic.py          the clients
processes.py        starting and ending the servers
__main__.py         python dev.py demo
"""
