"""Starts real services for tests and takes them away again.

cli.py        the commands, and what each prints
run.py        `run`: services around one command, gone afterwards whatever happens
nodes.py      start, wait, restart: what is the same for every kind of service
kafka.py      mongodb.py  redis.py    what differs: how to plan a node, and when it is ready
mongo_wire.py as much of MongoDB's protocol as it takes to initiate a replica set
downloads.py  what must be fetched once, and is then used offline
processes.py  signals, ports and /proc
state.py      state.json, which tells tests where everything is

Linux only: it reads /proc, and the mongod it fetches is a Linux binary.
"""
