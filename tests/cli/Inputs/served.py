"""Runs a command while a directory is served by a server that fails one request
in five; {} in the command is its address. Says how many requests failed.

    served.py DIRECTORY COMMAND...
"""
import os
import subprocess
import sys
import urllib.request

server_file = os.path.join(os.path.dirname(__file__), "../../unit/runtime/data/Inputs/flaky_server.py")
server = subprocess.Popen([sys.executable, server_file, sys.argv[1]], stdout=subprocess.PIPE, text=True)
try:
    address = "http://127.0.0.1:" + server.stdout.readline().strip()
    code = subprocess.call([argument.replace("{}", address) for argument in sys.argv[2:]])
    print(urllib.request.urlopen(address + "/failures").read().decode(), "requests failed", file=sys.stderr)
finally:
    server.kill()
sys.exit(code)
