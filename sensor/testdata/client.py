"""Does what its input says, a line at a time, and says when it has done it."""
import os
import socket
import sys

held = []


def do(verb, *words):
    if verb == "lookup":  # of IPv4
        socket.getaddrinfo(words[0], None, socket.AF_INET, socket.SOCK_STREAM)
    elif verb == "open":  # by a name, whichever of its addresses
        held.append(socket.create_connection((words[0], int(words[1]))))
    elif verb == "connect":  # to an address, without a lookup
        held.append(socket.socket(socket.AF_INET6 if ":" in words[0] else socket.AF_INET))
        held[-1].connect((words[0], int(words[1])))
    elif verb == "send":  # a datagram, by a name
        held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        held[-1].connect((words[0], int(words[1])))
        held[-1].send(b"hello")
    elif verb == "multicast":  # a question, whose answer may come from anybody
        held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        held[-1].settimeout(5)
        question = b"".join(bytes([len(label)]) + label for label in words[0].encode().split(b"."))
        held[-1].sendto(b"\0\7\0\0\0\1\0\0\0\0\0\0" + question + b"\0\0\1\0\1", ("224.0.0.251", 5353))
        held[-1].recv(512)
    elif verb == "child":  # does the rest
        pid = os.fork()
        if pid == 0:
            do(*words)
            os._exit(0)
        if os.waitpid(pid, 0)[1] != 0:
            sys.exit("the child failed")


for line in sys.stdin:
    do(*line.split())
    print("done", flush=True)
