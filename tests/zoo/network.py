"""Attempts to reach the network, written down."""

# Python runs a module called sitecustomize at every start of an interpreter that finds it: with
# this text every attempt to reach another machine, of whatever library, is written down and fails.
RECORDER = """
import os, socket
def refuse(*args, **options):
    with open(os.environ["ATTEMPTS"], "a") as file:
        file.write(repr(args[1:] or args) + "\\n")
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.gethostbyname = refuse
"""
