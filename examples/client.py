"""Runs Python on a polyagent server: python3 examples/client.py [HOST:PORT]"""
import sys

from polyagent import Client, Result

with Client(sys.argv[1] if len(sys.argv) > 1 else "localhost:50051") as client:
    result = client.run_python("print(int(input()) * 2)", stdin="21", timeout=5)
    print(result.status, result.stdout, end="")

    result = client.run_python("1 / 0")
    print("exit code", result.exit_code, result.stderr.splitlines()[-1])

    for event in client.stream_python("for i in range(3): print(i, flush=True)"):
        print("ended:" if isinstance(event, Result) else "wrote:", event.status if isinstance(event, Result) else event.text.split())
