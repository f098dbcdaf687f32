"""A shop of several services on tether, and an incident that it had.

The code to copy, in the order in which to read it:

    gateway.py      what a pod runs: routes, what lives as long as it, the stop in order
    pages.py        queries, fan-out, bounded work, a loop that computes
    orders.py       budgets step by step; a payment that is promised and kept
    prefetch/       work in the background, in eight ways: bls.py is the one
    services.py     the clients for the services behind; values that cross
    data.py         the data: every statement with its context
    databases/      SQLite and PostgreSQL, asked alike; how a server is started
    upstreams/      the services behind, each ends when its caller's time is over

What replays the incident:

    serve.py        a server as a process that does not outlive the demo
    processes.py    starting and ending processes; ports, cores
    supervisor.py   pods: their memory limit, their restarts
    balancer.py     the load balancer and its health checks
    shop.py         one shop of all these
    http.py         a request, plainly
    load.py         the clients: an open loop
    watch.py        what a pod says of itself
    scale.py        what happens when, and by how much all is scaled
    replay.py       what is done to a shop, and the record of it
    figures.py      the numbers of a record
    verdict.py      what they show
    table.py        what is printed
    page.py         report.html; chart.py and page.css: its time lines, its looks
    __main__.py     python dev.py demo
"""
